// Uploads and downloads: a window of chunks under way, and what happens when the
// server changes in between.
#include "client/transfer.h"

#include <deque>

#include "client/chunked_source.h"
#include "client/session_internal.h"
#include "common/base/chunk_cutter.h"
#include "common/base/chunk_hash.h"
#include "common/base/path.h"

namespace understudy::client {
namespace {

// How often an upload or download begins anew before it gives up.
// A good while before it expires.
constexpr Duration kCapabilityGood = std::chrono::seconds(20);
constexpr int kRestartsMax = 5;

}  // namespace

// ---- Upload --------------------------------------------------------------------------

struct Session::Staging {
  Staging(Env& env, Source* source, Progress progress)
      : source(source), progress(std::move(progress)), window(env.executor, kStagedAtOnce), tasks(env.executor) {}
  Source* source;
  Progress progress;
  uint64_t chunks = 0;
  uint64_t size_bytes = 0;
  uint64_t staged_bytes = 0;
  Bytes capability;          // A long upload outlives those that it began with.
  Instant capability_until{};
  std::optional<Error> failed;  // MOVED: all again at another server.
  Semaphore window;
  TaskGroup tasks;  // Last: its tasks use the rest.
};

Task<void> Session::stage_chunk(std::string path, wire::Location location, uint64_t upload_id, uint64_t index,
                                Bytes chunk, Staging* staging) {
  wire::StageRequest request;
  request.set_file_id(location.file_id());
  request.set_epoch(location.epoch());
  request.set_upload_id(upload_id);
  request.set_index(index);
  Patience patience(this, printable(path), false);
  while (!staging->failed) {
    if (env_.clock.now() >= staging->capability_until) {
      staging->capability_until = env_.clock.now() + kCapabilityGood;
      auto locating = locate(path, wire::LocateRequest::LOOK_UP, {}, wire::RIGHT_WRITE);
      auto now = co_await locating;
      bool same = now && now->file_id() == location.file_id() && now->epoch() == location.epoch();
      staging->capability = same ? now->capability() : location.capability();
    }
    request.set_capability(staging->capability);
    auto outcome = co_await call_watched(path, location, wire::STAGE, request.SerializeAsString(), chunk);
    if (outcome.result) {
      staging->staged_bytes += chunk.size();
      if (staging->progress) staging->progress(staging->staged_bytes);
      break;
    }
    Error error = std::move(outcome.result.error());
    if (error.code == Code::kUnavailable) {
      bool moved = co_await has_moved(path, location);
      if (moved) {
        error.code = Code::kMoved;
      } else {
        auto going_on = patience.again(error.message);
        if (co_await going_on) continue;
        error = patience.error();
      }
    }
    if (!staging->failed) staging->failed = std::move(error);
  }
  staging->window.release(1);
}

namespace {

// A part of the source, and where the first chunk in it ends; shared with the worker that looks.
struct Cutting {
  Bytes bytes;
  size_t begin = 0;
  size_t cut = 0;
};

}  // namespace

// The chunks are cut where the content says, so that what is there already is not stored again.
Task<Status> Session::stage_all(std::string path, wire::Location location, uint64_t upload_id, Staging* staging) {
  ChunkedSource source(env_, staging->source);
  uint64_t index = 0;
  uint64_t size = 0;
  bool more = true;
  while (more && !staging->failed) {
    auto cutting = source.next();
    auto chunks = co_await cutting;
    if (!chunks) co_return std::unexpected(std::move(chunks).error());
    more = !chunks->empty();
    for (Bytes& chunk : *chunks) {
      auto room = staging->window.acquire(1);
      co_await room;
      if (staging->failed) break;
      size += chunk.size();
      staging->tasks.spawn(stage_chunk(path, location, upload_id, index++, std::move(chunk), staging));
    }
  }
  auto ended = staging->tasks.join();
  co_await ended;
  if (staging->failed) co_return std::unexpected(*staging->failed);
  staging->chunks = index;
  staging->size_bytes = size;
  co_return Status{};
}

Task<Result<wire::VersionReply>> Session::upload(std::string path, Source* source, UploadOptions options) {
  auto reading = source->read(0, kChunkSizeMax);
  auto first = co_await reading;
  if (!first) co_return std::unexpected(std::move(first).error());
  if (first->size() < kChunkSizeMax) {
    auto small = options.append ? append(path, *std::move(first)) : put(path, *std::move(first), options.attributes);
    auto done = co_await small;
    if (done && options.progress) options.progress(done->size_bytes());
    co_return done;
  }
  first->clear();

  wire::CommitRequest commit;
  *commit.mutable_request() = next_request();
  commit.set_append(options.append);
  commit.set_mode(options.attributes.mode);
  commit.set_modified_us(options.attributes.modified_us);
  auto create = options.append ? wire::LocateRequest::LOOK_UP : wire::LocateRequest::IF_MISSING;
  auto create_request = next_request();
  uint64_t upload_id = env_.random.next() | 1;
  commit.set_upload_id(upload_id);
  Patience patience(this, printable(path), true);
  std::optional<wire::Location> staged_at;
  uint64_t made = 0;  // The file whose name this upload made.
  for (int restarts = 0; restarts <= kRestartsMax;) {
    auto locating = locate(path, create, create_request, wire::RIGHT_WRITE);
    auto located = co_await locating;
    if (!located) co_return std::unexpected(patience.not_reached(std::move(located).error()));
    wire::Location location = *std::move(located);
    if (location.created()) {
      create = wire::LocateRequest::LOOK_UP;
      made = location.file_id();
    }
    std::string reason = "no server of " + location.pair() + " takes writes now";
    bool reachable = location.epoch() != 0 && !location.primary().address().empty();
    if (reachable && (!staged_at || staged_at->file_id() != location.file_id())) {
      Staging staging(env_, source, options.progress);
      staging.capability = location.capability();
      staging.capability_until = env_.clock.now() + kCapabilityGood;
      auto stage = stage_all(path, location, upload_id, &staging);
      auto staged = co_await stage;
      if (staged) {
        staged_at = location;
        commit.set_chunk_count(staging.chunks);
        commit.set_size_bytes(staging.size_bytes);
        patience.progressed();
      } else if (!may_pass(staged.error().code)) {
        if (made != 0) co_await take_back(made);
        co_return std::unexpected(refusal(std::move(staged).error(), path, location));
      } else if (staged.error().code == Code::kUnavailable) {
        // Its own patience is at its end, or the source cannot be read again.
        co_return fail(Code::kUnavailable, staged.error().message);
      } else {
        ++restarts;
        reason = std::move(staged.error().message);
      }
    }
    if (reachable && staged_at && staged_at->file_id() == location.file_id()) {
      commit.set_file_id(location.file_id());
      commit.set_epoch(location.epoch());
      commit.set_durability(durability_for(location));
      commit.set_capability(location.capability());
      auto outcome = co_await call_watched(path, location, wire::COMMIT, commit.SerializeAsString(), {});
      if (outcome.result) {
        wire::VersionReply reply;
        if (!reply.ParseFromString(outcome.result->message)) co_return std::unexpected(garbled());
        saw(location.file_id(), reply.version());
        reply.set_file_id(location.file_id());
        co_return reply;
      }
      Error& error = outcome.result.error();
      if (error.code == Code::kNotFound) {
        // Chunks are missing there (another server, or started anew), or the file is gone.
        staged_at.reset();
        ++restarts;
      } else if (!may_pass(error.code)) {
        if (made != 0) co_await take_back(made);
        const bool denied = error.code == Code::kDenied;
        Error refused = refusal(std::move(error), path, location);
        co_return std::unexpected(denied ? patience.not_reached(std::move(refused)) : std::move(refused));
      } else if (outcome.sent) {
        patience.was_sent();
      }
      reason = std::move(error.message);
    }
    locations_.erase(path);
    auto going_on = patience.again(std::move(reason));
    if (!co_await going_on) break;
  }
  co_return std::unexpected(patience.error());
}

// ---- Reading -------------------------------------------------------------------------

Task<CallOutcome> Session::read_hedged(std::string path, wire::Location location, ReadWant want,
                                       std::string* server) {
  struct Half {
    wire::Endpoint at;
    uint64_t epoch = 0;
  };
  std::vector<Half> halves;
  auto add = [&halves](const wire::Endpoint& at, uint64_t epoch) {
    if (!at.address().empty()) halves.push_back({at, epoch});
  };
  bool other_first = options_.read_from != ReadFrom::kPrimary;
  if (other_first) add(location.other(), 0);
  if (options_.read_from != ReadFrom::kBackup) add(location.primary(), location.epoch());
  if (!other_first) add(location.other(), 0);
  if (halves.empty()) {
    co_return CallOutcome{fail(Code::kUnavailable, "no server of " + location.pair() + " is there")};
  }
  wire::ReadRequest request;
  request.set_file_id(location.file_id());
  request.set_capability(location.capability());
  request.set_offset(want.offset);
  request.set_length(want.length);
  if (want.version) {
    *request.mutable_version() = wire_version(want.version);
  } else {
    *request.mutable_at_least() = wire_version(seen(location.file_id()));
  }

  // A read inside a download only fills a window: asking twice early would only
  // double the load.
  Duration patience = want.version ? 8 * options_.hedge_after : options_.hedge_after;
  Waiting waiting(env_);
  size_t asked = 0;
  Instant give_up = env_.clock.now() + options_.timeout;
  Instant wake = env_.clock.now();
  std::optional<CallOutcome> refusal;
  bool done[2] = {false, false};
  for (;;) {
    Instant now = env_.clock.now();
    if (asked < halves.size() && (now >= wake || refusal)) {
      request.set_epoch(halves[asked].epoch);
      waiting.tasks.spawn(
          deliver(&waiting, asked, halves[asked].at, wire::READ, request.SerializeAsString(), {}));
      ++asked;
      wake = now + (asked < halves.size() ? patience : options_.timeout);
    } else if (now >= give_up) {
      co_return CallOutcome{fail(Code::kUnavailable, halves[0].at.server() + " does not answer"), true};
    }
    for (size_t i = 0; i < asked; ++i) {
      if (done[i] || !waiting.outcomes[i]) continue;
      done[i] = true;
      CallOutcome outcome = std::move(*waiting.outcomes[i]);
      // Only the acting primary's refusal counts: what another half lacks may be
      // there, or newer there. But a version that was set aside is on one half only, and
      // a copy that is damaged here is whole there.
      Code code = outcome.result ? Code{} : outcome.result.error().code;
      bool elsewhere = code == Code::kCorrupt || (code == Code::kNotFound && want.version);
      bool decides = outcome.result || (halves[i].epoch != 0 && !may_pass(outcome.result.error().code) && !elsewhere);
      if (decides) {
        *server = halves[i].at.server();
        co_return outcome;
      }
      Error& error = outcome.result.error();
      if (halves[i].epoch == 0 && !may_pass(error.code) && !elsewhere) {
        error = {Code::kUnavailable, halves[i].at.server() + " has no copy that is new enough (" + error.message + ")"};
      }
      if (!refusal || halves[i].epoch != 0) refusal = std::move(outcome);
    }
    bool all_done = done[0] && (halves.size() == 1 || done[1]);
    if (all_done) co_return *std::move(refusal);
    if (asked < halves.size() && refusal) continue;
    co_await waiting.wait_until(std::min(wake, give_up));
  }
}

Task<Result<ReadAnswer>> Session::read(std::string path, ReadWant want) {
  CHECK(want.length <= kChunkSizeMax);
  Patience patience(this, printable(path), false);
  bool looked_afresh = false;
  for (;;) {
    bool from_cache = locations_.contains(path);
    auto locating = locate(path, wire::LocateRequest::LOOK_UP, {}, wire::RIGHT_READ);
    auto located = co_await locating;
    if (!located) co_return std::unexpected(std::move(located).error());
    wire::Location location = *std::move(located);
    ReadAnswer answer;
    auto outcome = co_await read_hedged(path, location, want, &answer.server);
    if (outcome.result) {
      wire::ReadReply reply;
      if (!reply.ParseFromString(outcome.result->message)) co_return std::unexpected(garbled());
      answer.bytes = std::move(outcome.result->body);
      answer.file = FileId{location.file_id()};
      answer.version = version_of(reply.version());
      answer.size_bytes = reply.size_bytes();
      answer.mode = reply.mode();
      answer.modified_us = reply.modified_us();
      answer.linearizable = reply.linearizable();
      if (!want.version) saw(location.file_id(), reply.version());
      co_return answer;
    }
    Error& error = outcome.result.error();
    bool stale_path = error.code == Code::kNotFound && from_cache && !looked_afresh;
    if (!may_pass(error.code) && !stale_path) {
      co_return std::unexpected(refusal(std::move(error), path, location));
    }
    if (stale_path) looked_afresh = true;
    locations_.erase(path);
    auto going_on = patience.again(std::move(error.message));
    if (!co_await going_on) co_return std::unexpected(patience.error());
  }
}

// ---- Download ------------------------------------------------------------------------

struct Session::Fetching {
  explicit Fetching(Env& env) : changed(env.executor), tasks(env.executor) {}
  Notifier changed;
  std::deque<std::optional<Result<ReadAnswer>>> window;  // In file order.
  uint64_t first = 0;                                    // Which chunk window.front() is.
  TaskGroup tasks;                                       // Last: its tasks use the rest.
};

Task<void> Session::fetch_chunk(std::string path, uint64_t index, ReadWant want, Fetching* fetching) {
  auto reading = read(std::move(path), want);
  auto answer = co_await reading;
  fetching->window[index - fetching->first].emplace(std::move(answer));
  fetching->changed.notify_all();
}

Task<Status> Session::fetch_rest(std::string path, Version version, uint64_t from, uint64_t to, Sink* sink,
                                 DownloadOptions options) {
  Fetching fetching(env_);
  uint64_t asked = from;
  uint64_t written = from;
  while (written < to) {
    while (asked < to && fetching.window.size() < kWindowChunks) {
      uint32_t length = static_cast<uint32_t>(std::min<uint64_t>(kChunkSizeMax, to - asked));
      uint64_t index = fetching.first + fetching.window.size();
      fetching.window.emplace_back();
      fetching.tasks.spawn(fetch_chunk(path, index, {asked, length, version}, &fetching));
      asked += length;
    }
    while (!fetching.window.front()) {
      auto changed = fetching.changed.wait();
      co_await changed;
    }
    Result<ReadAnswer> answer = *std::move(fetching.window.front());
    fetching.window.pop_front();
    ++fetching.first;
    if (!answer) co_return std::unexpected(std::move(answer).error());
    uint64_t wanted = std::min<uint64_t>(kChunkSizeMax, to - written);
    if (answer->bytes.size() != wanted) co_return fail(Code::kInternal, "a server answered with a short read");
    written += answer->bytes.size();
    auto writing = sink->write(std::move(answer->bytes));
    CO_RETURN_IF_ERROR(co_await writing);
    if (options.progress) options.progress(written - options.first.value_or(0));
  }
  co_return Status{};
}

Task<Result<ReadAnswer>> Session::download(std::string path, DownloadOptions options, Sink* sink) {
  for (int restarts = 0;; ++restarts) {
    uint64_t from = options.first.value_or(0);
    auto reading = read(path, {from, kChunkSizeMax, options.version});
    auto start = co_await reading;
    if (!start) co_return start;
    bool ranged = options.first || options.last;
    uint64_t last = options.last.value_or(start->size_bytes == 0 ? 0 : start->size_bytes - 1);
    if (ranged && (from >= start->size_bytes || last >= start->size_bytes)) {
      co_return fail(Code::kOutOfRange, printable(path) + " has " + std::to_string(start->size_bytes) +
                                            " bytes; the range ends behind them");
    }
    uint64_t to = start->size_bytes == 0 ? 0 : last + 1;
    if (start->bytes.size() > to - from) start->bytes.resize(to - from);
    if (options.size) options.size(to - from);
    uint64_t got = start->bytes.size();
    Status status;
    if (got > 0) {
      auto writing = sink->write(std::move(start->bytes));
      status = co_await writing;
      if (options.progress) options.progress(got);
    }
    if (status && got < to - from) {
      auto fetching = fetch_rest(path, start->version, from + got, to, sink, options);
      status = co_await fetching;
    }
    start->bytes.clear();
    if (status) co_return start;
    // The version that it began with may be gone with its server.
    bool again = status.error().code == Code::kNotFound && !options.version && restarts < kRestartsMax;
    if (!again) co_return std::unexpected(std::move(status).error());
    CO_RETURN_IF_ERROR(sink->restart());
  }
}

}  // namespace understudy::client

#include "bench/workloads.h"

#include <fmt/format.h>

#include <cstdlib>

namespace understudy::bench {

namespace {

constexpr uint64_t kNoCount = UINT64_MAX;

class CountingSink final : public client::Sink {
 public:
  Task<Status> write(Bytes bytes) override {
    size_bytes_ += bytes.size();
    co_return Status{};
  }
  Status restart() override {
    size_bytes_ = 0;
    return {};
  }
  uint64_t size_bytes() const { return size_bytes_; }

 private:
  uint64_t size_bytes_ = 0;
};

double seconds_since(SteadyTime began) { return std::chrono::duration<double>(SteadyClock::now() - began).count(); }

}  // namespace

Workloads::Workloads(Env& env, Options options) : env_(env), options_(std::move(options)) {
  folder_ = fmt::format("/bench-{:016x}", env_.random.next());
  content_.resize(options_.size_bytes);
  for (auto& byte : content_) byte = static_cast<char>(env_.random.next());
  for (uint32_t i = 0; i < options_.clients; ++i) {
    client::SessionOptions session;
    session.name_nodes = options_.name_nodes;
    session.sync = options_.sync;
    session.user = options_.login.user;
    session.token = options_.login.token;
    session.password = options_.login.password;
    sessions_.push_back(std::make_unique<client::Session>(env_, std::move(session)));
  }
}

std::string Workloads::path(Kind kind, uint32_t client, uint64_t n) const {
  if (kind == Kind::kPut || kind == Kind::kDelete) return fmt::format("{}/c{}/r{}.{}", folder_, client, round_, n);
  return fmt::format("{}/c{}/f{}", folder_, client, n % options_.files);
}

Task<Status> Workloads::once(Kind kind, uint32_t client, uint64_t n) {
  client::Session* session = sessions_[client].get();
  std::string where = path(kind, client, n);
  switch (kind) {
    case Kind::kPut:
    case Kind::kOverwrite: {
      auto reply = co_await session->put(std::move(where), content_, {});
      if (!reply) co_return std::unexpected(std::move(reply).error());
      break;
    }
    case Kind::kGet: {
      auto answer = co_await session->read(std::move(where), {.length = options_.size_bytes});
      if (!answer) co_return std::unexpected(std::move(answer).error());
      if (answer->bytes != content_) co_return fail(Code::kCorrupt, "a get did not give the bytes that were put");
      break;
    }
    case Kind::kStat: {
      auto reply = co_await session->stat(std::move(where), false);
      if (!reply) co_return std::unexpected(std::move(reply).error());
      break;
    }
    case Kind::kDelete: {
      wire::RemoveRequest request;
      request.set_path(where);
      auto reply = co_await session->change(wire::REMOVE, std::move(request));
      if (!reply) co_return std::unexpected(std::move(reply).error());
      break;
    }
  }
  co_return Status{};
}

Task<void> Workloads::client_loop(Kind kind, uint32_t client, uint64_t count, uint32_t rate, Recorder* recorder) {
  SteadyTime next = SteadyClock::now();
  for (uint64_t n = 0; n < count && SteadyClock::now() < until_; ++n) {
    SteadyTime began = SteadyClock::now();
    auto status = co_await once(kind, client, n);
    if (status) {
      recorder->done(began);
    } else {
      recorder->failed();
      if (first_error_.empty()) first_error_ = status.error().to_string();
    }
    if (rate == 0) continue;
    // What an outage held up is not made up for afterwards: the load is steady, not a flood.
    next = std::max(next + std::chrono::microseconds(1'000'000 / rate), SteadyClock::now());
    co_await sleep_for(env_, next - SteadyClock::now());
  }
}

// Each client's folder and files.
Task<Status> Workloads::prepare() {
  if (prepared_) co_return Status{};
  prepared_ = true;
  for (uint32_t i = 0; i < options_.clients; ++i) {
    wire::CreateFolderRequest request;
    request.set_path(fmt::format("{}/c{}", folder_, i));
    request.set_parents(true);
    auto reply = co_await sessions_[i]->change(wire::CREATE_FOLDER, std::move(request));
    if (!reply) co_return std::unexpected(std::move(reply).error());
  }
  Recorder unmeasured;
  until_ = SteadyTime::max();
  TaskGroup group(env_.executor);
  for (uint32_t i = 0; i < options_.clients; ++i) group.spawn(client_loop(Kind::kOverwrite, i, options_.files, 0, &unmeasured));
  co_await group.join();
  if (unmeasured.errors() > 0) co_return fail(Code::kUnavailable, first_error_);
  co_return co_await wait_for_both();
}

Task<Status> Workloads::wait_for_both() {
  wire::WaitRequest request;
  request.set_wait_ms(10'000);
  for (int i = 0; i < 60; ++i) {
    auto reply = co_await sessions_[0]->ask<wire::WaitReply>(wire::WAIT, request.SerializeAsString(), std::chrono::seconds(20));
    if (!reply) co_return std::unexpected(std::move(reply).error());
    if (reply->done()) co_return Status{};
    request.set_token(reply->token());
  }
  co_return fail(Code::kUnavailable, "not all is on both halves after ten minutes");
}

Task<Status> Workloads::small(std::string operation) {
  Kind kind = operation == "put" ? Kind::kPut : operation == "get" ? Kind::kGet : operation == "stat" ? Kind::kStat : Kind::kDelete;
  auto prepared = co_await prepare();
  if (!prepared) co_return prepared;
  ++round_;
  uint64_t count = kNoCount;
  if (kind == Kind::kDelete) {
    // As many files as can be deleted in the time, about; the measurement ends when they are gone.
    count = static_cast<uint64_t>(options_.time.count());
    Recorder unmeasured;
    until_ = SteadyTime::max();
    TaskGroup group(env_.executor);
    for (uint32_t i = 0; i < options_.clients; ++i) group.spawn(client_loop(Kind::kPut, i, count, 0, &unmeasured));
    co_await group.join();
    auto both = co_await wait_for_both();
    if (!both) co_return both;
  }

  first_error_.clear();
  ProcessorTime processor(options_.cluster);
  Recorder recorder;
  recorder.start();
  until_ = SteadyClock::now() + options_.time;
  TaskGroup group(env_.executor);
  for (uint32_t i = 0; i < options_.clients; ++i) group.spawn(client_loop(kind, i, count, 0, &recorder));
  co_await group.join();
  recorder.stop();
  SteadyTime acknowledged = SteadyClock::now();
  auto both = co_await wait_for_both();
  if (!both) co_return both;
  double on_both_after_ms = seconds_since(acknowledged) * 1000;
  processor.look();
  operations_per_s_ = recorder.operations_per_s();

  JsonLine line;
  line.text("op", operation).number("clients", options_.clients).number("size", options_.size_bytes).recorder(recorder);
  line.processor(processor, recorder.operations());
  if (kind == Kind::kPut || kind == Kind::kDelete) line.number("on_both_after_ms", on_both_after_ms, 1);
  line.print();
  if (recorder.errors() > 0) fmt::print(stderr, "{}: first of {} errors: {}\n", operation, recorder.errors(), first_error_);
  co_return Status{};
}

Task<Status> Workloads::open_sentences(uint32_t count) {
  std::string text;
  for (uint32_t i = 0; i < count; ++i) text += "One more sentence. ";
  auto put = co_await sessions_[0]->put(folder_ + "/document", text.substr(0, 1 << 20), {});
  if (!put) co_return std::unexpected(std::move(put).error());
  for (uint32_t i = 0; i < count; ++i) {
    client::SessionOptions options;
    options.name_nodes = options_.name_nodes;
    writers_.push_back(std::make_unique<client::Session>(env_, std::move(options)));
    auto opened = co_await writers_.back()->edit_open(folder_ + "/document", i, std::nullopt);
    if (!opened) co_return std::unexpected(std::move(opened).error());
  }
  co_return Status{};
}

Task<Status> Workloads::failover() {
  auto prepared = co_await prepare();
  if (!prepared) co_return prepared;
  first_error_.clear();
  ProcessorTime processor(options_.cluster);
  Recorder writes;
  Recorder reads;
  writes.start();
  reads.start();
  SteadyTime began = SteadyClock::now();
  until_ = began + options_.time;
  TaskGroup group(env_.executor);
  for (uint32_t i = 0; i < options_.clients; ++i) {
    bool writer = i % 2 == 0;
    group.spawn(client_loop(writer ? Kind::kOverwrite : Kind::kGet, i, kNoCount, options_.rate, writer ? &writes : &reads));
  }
  co_await sleep_for(env_, options_.time / 3);
  processor.look();  // What a server spent before it dies counts.
  auto event_status = std::make_shared<int>(0);
  if (!options_.event.empty()) {
    auto event = env_.workers.run([command = options_.event, event_status] { *event_status = std::system(command.c_str()); });
    co_await event;
  }
  co_await group.join();
  writes.stop();
  reads.stop();
  processor.look();
  auto line = [&](const char* name, uint32_t clients, const Recorder& recorder) {
    JsonLine().text("op", name).number("clients", clients).number("size", options_.size_bytes).recorder(recorder).processor(processor, writes.operations() + reads.operations()).print();
  };
  line("failover-write", (options_.clients + 1) / 2, writes);
  line("failover-read", options_.clients / 2, reads);
  if (writes.errors() + reads.errors() > 0) fmt::print(stderr, "failover: first error: {}\n", first_error_);
  if (*event_status != 0) co_return fail(Code::kInvalid, "the event's command failed");
  co_return Status{};
}

Task<Status> Workloads::big(std::string source) {
  auto prepared = co_await prepare();
  if (!prepared) co_return prepared;
  auto opened = env_.disk.open(source, OpenMode::kRead);
  if (!opened) co_return std::unexpected(std::move(opened).error());
  FileSource from(std::move(*opened));
  std::string where = fmt::format("{}/big.{}", folder_, ++round_);
  ProcessorTime processor_in(options_.cluster);
  SteadyTime began = SteadyClock::now();
  auto put = co_await sessions_[0]->upload(where, &from, {});
  if (!put) co_return std::unexpected(std::move(put).error());
  big_seconds_.acknowledged = seconds_since(began);
  auto both = co_await wait_for_both();
  if (!both) co_return both;
  big_seconds_.on_both = seconds_since(began);
  processor_in.look();

  CountingSink to;
  ProcessorTime processor_out(options_.cluster);
  began = SteadyClock::now();
  auto got = co_await sessions_[0]->download(where, {}, &to);
  if (!got) co_return std::unexpected(std::move(got).error());
  big_seconds_.out = seconds_since(began);
  processor_out.look();
  if (to.size_bytes() != put->size_bytes()) co_return fail(Code::kCorrupt, "a big get is shorter than what was put");

  double mib = static_cast<double>(to.size_bytes()) / (1 << 20);
  JsonLine().text("op", "big-put").number("bytes", static_cast<double>(to.size_bytes())).number("seconds", big_seconds_.acknowledged, 3).number("mib_per_s", mib / big_seconds_.acknowledged).print();
  JsonLine().text("op", "big-put-on-both").number("bytes", static_cast<double>(to.size_bytes())).number("seconds", big_seconds_.on_both, 3).number("mib_per_s", mib / big_seconds_.on_both).number("cpu_us_per_mib", processor_in.total_us() / mib).print();
  JsonLine().text("op", "big-get").number("bytes", static_cast<double>(to.size_bytes())).number("seconds", big_seconds_.out, 3).number("mib_per_s", mib / big_seconds_.out).number("cpu_us_per_mib", processor_out.total_us() / mib).print();
  co_return Status{};
}

}  // namespace understudy::bench

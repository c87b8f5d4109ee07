// The scrubber: reads the whole log at a gentle rate, over and over, and verifies what
// it reads: the checksum of each record and the hash of each chunk. Where it is survives a
// restart, in the file `scrub` (docs/disk.md); nothing else depends on that file.
#include <fmt/format.h>

#include <charconv>

#include "common/base/checksum.h"
#include "common/base/log.h"
#include "common/env/env_util.h"
#include "common/segment_log/log_reader.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kScrubFormat = "understudy scrub, format 1\n";
constexpr uint64_t kSaveEvery = 64 << 20;
constexpr uint64_t kBreatheEvery = 128 << 10;
constexpr Duration kPaceStep = 50ms;
constexpr Duration kTryAgain = 60s;
constexpr Duration kFirstLook = 2s;

bool take_number(BytesView& text, std::string_view name, uint64_t& value) {
  if (!text.starts_with(name)) return false;
  text.remove_prefix(name.size());
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data() + text.size() || *end != '\n') return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
  return true;
}

// Shared with a worker, so that the scrubber may be cancelled.
struct HashCheck {
  LogRecord record;
  bool good = false;
  void run() {
    wire::ChunkRecord chunk;
    good = chunk.ParseFromString(record.head) && chunk.hash() == chunk_hash(record.body).view();
  }
};

}  // namespace

Task<void> StoreEngine::load_scrub_state() {
  auto content = co_await read_small_file(env_, options_.folder + "/scrub", 4096);
  if (!content) co_return;
  BytesView text = *content;
  uint64_t position = 0, ended = 0, bytes = 0, pass = 0, repaired = 0, sum = 0;
  const size_t sum_at = content->rfind("checksum ");
  if (!text.starts_with(kScrubFormat) || sum_at == Bytes::npos) co_return;
  text.remove_prefix(kScrubFormat.size());
  bool whole = take_number(text, "position ", position) && take_number(text, "last_end_us ", ended) &&
               take_number(text, "last_bytes ", bytes) && take_number(text, "pass_bytes ", pass) &&
               take_number(text, "repaired ", repaired) && take_number(text, "checksum ", sum);
  if (!whole || sum != checksum(BytesView(*content).substr(0, sum_at))) co_return;
  scrub_position_ = Lsn{position};
  scrub_.set_last_end_us(static_cast<int64_t>(ended));
  scrub_.set_last_bytes(bytes);
  scrub_.set_pass_bytes(pass);
  scrub_.set_repaired(repaired);
}

Task<Status> StoreEngine::save_scrub_state() {
  Bytes text(kScrubFormat);
  text += fmt::format("position {}\nlast_end_us {}\nlast_bytes {}\npass_bytes {}\nrepaired {}\n", number(scrub_position_),
                      scrub_.last_end_us(), scrub_.last_bytes(), scrub_.pass_bytes(), scrub_.repaired());
  text += fmt::format("checksum {}\n", checksum(text));
  co_return co_await replace_small_file(env_, options_.folder + "/scrub", std::move(text));
}

wire::ScrubStatus StoreEngine::scrub_status() const {
  wire::ScrubStatus status = scrub_;
  status.set_damaged(damaged_.size());
  return status;
}

Task<void> StoreEngine::scrub(ScrubOptions options) {
  co_await load_scrub_state();
  // The name node, and the partner behind it, are in reach a moment after the start.
  auto moment = sleep_for(env_, kFirstLook);
  co_await moment;
  const auto found = std::exchange(found_at_start_, {});
  for (const auto& damage : found) co_await found_damage(damage.from, damage.to);
  if (options.bytes_per_second == 0) co_return;
  while (!failure_) {
    const auto wall_us = env_.clock.wall().time_since_epoch().count();
    const auto interval_us = std::chrono::duration_cast<std::chrono::microseconds>(options.interval).count();
    // A pass that was begun goes on at once; what could not be repaired is tried more often.
    int64_t wait_us = scrub_position_ == kNoLsn ? scrub_.last_end_us() + interval_us - wall_us : 0;
    wait_us = std::clamp<int64_t>(wait_us, 0, interval_us);
    while (wait_us > 0) {
      const auto step = std::min<Duration>(std::chrono::microseconds(wait_us), kTryAgain);
      auto sleep = sleep_for(env_, step);
      co_await sleep;
      wait_us -= std::chrono::duration_cast<std::chrono::microseconds>(step).count();
      co_await try_damaged_again();
    }
    auto passed = co_await scrub_pass(options);
    if (!passed) {
      log_warning("the scrubber was stopped: " + passed.error().to_string());
      auto sleep = sleep_for(env_, kTryAgain);
      co_await sleep;
    }
  }
}

Task<Status> StoreEngine::scrub_pass(ScrubOptions options) {
  scrub_.set_pass_total(number(log_->durable_end()) - number(log_->begin()));
  Pace pace{options.bytes_per_second, env_.clock.now(), 0};
  const Lsn upto = log_->durable_end();
  // What was found before is looked at again as the pass comes to it.
  for (Lsn base : log_->segment_bases(scrub_position_)) {
    if (base >= upto) break;
    CO_RETURN_IF_ERROR(co_await scrub_segment(base, upto, &pace));
  }
  scrub_position_ = kNoLsn;
  scrub_.set_last_end_us(env_.clock.wall().time_since_epoch().count());
  scrub_.set_last_bytes(scrub_.pass_bytes());
  scrub_.set_pass_bytes(0);
  log_info(fmt::format("scrubbed: {} bytes verified, {} damaged records left, {} repaired so far", scrub_.last_bytes(),
                       damaged_.size(), scrub_.repaired()));
  co_return co_await save_scrub_state();
}

Task<void> StoreEngine::breathe(Pace* pace, uint64_t bytes) {
  scrub_.set_pass_bytes(scrub_.pass_bytes() + bytes);
  co_await slow_down(pace, bytes);
}

Task<void> StoreEngine::slow_down(Pace* pace, uint64_t bytes) {
  const uint64_t before = pace->bytes / kBreatheEvery;
  pace->bytes += bytes;
  const auto due = std::chrono::nanoseconds(static_cast<int64_t>(
      static_cast<double>(pace->bytes) / static_cast<double>(pace->bytes_per_second) * 1e9));
  if (pace->began + due > env_.clock.now() + kPaceStep) {
    auto pause = sleep_for(env_, kPaceStep);
    co_await pause;
  } else if (pace->bytes / kBreatheEvery != before) {
    auto turn = yield_now(env_);
    co_await turn;
  }
}

Task<Status> StoreEngine::scrub_segment(Lsn base, Lsn upto, Pace* pace) {
  auto opened = co_await log_->open_segment(base, scrub_position_, upto);
  // Compaction may have taken it meanwhile.
  if (!opened && opened.error().code == Code::kNotFound) co_return Status{};
  if (!opened) co_return std::unexpected(opened.error());
  std::unique_ptr<LogReader> reader = *std::move(opened);
  uint64_t saved = pace->bytes;
  while (true) {
    const Lsn at = reader->position();
    CO_ASSIGN_OR_RETURN(auto record, co_await reader->next());
    if (!record) {
      if (reader->at_file_end()) break;
      CO_RETURN_IF_ERROR(co_await reader->skip_damage());
      co_await found_damage(at, reader->position());
      continue;
    }
    const Lsn lsn = record->lsn;
    const Lsn end = record->end();
    bool good = true;
    if (RecordType{record->type} == RecordType::kVersion) {
      auto row = decode_index_record(*record);
      auto* version = row ? std::get_if<VersionRow>(&row->row) : nullptr;
      if (version) co_await bring_lost_chunks(version->file, version->version, pace);
    }
    if (RecordType{record->type} == RecordType::kChunk) {
      auto check = std::make_shared<HashCheck>();
      check->record = *std::move(record);
      auto checked = env_.workers.run([check] { check->run(); });
      co_await checked;
      good = check->good;
    }
    if (good)
      no_longer_damaged(lsn, end);
    else
      co_await found_damage(lsn, end);
    co_await breathe(pace, number(end) - number(lsn));
    scrub_position_ = end;
    if (pace->bytes - saved >= kSaveEvery) {
      saved = pace->bytes;
      CO_RETURN_IF_ERROR(co_await save_scrub_state());
    }
  }
  co_return Status{};
}

}  // namespace understudy

#include "common/segment_log/log_verify.h"

#include "common/env/env_util.h"
#include "common/segment_log/log_reader.h"

namespace understudy {
namespace {

constexpr Duration kPaceStep = std::chrono::milliseconds(50);
constexpr uint64_t kBreatheEvery = 1 << 20;

}  // namespace

Task<Result<std::vector<std::pair<Lsn, Lsn>>>> verify_log(Env& env, SegmentLog* log, Lsn from, uint64_t bytes_per_second) {
  std::vector<std::pair<Lsn, Lsn>> damaged;
  const Lsn upto = log->durable_end();
  const Instant began = env.clock.now();
  uint64_t bytes = 0, breathed = 0;
  for (Lsn base : log->segment_bases(from)) {
    if (base >= upto) break;
    auto opened = co_await log->open_segment(base, from, upto);
    if (!opened && opened.error().code == Code::kNotFound) continue;  // Nobody needs it any more.
    if (!opened) co_return std::unexpected(opened.error());
    auto whole = co_await log->header_is_whole(base);
    if (whole && !*whole) damaged.emplace_back(base, base);
    std::unique_ptr<LogReader> reader = *std::move(opened);
    while (true) {
      const Lsn at = reader->position();
      CO_ASSIGN_OR_RETURN(auto record, co_await reader->next());
      if (!record && reader->at_file_end()) break;
      if (!record) {
        CO_RETURN_IF_ERROR(co_await reader->skip_damage());
        damaged.emplace_back(at, reader->position());
      }
      bytes += number(reader->position()) - number(at);
      const auto due = std::chrono::nanoseconds(bytes_per_second ? bytes * 1'000 / std::max<uint64_t>(bytes_per_second / 1'000'000, 1) : 0);
      if (began + due > env.clock.now() + kPaceStep) {
        auto pause = sleep_for(env, kPaceStep);
        co_await pause;
      } else if (bytes / kBreatheEvery != breathed) {
        breathed = bytes / kBreatheEvery;
        auto turn = yield_now(env);
        co_await turn;
      }
    }
  }
  co_return damaged;
}

}  // namespace understudy

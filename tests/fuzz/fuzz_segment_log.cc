// The segment log's reader: files with any bytes in them are opened as records that somebody wrote, or refused; never
// a crash, never a record that nobody wrote, whatever stands in a header under a right checksum.
//
// An input is a row of steps, each one byte and what it needs: append a record, sync, tear bytes out of a file, put bytes
// into one, a record header with fields of the input's choice, cut a file short, remove it.
#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/checksum.h"
#include "common/base/log.h"
#include "common/segment_log/segment_log.h"
#include "tests/fuzz/input.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using Written = std::set<std::pair<Bytes, Bytes>>;

constexpr size_t kStepsMax = 64;
constexpr uint64_t kSegmentSize = 2048;
const char kFolder[] = "/log";

SegmentLogOptions options() { return {.folder = kFolder, .store_id = StoreId(32, 'a'), .segment_size = kSegmentSize}; }

void check_error(const Error& error) {
  CHECK(!error.message.empty() && error.message.find('\n') == std::string::npos);
  CHECK(error.code == Code::kCorrupt || error.code == Code::kInvalid || error.code == Code::kNotFound);
}

// Appends what the input says; the log is closed behind it.
Task<void> write(Env* env, fuzz::Input* input, Written* written, size_t* steps) {
  auto log = co_await SegmentLog::open(*env, options(), kNoLsn, [](LogRecord) { return Status{}; });
  if (!log) co_return;
  while (!input->ended() && (*steps)++ < kStepsMax) {
    uint8_t step = input->byte();
    if (step == 0) break;
    Bytes head = input->text(300);
    Bytes body(size_t{step} * 4, static_cast<char>(step));
    written->insert({head, body});
    (*log)->append({.type = step % 8u, .head = std::move(head), .body = std::move(body)});
    if (step % 4 == 0) (void)co_await (*log)->flush();
  }
  (void)co_await (*log)->flush();
}

Task<void> put(File* file, uint64_t offset, Bytes bytes) {
  std::vector<Bytes> pieces;
  pieces.push_back(std::move(bytes));
  auto written = file->write(offset, std::move(pieces), Sync::kYes);
  (void)co_await written;
}

Task<void> spoil(Env* env, fuzz::Input* input, Written* written, size_t* steps) {
  while (!input->ended() && (*steps)++ < kStepsMax) {
    auto names = env->disk.list(kFolder);
    if (!names || names->empty()) co_return;
    uint8_t what = input->byte();
    std::string path = std::string(kFolder) + "/" + (*names)[input->byte() % names->size()];
    uint64_t offset = (uint64_t{input->byte()} | uint64_t{input->byte()} << 8) % (kSegmentSize * 2);
    auto file = env->disk.open(path, OpenMode::kReadWrite);
    if (!file) continue;
    switch (what % 4) {
      case 0: {
        Bytes bytes = input->text(200);
        if (!bytes.empty()) co_await put(file->get(), offset, std::move(bytes));
        break;
      }
      case 1: (void)(*file)->truncate(offset); break;
      case 2: {
        // A header that lies, and says so under a right checksum.
        RecordHeader header{.head_size = input->byte() * 0x01010101u,
                            .body_size = input->byte() * 0x00010101u,
                            .type = input->byte(),
                            .lsn = Lsn{offset},
                            .durable_lsn = Lsn{input->byte() * uint64_t{0x0101010101010101}}};
        Bytes head = input->text(64);
        if (header.head_size < 256) header.head_size = static_cast<uint32_t>(head.size());
        if (header.body_size < 256) header.body_size = 0;
        Bytes record;
        append_record_header(record, header, payload_checksum(head, checksum({})));
        if (header.head_size == head.size() && header.body_size == 0) written->insert({head, {}});
        record += head;
        record.resize((record.size() + 7) / 8 * 8);
        co_await put(file->get(), offset / 8 * 8, std::move(record));
        break;
      }
      default: (void)env->disk.remove(path); break;
    }
  }
}

Task<void> read(Env* env, const Written* written) {
  auto names = env->disk.list(kFolder);
  if (!names) co_return;
  for (const std::string& name : *names) {
    auto described = co_await describe_segment(
        *env, std::string(kFolder) + "/" + name, [](const LogRecord& record) { return std::to_string(record.head.size()); },
        [](std::string line) { CHECK(!line.empty()); });
    if (!described) check_error(described.error());
  }
  auto check_genuine = [written](const LogRecord& record) -> Status {
    CHECK(written->contains({record.head, record.body}));
    return {};
  };
  for (int again = 0; again < 2; ++again) {
    auto log = co_await SegmentLog::open(*env, options(), kNoLsn, check_genuine);
    if (!log) {
      check_error(log.error());
      co_return;  // What is refused once may not come to be opened by being refused.
    }
    auto scanned = co_await (*log)->scan(kNoLsn, (*log)->durable_end(), check_genuine);
    if (!scanned) check_error(scanned.error());
    (void)co_await (*log)->flush();
  }
}

Task<void> story(Env& env, const uint8_t* data, size_t size) {
  CHECK(env.disk.make_folder(kFolder));
  fuzz::Input input(data, size);
  Written written;
  size_t steps = 0;
  co_await write(&env, &input, &written, &steps);
  co_await spoil(&env, &input, &written, &steps);
  co_await read(&env, &written);
}

}  // namespace
}  // namespace understudy::sim

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace understudy;
  using namespace understudy::sim;
  log_set_hook([](void*, LogLevel, std::string_view) {}, nullptr);
  SimWorld world(1);
  SimProcess& process = world.start(world.host("ss1"), "reader", [data, size](Env& env) { return story(env, data, size); });
  world.run_for(std::chrono::hours(1));
  CHECK(!process.alive());
  return 0;
}

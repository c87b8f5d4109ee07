#include "common/sqlite/settle_log.h"

namespace understudy {
namespace {

constexpr uint32_t kPieceSize = 1 << 20;

}  // namespace

Task<Status> settle_log(Env& env, std::string path) {
  auto opened = env.disk.open(path + "-wal", OpenMode::kReadWrite);
  if (!opened && opened.error().code == Code::kNotFound) co_return Status{};
  if (!opened) co_return std::unexpected(opened.error());
  std::shared_ptr<File> file = *std::move(opened);
  for (uint64_t offset = 0;;) {
    auto read = file->read(offset, kPieceSize);
    CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
    if (bytes.empty()) break;
    const uint64_t size = bytes.size();
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(bytes));
    auto write = file->write(offset, std::move(pieces), Sync::kNo);
    CO_RETURN_IF_ERROR(co_await write);
    offset += size;
  }
  auto sync = file->sync();
  co_return co_await sync;
}

}  // namespace understudy

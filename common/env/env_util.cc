#include "common/env/env_util.h"

namespace understudy {

std::string folder_of(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

bool is_loopback(const Address& address) {
  std::string host = address.substr(0, address.rfind(':'));
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

Task<Result<Bytes>> read_small_file(Env& env, std::string path, uint32_t size_max) {
  CO_ASSIGN_OR_RETURN(auto file, env.disk.open(path, OpenMode::kRead));
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  if (size > size_max) co_return fail(Code::kCorrupt, path + ": longer than such a file can be");
  co_return co_await file->read(0, static_cast<uint32_t>(size));
}

Task<Status> replace_small_file(Env& env, std::string path, Bytes content, uint32_t mode) {
  std::string fresh = path + ".new";
  {
    auto file = env.disk.open(fresh, OpenMode::kCreate);
    if (!file) co_return std::unexpected(file.error());
    if (mode != 0) CO_RETURN_IF_ERROR(env.disk.set_attributes(fresh, mode, env.clock.wall()));
    CO_RETURN_IF_ERROR((*file)->truncate(0));
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(content));
    CO_RETURN_IF_ERROR(co_await (*file)->write(0, std::move(pieces), Sync::kYes));
  }
  CO_RETURN_IF_ERROR(env.disk.rename(fresh, path));
  co_return env.disk.sync_folder(folder_of(path));
}

Status make_folder_durably(Env& env, const std::string& path) {
  RETURN_IF_ERROR(env.disk.make_folder(path));
  std::string folder = folder_of(path);
  RETURN_IF_ERROR(env.disk.sync_folder(folder));
  while (folder != "." && folder != "/") {
    folder = folder_of(folder);
    if (!env.disk.sync_folder(folder)) break;
  }
  return {};
}

}  // namespace understudy

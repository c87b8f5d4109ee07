#include "client/local_io.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "common/base/path.h"

namespace understudy::client {
namespace {

constexpr size_t kLineSizeMax = 16 << 20;

}  // namespace

Task<Result<Bytes>> StandardInput::read() {
  if (at_ < buffer_.size()) {
    Bytes rest = buffer_.substr(std::exchange(at_, 0));
    buffer_.clear();
    co_return rest;
  }
  if (ended_) co_return Bytes{};
  auto reading = console_.read(env_);
  auto piece = co_await reading;
  if (piece) ended_ = piece->empty();
  co_return piece;
}

Task<Result<std::optional<std::string>>> StandardInput::next_line() {
  size_t searched = at_;
  for (;;) {
    size_t end = buffer_.find('\n', searched);
    bool last = end == buffer_.npos && ended_;
    if (last) end = buffer_.size();
    if (end != buffer_.npos) {
      if (last && at_ == end) co_return std::optional<std::string>();
      std::string line = buffer_.substr(at_, end - at_);
      at_ = last ? end : end + 1;
      co_return std::optional<std::string>(std::move(line));
    }
    buffer_.erase(0, std::exchange(at_, 0));
    searched = buffer_.size();
    if (searched > kLineSizeMax) co_return fail(Code::kInvalid, "a line of more than 16 MiB; use PUT");
    auto reading = console_.read(env_);
    auto piece = co_await reading;
    if (!piece) co_return std::unexpected(std::move(piece).error());
    ended_ = piece->empty();
    buffer_ += *piece;
  }
}

Task<Result<Bytes>> InputSource::read(uint64_t offset, uint32_t size) {
  if (offset < kept_from_) {
    co_return fail(Code::kUnavailable,
                   "the server changed, and standard input cannot be read again; nothing was changed, try again");
  }
  while (!ended_ && kept_from_ + kept_.size() < offset + size) {
    auto reading = input_->read();
    auto piece = co_await reading;
    if (!piece) co_return piece;
    ended_ = piece->empty();
    kept_ += *piece;
  }
  uint64_t begin = std::min<uint64_t>(offset - kept_from_, kept_.size());
  Bytes bytes = kept_.substr(begin, size);
  // Forgotten in large steps: each moves what is left.
  if (kept_.size() > 2 * kKeptMax && begin > kKeptMax) {
    kept_.erase(0, begin - kKeptMax);
    kept_from_ += begin - kKeptMax;
  }
  co_return bytes;
}

Task<Status> OutputSink::write(Bytes bytes) {
  written_ = true;
  if (!bytes.empty()) at_line_start_ = bytes.back() == '\n';
  auto writing = console_.write_result(env_, std::move(bytes));
  co_return co_await writing;
}

Status OutputSink::restart() {
  if (!written_) return {};
  return fail(Code::kUnavailable, "the version that was being read went with its server; read it again");
}

namespace {

// What `path` leads to behind links; `path` becomes its own name. Opening something else
// than a file may block for ever, and renaming onto a device would replace it.
Result<FileInfo> behind_links(Env& env, std::string& path) {
  constexpr int kLinksMax = 40;
  for (int followed = 0; followed < kLinksMax; ++followed) {
    auto info = env.disk.info(path);
    if (!info || info->kind != FileInfo::Kind::kLink) return info;
    const std::string& target = info->link_target;
    path = target.starts_with('/') ? target : path.substr(0, path.size() - last_name(path).size()) + target;
  }
  return fail(Code::kInvalid, printable(path) + ": too many links");
}

}  // namespace

Result<std::unique_ptr<FileSource>> FileSource::open(Env& env, std::string path) {
  std::string shown = printable(path);
  auto info = behind_links(env, path);
  if (!info && info.error().code == Code::kNotFound) return fail(Code::kNotFound, shown + ": no such local file");
  if (!info) return std::unexpected(std::move(info).error());
  if (info->kind == FileInfo::Kind::kFolder) {
    return fail(Code::kIsFolder, shown + " is a folder here; use PUT -r");
  }
  if (info->kind != FileInfo::Kind::kFile) {
    return fail(Code::kInvalid, shown + " is no plain file here; use PUT - and redirect standard input");
  }
  auto file = env.disk.open(path, OpenMode::kRead);
  if (!file) return std::unexpected(std::move(file).error());
  return std::unique_ptr<FileSource>(new FileSource(*std::move(file), *std::move(info)));
}

Task<Result<Bytes>> FileSource::read(uint64_t offset, uint32_t size) {
  auto reading = file_->read(offset, size);
  co_return co_await reading;
}

namespace {

// What an interruption must not leave behind.
std::deque<std::string>& unfinished() {
  static std::deque<std::string> paths;
  return paths;
}

}  // namespace

void remove_unfinished_files() {
  for (const std::string& path : unfinished()) ::unlink(path.c_str());
}

Result<std::unique_ptr<FileSink>> FileSink::create(Env& env, std::string path) {
  if (path.empty()) return fail(Code::kInvalid, "a local file's name cannot be empty");
  std::string shown = printable(path);
  auto info = behind_links(env, path);
  if (!info && info.error().code != Code::kNotFound) return std::unexpected(std::move(info).error());
  if (info && info->kind == FileInfo::Kind::kFolder) {
    return fail(Code::kIsFolder, shown + " is a folder here; name a file in it");
  }
  if (info && info->kind != FileInfo::Kind::kFile) {
    return fail(Code::kInvalid, shown + " is no plain file here; use GET f - and redirect standard output");
  }
  std::string name = last_name(path);
  // A long name leaves no room for an ending, so the temporary name is its own.
  std::string folder = path.substr(0, path.size() - name.size());
  std::string temporary = fmt::format("{}.understudy-{:016x}.part", folder, env.random.next());
  auto file = env.disk.open(temporary, OpenMode::kCreateExclusive);
  if (!file && file.error().code == Code::kNotFound) {
    return fail(Code::kNotFound, shown + ": no such local folder; make it first");
  }
  if (!file) return std::unexpected(std::move(file).error());
  return std::unique_ptr<FileSink>(new FileSink(env, std::move(path), std::move(temporary), *std::move(file)));
}

FileSink::FileSink(Env& env, std::string path, std::string temporary, std::unique_ptr<File> file)
    : env_(env), path_(std::move(path)), temporary_(std::move(temporary)), file_(std::move(file)) {
  unfinished().push_back(temporary_);
}

FileSink::~FileSink() {
  std::erase(unfinished(), temporary_);
  if (file_) static_cast<void>(env_.disk.remove(temporary_));
}

Task<Status> FileSink::write(Bytes bytes) {
  uint64_t size = bytes.size();
  std::vector<Bytes> pieces;
  pieces.push_back(std::move(bytes));
  auto writing = file_->write(size_, std::move(pieces), Sync::kNo);
  auto status = co_await writing;
  if (status) size_ += size;
  co_return status;
}

Status FileSink::restart() {
  size_ = 0;
  return file_->truncate(0);
}

Status FileSink::finish(Attributes attributes) {
  if (attributes.mode != 0) {
    RETURN_IF_ERROR(env_.disk.set_attributes(temporary_, attributes.mode & kModeTaken,
                                             WallTime(std::chrono::microseconds(attributes.modified_us))));
  }
  RETURN_IF_ERROR(env_.disk.rename(temporary_, path_));
  file_.reset();
  return {};
}

std::string join_local(const std::string& folder, const std::string& name) {
  return folder.ends_with('/') ? folder + name : folder + "/" + name;
}

std::string last_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

}  // namespace understudy::client

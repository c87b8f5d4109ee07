// The client's own side of a transfer: local files, standard input and output.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "client/console.h"
#include "client/transfer.h"
#include "common/env/env.h"

namespace understudy::client {

// Standard input as bytes and as lines, in one order.
class StandardInput {
 public:
  // `console` outlives it.
  StandardInput(Env& env, Console& console) : env_(env), console_(console) {}
  // What is there, at least one byte; empty at its end.
  Task<Result<Bytes>> read();
  // Without its newline; nothing at the end. INVALID for a line of more than 16 MiB.
  Task<Result<std::optional<std::string>>> next_line();

 private:
  Env& env_;
  Console& console_;
  Bytes buffer_;
  size_t at_ = 0;  // What stands before it in buffer_ was taken already.
  bool ended_ = false;
};

// Standard input as an upload: it goes back as far as the last chunks are kept.
class InputSource : public Source {
 public:
  explicit InputSource(StandardInput* input) : input_(input) {}
  Task<Result<Bytes>> read(uint64_t offset, uint32_t size) override;

 private:
  static constexpr size_t kKeptMax = 32 << 20;
  StandardInput* input_;
  Bytes kept_;            // From kept_from_ on.
  uint64_t kept_from_ = 0;
  bool ended_ = false;
};

class OutputSink : public Sink {
 public:
  OutputSink(Env& env, Console& console) : env_(env), console_(console) {}
  Task<Status> write(Bytes bytes) override;
  Status restart() override;
  // Whether a prompt behind it would stand at the start of a line.
  bool at_line_start() const { return at_line_start_; }

 private:
  Env& env_;
  Console& console_;
  bool written_ = false;
  bool at_line_start_ = true;
};

class FileSource : public Source {
 public:
  // NOT_FOUND, IS_FOLDER, or the system's words.
  static Result<std::unique_ptr<FileSource>> open(Env& env, std::string path);
  Task<Result<Bytes>> read(uint64_t offset, uint32_t size) override;
  const FileInfo& info() const { return info_; }

 private:
  FileSource(std::unique_ptr<File> file, FileInfo info) : file_(std::move(file)), info_(std::move(info)) {}
  std::unique_ptr<File> file_;
  FileInfo info_;
};

// Writes beside the final name under a temporary one; finish() puts it in place.
// Not finished, nothing of it stays, also when the process is interrupted.
class FileSink : public Sink {
 public:
  static Result<std::unique_ptr<FileSink>> create(Env& env, std::string path);
  ~FileSink() override;
  Task<Status> write(Bytes bytes) override;
  Status restart() override;
  Status finish(Attributes attributes);

 private:
  FileSink(Env& env, std::string path, std::string temporary, std::unique_ptr<File> file);
  Env& env_;
  std::string path_;
  std::string temporary_;
  std::unique_ptr<File> file_;
  uint64_t size_ = 0;
};

// Unlinks what FileSinks have not finished: for an interruption, which ends the process.
void remove_unfinished_files();

// "folder/name"
std::string join_local(const std::string& folder, const std::string& name);
// The last name of a path, "a" of "/x/a/".
std::string last_name(std::string_view path);

}  // namespace understudy::client

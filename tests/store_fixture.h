// A storage server's engine on the simulator, as a fixture: words for what a test
// does to one or two stores.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "ss/store_engine.h"
#include "tests/sim/sim_world.h"

namespace understudy {

// One store in a process of its own host. The engine lives in the process's frame:
// killing the process destroys it where it stands.
class StoreOnHost {
 public:
  StoreOnHost(sim::SimWorld& world, std::string host) : world_(world), host_(world.host(host)) {}

  // The error that opening gave, if it did.
  Status open() {
    opened_ = std::make_shared<Opened>();
    process_ = &world_.start(host_, "store", [opened = opened_, options = options](Env& env) { return live(env, opened, options); });
    world_.run_until([&] { return opened_->done || !process_->alive(); }, std::chrono::minutes(1));
    if (opened_->store) return {};
    return std::unexpected(opened_->error.value_or(Error{Code::kUnavailable, "the process died"}));
  }
  void kill() {
    if (process_ && process_->alive()) world_.kill(*process_);
  }
  Status reopen() {
    kill();
    return open();
  }
  Status rebuild() {
    kill();
    for (const char* part : {"", "-wal", "-shm"})
      (void)host_.disk.remove(std::string("/data/index.db") + part);
    return open();
  }
  bool alive() const { return process_ && process_->alive() && opened_->store; }
  StoreEngine& engine() { return static_cast<StoreEngine&>(*opened_->store); }
  FileStore* operator->() { return opened_->store.get(); }
  sim::SimDisk& disk() { return host_.disk; }
  sim::SimHost& host() { return host_; }

  // UNAVAILABLE if the process died meanwhile.
  template <class T>
  Result<T> await(Task<Result<T>> task) {
    auto result = world_.try_await(*process_, std::move(task));
    if (!result) return fail(Code::kUnavailable, "the process died");
    return *std::move(result);
  }
  void spawn(Task<void> task) { process_->spawn(std::move(task)); }
  std::string dump() { return engine().index().dump().value(); }

  // Short words.
  Change change(uint64_t file, uint64_t request = 0) {
    Change change;
    change.file = FileId{file};
    change.epoch = Epoch{epoch};
    change.request = {request ? 77u : 0u, request};
    change.user = "admin";
    change.name.set_object_id(file);
    change.name.set_name("f" + std::to_string(file));
    change.name.set_meta_version(5);
    return change;
  }
  std::string put(uint64_t file, Bytes content, uint64_t request = 0) {
    return told(await(opened_->store->put(change(file, request), std::move(content))));
  }
  std::string append(uint64_t file, Bytes content, uint64_t request = 0) {
    return told(await(opened_->store->append(change(file, request), std::move(content))));
  }
  std::string remove(uint64_t file, uint64_t request = 0) {
    return told(await(opened_->store->remove(change(file, request))));
  }
  std::string undelete(uint64_t file, uint64_t request = 0) {
    return told(await(opened_->store->undelete(change(file, request))));
  }
  std::string undo(uint64_t file, uint64_t request = 0) {
    return told(await(opened_->store->undo(change(file, request))));
  }
  std::string checkpoint(uint64_t file, std::string tag, uint64_t request = 0) {
    return told(await(opened_->store->checkpoint(tagged(file, tag, request))));
  }
  std::string revert(uint64_t file, std::string tag, uint64_t request = 0) {
    return told(await(opened_->store->revert(tagged(file, tag, request))));
  }
  Change tagged(uint64_t file, std::string tag, uint64_t request) {
    Change tagged = change(file, request);
    tagged.tag = std::move(tag);
    return tagged;
  }
  // "draft 3.1, final 3.4": oldest first.
  std::string tags(uint64_t file) {
    auto all = opened_->store->checkpoints(FileId{file}, "");
    if (!all) return std::string(code_name(all.error().code));
    std::string text;
    for (const auto& one : *all) {
      text += (text.empty() ? "" : ", ") + one.tag() + " " + version_from_wire(one.version()).to_string();
    }
    return text;
  }
  // "put 3.2, create 3.1": newest first.
  std::string history(uint64_t file, Version before = {}, uint32_t limit = 100) {
    wire::HistoryRequest request;
    request.set_file_id(file);
    *request.mutable_before() = version_to_wire(before);
    request.set_limit(limit);
    auto reply = await(opened_->store->history(request));
    if (!reply) return std::string(code_name(reply.error().code));
    std::string text;
    for (const auto& entry : reply->entries()) {
      std::string kind = wire::ChangeKind_Name(entry.kind()).substr(7);
      for (char& c : kind) c = static_cast<char>(std::tolower(c));
      text += (text.empty() ? "" : ", ") + kind + " " + version_from_wire(entry.version()).to_string();
      for (const auto& tag : entry.checkpoints()) text += " [" + tag + "]";
      if (entry.has_undo_target()) text += " as " + version_from_wire(entry.undo_target()).to_string();
    }
    return text + (reply->more() ? ", ..." : "");
  }
  // In full chunks, or cut by content as a client does.
  std::string upload(uint64_t file, const Bytes& content, bool append = false, bool by_content = false) {
    ChunkRefs chunks;
    for (size_t at = 0; at < content.size(); at += chunks.back().size) {
      const size_t size = by_content ? cut_chunk(BytesView(content).substr(at)) : kChunkSizeMax;
      auto chunk = await(opened_->store->stage(FileId{file}, content.substr(at, size)));
      if (!chunk) return std::string(code_name(chunk.error().code));
      chunks.push_back(*chunk);
    }
    auto committed = told(await(opened_->store->commit(change(file), chunks, append)));
    if (alive()) opened_->store->unpin(FileId{file}, chunks);
    return committed;
  }
  // The whole content, or the code of the error.
  Bytes get(uint64_t file, Version version = {}) {
    auto info = opened_->store->info(FileId{file}, version);
    if (!info) return Bytes(code_name(info.error().code));
    Bytes all;
    while (all.size() < info->size_bytes) {
      auto piece = await(opened_->store->read(FileId{file}, info->version, all.size(), kChunkSizeMax));
      if (!piece) return Bytes(code_name(piece.error().code));
      if (piece->empty()) return "SHORT";
      all += *piece;
    }
    return all;
  }
  Bytes range(uint64_t file, uint64_t offset, uint32_t size) {
    auto piece = await(opened_->store->read(FileId{file}, {}, offset, size));
    return piece ? *piece : Bytes(code_name(piece.error().code));
  }
  static std::string told(const Result<VersionInfo>& info) {
    return info ? info->version.to_string() : std::string(code_name(info.error().code));
  }

  uint64_t epoch = 3;
  FileStoreOptions options{.folder = "/data", .may_append = nullptr};

 private:
  struct Opened {
    std::unique_ptr<FileStore> store;
    std::optional<Error> error;
    bool done = false;
  };
  // Lets go of the store when the process dies.
  struct Living {
    std::shared_ptr<Opened> opened;
    ~Living() { opened->store.reset(); }
  };
  static Task<void> live(Env& env, std::shared_ptr<Opened> opened, FileStoreOptions options) {
    Living living{opened};
    auto store = co_await FileStore::open(env, options);
    opened->done = true;
    if (!store) {
      opened->error = store.error();
      co_return;
    }
    opened->store = *std::move(store);
    Promise<Unit> never(env.executor);
    auto forever = never.future();
    co_await forever;
  }

  sim::SimWorld& world_;
  sim::SimHost& host_;
  sim::SimProcess* process_ = nullptr;
  std::shared_ptr<Opened> opened_;
};

// Bytes that no two calls repeat by accident.
inline Bytes some_bytes(uint64_t seed, size_t size) {
  sim::SimRandom random(seed);
  Bytes bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  return bytes;
}

}  // namespace understudy

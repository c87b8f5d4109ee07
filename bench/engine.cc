#include "bench/engine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "bench/baselines.h"
#include "client/chunked_source.h"
#include "common/base/chunk_cutter.h"
#include "common/env/sync.h"

namespace understudy::bench {
namespace {

constexpr size_t kStagedAtOnce = 24;

double seconds_since(SteadyTime began) { return std::chrono::duration<double>(SteadyClock::now() - began).count(); }

// A value of /proc/self/status, in bytes; of /proc/self/io as it is.
uint64_t proc_value(const char* file, const std::string& key) {
  std::ifstream lines(file);
  std::string word;
  while (lines >> word) {
    uint64_t value = 0;
    if (word == key && lines >> value) return value * (std::string(file).ends_with("status") ? 1024 : 1);
  }
  return 0;
}

uint64_t folder_bytes(const std::string& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

uint64_t written_bytes() { return proc_value("/proc/self/io", "write_bytes:"); }

FileId file_id(uint64_t n) { return FileId{n * 0x9e3779b97f4a7c15 | 1}; }

}  // namespace

EngineBench::EngineBench(Env& env, Options options, std::string folder)
    : env_(env), options_(std::move(options)), folder_(std::move(folder)) {
  content_.resize(options_.size_bytes);
  for (auto& byte : content_) byte = static_cast<char>(env_.random.next());
}

Task<Status> EngineBench::open() {
  if (store_) co_return Status{};
  CO_ASSIGN_OR_RETURN(store_, co_await FileStore::open(env_, {folder_ + "/store", nullptr}));
  next_ = store_->file_count() + 1;
  co_return Status{};
}

Task<Result<VersionInfo>> EngineBench::put_one(uint64_t id) {
  Change change;
  change.file = file_id(id);
  change.epoch = Epoch{1};
  change.request = {1, id};
  change.user = "admin";
  change.name.set_object_id(number(change.file));
  change.name.set_kind(wire::KIND_FILE);
  change.name.set_folder_id(1);
  change.name.set_name(fmt::format("f{}", id));
  change.name.set_owner("admin");
  change.name.set_meta_version(id);
  return store_->put(std::move(change), content_);
}

Task<void> EngineBench::writer(Recorder* recorder) {
  while (SteadyClock::now() < until_ && next_ < stop_at_) {
    const SteadyTime began = SteadyClock::now();
    auto put = co_await put_one(next_++);
    if (put)
      recorder->done(began);
    else
      recorder->failed();
  }
}

Task<Status> EngineBench::small() {
  CO_RETURN_IF_ERROR(co_await open());
  until_ = SteadyClock::now() + options_.time;
  ProcessorTime processor("");
  const uint64_t before = written_bytes(), first = next_;
  Recorder recorder;
  recorder.start();
  {
    TaskGroup writers(env_.executor);
    for (uint32_t i = 0; i < options_.clients; ++i) writers.spawn(writer(&recorder));
    co_await writers.join();
  }
  recorder.stop();
  processor.look();
  CO_RETURN_IF_ERROR(co_await store_->close());
  const double stored = static_cast<double>(next_ - first) * options_.size_bytes;
  JsonLine().text("op", "engine-put").number("clients", options_.clients).number("size", options_.size_bytes)
      .recorder(recorder).processor(processor, recorder.operations())
      .number("written_per_stored", static_cast<double>(written_bytes() - before) / stored, 2).print();
  for (bool together : {false, true}) {
    Recorder raw = raw_appends(folder_, options_.clients, options_.size_bytes, options_.time, together);
    const char* name = together ? "baseline-appends-one-sync" : "baseline-appends";
    JsonLine().text("op", name).number("clients", options_.clients).number("size", options_.size_bytes).recorder(raw).print();
    JsonLine().text("op", "engine-put").text("baseline", name)
        .number("ratio", recorder.operations_per_s() / raw.operations_per_s(), 2).print();
  }
  co_return Status{};
}

namespace {

struct Staging {
  Staging(Env& env, FileStore* s) : store(s), slots(env.executor, kStagedAtOnce), tasks(env.executor) {}
  FileStore* store;
  Status failed;
  Semaphore slots;
  TaskGroup tasks;  // Last: its tasks use the rest.
  static Task<void> one(Staging* staging, Bytes bytes, ChunkRefInfo* ref) {
    auto staged = co_await staging->store->stage(FileId{1}, std::move(bytes));
    if (staged)
      *ref = *staged;
    else
      staging->failed = std::unexpected(staged.error());
    staging->slots.release(1);
  }
};

}  // namespace

Task<Status> EngineBench::stage_source(std::string path, ChunkRefs* chunks) {
  CO_ASSIGN_OR_RETURN(std::unique_ptr<File> file, env_.disk.open(path, OpenMode::kRead));
  CO_ASSIGN_OR_RETURN(const uint64_t size, file->size());
  chunks->resize(size / kChunkSizeMin + 1);  // The tasks hold on to its entries.
  FileSource source(std::move(file));
  client::ChunkedSource chunked(env_, &source);
  Staging staging(env_, store_.get());
  size_t count = 0;
  while (true) {
    auto cutting = chunked.next();
    CO_ASSIGN_OR_RETURN(auto some, co_await cutting);
    if (some.empty()) break;
    for (Bytes& bytes : some) {
      co_await staging.slots.acquire(1);
      staging.tasks.spawn(Staging::one(&staging, std::move(bytes), &(*chunks)[count++]));
    }
  }
  co_await staging.tasks.join();
  chunks->resize(count);
  co_return staging.failed;
}

Task<Status> EngineBench::big(std::string source) {
  CO_RETURN_IF_ERROR(co_await open());
  const double mib = static_cast<double>(options_.big_bytes) / (1 << 20);
  const double copy = copy_seconds(source), cat = cat_seconds(source);
  ProcessorTime processor("");
  const uint64_t before = written_bytes();
  SteadyTime began = SteadyClock::now();
  ChunkRefs chunks;
  CO_RETURN_IF_ERROR(co_await stage_source(source, &chunks));
  Change change;
  change.file = FileId{1};
  change.epoch = Epoch{1};
  change.user = "admin";
  CO_ASSIGN_OR_RETURN(VersionInfo info, co_await store_->commit(std::move(change), chunks, false));
  store_->unpin(FileId{1}, chunks);
  const double in = seconds_since(began);
  processor.look();
  JsonLine().text("op", "engine-big-put").number("bytes", static_cast<double>(info.size_bytes)).number("seconds", in, 3)
      .number("mib_per_s", mib / in).number("cpu_us_per_mib", processor.total_us() / mib)
      .number("chunks", static_cast<double>(chunks.size()))
      .number("written_per_stored", static_cast<double>(written_bytes() - before) / static_cast<double>(info.size_bytes), 3).print();
  JsonLine().text("op", "engine-big-put").text("baseline", "copy").number("ratio", copy / in, 2).print();
  began = SteadyClock::now();
  ProcessorTime reading("");
  uint64_t at = 0;
  while (at < info.size_bytes) {
    CO_ASSIGN_OR_RETURN(Bytes bytes, co_await store_->read(FileId{1}, info.version, at, kChunkSizeMax));
    at += bytes.size();
  }
  const double out = seconds_since(began);
  reading.look();
  JsonLine().text("op", "engine-big-get").number("seconds", out, 3).number("mib_per_s", mib / out)
      .number("cpu_us_per_mib", reading.total_us() / mib).print();
  JsonLine().text("op", "engine-big-get").text("baseline", "cat").number("ratio", cat / out, 2).print();
  co_return co_await store_->close();
}

Task<Status> EngineBench::fill() {
  CO_RETURN_IF_ERROR(co_await open());
  until_ = SteadyTime::max();
  stop_at_ = next_ + options_.files;
  Recorder recorder;
  recorder.start();
  {
    TaskGroup writers(env_.executor);
    for (uint32_t i = 0; i < std::max(options_.clients, 256u); ++i) writers.spawn(writer(&recorder));
    co_await writers.join();
  }
  recorder.stop();
  JsonLine().text("op", "engine-fill").number("files", static_cast<double>(store_->file_count())).recorder(recorder)
      .number("peak_rss_bytes", static_cast<double>(proc_value("/proc/self/status", "VmHWM:"))).print();
  ::_exit(recorder.errors() == 0 ? 0 : 1);
}

Task<Status> EngineBench::open_only() {
  const uint64_t before = proc_value("/proc/self/status", "RssAnon:");
  const SteadyTime began = SteadyClock::now();
  CO_RETURN_IF_ERROR(co_await open());
  const double seconds = seconds_since(began);
  const auto files = static_cast<double>(std::max<uint64_t>(store_->file_count(), 1));
  const auto memory = static_cast<double>(proc_value("/proc/self/status", "RssAnon:") - before);
  const auto index = static_cast<double>(std::filesystem::file_size(folder_ + "/store/index.db"));
  JsonLine().text("op", "engine-open").number("files", files).number("seconds", seconds, 3)
      .number("memory_bytes", memory).number("memory_bytes_per_file", memory / files, 1)
      .number("index_bytes_per_file", index / files, 1)
      .number("disk_bytes_per_file", static_cast<double>(folder_bytes(folder_ + "/store")) / files, 1).print();
  co_return co_await store_->close();
}

}  // namespace understudy::bench

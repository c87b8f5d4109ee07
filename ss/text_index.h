// Which sentences stand where in the versions of files, without reading them again:
// what every chunk contains is remembered by its hash, so a version costs only the
// chunks that no version before it had, and finding a sentence reads about one.
//
// Kept in memory, within bounds, by whoever is asked for sentences or words; built
// when first needed (a server that has just become acting primary reads a document
// once), a chunk at a time, scanned by a worker.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "ss/core/text_summary.h"
#include "ss/file_store.h"

namespace understudy {

class TextIndex {
 public:
  // About so much memory for chunks, and again for whole versions.
  static constexpr uint64_t kBytesMax = 32 << 20;

  TextIndex(Env& env, FileStore* store, uint64_t bytes_max = kBytesMax);

  // NOT_FOUND: no such version. Of a version number, never of "the newest".
  Task<Result<TextCounts>> counts(FileId file, Version version);
  // How a scan of the whole version ends.
  Task<Result<ScanPoint>> end(FileId file, Version version);
  // As SentenceFinder::finish().
  Task<Result<Sentence>> find(FileId file, Version version, uint64_t ordinal);

  // For tests.
  uint64_t bytes_scanned() const { return bytes_scanned_; }
  uint64_t bytes_held() const { return chunks_.bytes + texts_.bytes; }

 private:
  // A version as a row of scanned parts.
  struct Text {
    Version version;
    std::vector<ScanPoint> parts;  // Where each begins.
    ScanPoint end;
    TextCounts counts;
  };
  using TextRef = std::shared_ptr<const Text>;
  // The most recently used of something, up to so many bytes.
  template <class Key, class Value, class Hash>
  struct Recent {
    struct Entry {
      Value value;
      uint64_t bytes = 0;
      std::list<Key>::iterator use;
    };
    const Value* find(const Key& key);
    void put(const Key& key, Value value, uint64_t bytes, uint64_t bytes_max);
    uint64_t bytes = 0;
    std::list<Key> uses;                           // Most recent first.
    std::unordered_map<Key, Entry, Hash> entries;  // Never iterated.
  };
  struct ChunkKey {
    FileId file = kNoFile;
    ChunkHash hash;
    bool operator==(const ChunkKey&) const = default;
  };
  struct ChunkKeyHash {
    size_t operator()(const ChunkKey& key) const;
  };
  class Building;

  Task<Result<TextRef>> text(FileId file, Version version);
  Task<Result<TextRef>> build(FileId file, Version version);
  Task<Result<TextSummary>> summarize(FileId file, Version version, uint64_t offset, uint32_t size);

  Env& env_;
  FileStore* store_;
  uint64_t bytes_max_;
  Recent<ChunkKey, TextSummary, ChunkKeyHash> chunks_;
  Recent<FileId, TextRef, std::hash<FileId>> texts_;  // The last asked for of each file.
  std::unordered_set<FileId> building_;               // Never iterated. One build of a file at a time.
  Notifier built_;
  uint64_t bytes_scanned_ = 0;
};

}  // namespace understudy

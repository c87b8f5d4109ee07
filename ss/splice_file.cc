#include "ss/splice_file.h"

#include <algorithm>

namespace understudy {
namespace {

// Unpins what was staged, whatever becomes of the version.
class Staged {
 public:
  Staged(FileStore* store, FileId file) : store_(store), file_(file) {}
  Staged(const Staged&) = delete;
  Staged& operator=(const Staged&) = delete;
  ~Staged() { if (!chunks_.empty()) store_->unpin(file_, chunks_); }
  void add(ChunkRefInfo chunk) { chunks_.push_back(chunk); }

 private:
  FileStore* store_;
  FileId file_;
  std::vector<ChunkRefInfo> chunks_;
};

// Of any size, in reads of a chunk at most.
Task<Result<Bytes>> read_span(FileStore* store, FileId file, Version version, ByteSpan span) {
  Bytes all;
  while (all.size() < span.size) {
    auto size = static_cast<uint32_t>(std::min<uint64_t>(span.size - all.size(), kChunkSizeMax));
    CO_ASSIGN_OR_RETURN(Bytes piece, co_await store->read(file, version, span.offset + all.size(), size));
    if (piece.empty()) co_return fail(Code::kCorrupt, "the file is shorter than its version says");
    if (all.empty()) all = std::move(piece);
    else all.append(piece);
  }
  co_return all;
}

}  // namespace

Task<Result<VersionInfo>> splice_file(FileStore* store, Change change, VersionInfo base, ByteSpan replaced,
                                      Bytes inserted) {
  FileId file = change.file;
  change.expected = base.version;
  uint64_t size = base.size_bytes - replaced.size + inserted.size();
  if (base.size_bytes <= kChunkSizeMax && size <= kChunkSizeMax) {
    CO_ASSIGN_OR_RETURN(Bytes content, co_await read_span(store, file, base.version, {0, base.size_bytes}));
    content.replace(replaced.offset, replaced.size, inserted);
    co_return co_await store->put(std::move(change), std::move(content));
  }

  CO_ASSIGN_OR_RETURN(auto chunks, co_await store->chunks(file, base.version));
  // The chunks [first, last) that the run touches, and where they begin and end; an
  // insertion at the very end touches the last one. No chunks: the content stands inline.
  size_t first = 0, last = 0;
  uint64_t begin = 0, end = base.size_bytes;
  if (!chunks.empty()) {
    uint64_t at = 0;
    while (first + 1 < chunks.size() && at + chunks[first].size <= replaced.offset) {
      at += chunks[first++].size;
    }
    begin = at;
    last = first;
    do at += chunks[last++].size;
    while (last < chunks.size() && at < replaced.end());
    end = at;
  }
  CO_ASSIGN_OR_RETURN(Bytes middle,
                      co_await read_span(store, file, base.version, {begin, replaced.offset - begin}));
  middle.append(inserted);
  inserted = {};
  CO_ASSIGN_OR_RETURN(Bytes tail,
                      co_await read_span(store, file, base.version, {replaced.end(), end - replaced.end()}));
  middle.append(tail);
  tail = {};

  Staged staged(store, file);
  std::vector<ChunkRefInfo> result(chunks.begin(), chunks.begin() + static_cast<ptrdiff_t>(first));
  for (uint64_t at = 0; at < middle.size(); at += kChunkSizeMax) {
    CO_ASSIGN_OR_RETURN(auto chunk, co_await store->stage(file, middle.substr(at, kChunkSizeMax)));
    staged.add(chunk);
    result.push_back(chunk);
  }
  result.insert(result.end(), chunks.begin() + static_cast<ptrdiff_t>(last), chunks.end());
  co_return co_await store->commit(std::move(change), std::move(result), /*append=*/false);
}

}  // namespace understudy

#include "ss/merge_sentence.h"

#include <algorithm>

#include "ss/records.h"

namespace understudy {
namespace {

// What an edit writes again beside itself. Smaller ones would make the lists of chunks longer
// than what they save.
constexpr uint64_t kPieceSize = 64 << 10;
// A touched chunk below this takes a neighbour in, so that edits leave no crumbs.
constexpr uint64_t kCrumb = 16 << 10;

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

// The run of bytes that is read and written again, in whole chunks: [first, last) of them.
struct Window {
  size_t first = 0;
  size_t last = 0;
  ByteSpan bytes;
};

Window window_of(const std::vector<ChunkRefInfo>& chunks, uint64_t size_bytes, ByteSpan replaced) {
  Window window{.bytes = {0, size_bytes}};
  if (chunks.empty()) return window;  // The content stands inline.
  // An insertion at the very end touches the last chunk.
  uint64_t at = 0;
  while (window.first + 1 < chunks.size() && at + chunks[window.first].size <= replaced.offset) {
    at += chunks[window.first++].size;
  }
  window.bytes.offset = at;
  window.last = window.first;
  do at += chunks[window.last++].size;
  while (window.last < chunks.size() && at < replaced.end());
  window.bytes.size = at - window.bytes.offset;
  if (window.bytes.size >= kCrumb) return window;
  if (window.last < chunks.size()) {
    window.bytes.size += chunks[window.last++].size;
  } else if (window.first > 0) {
    const uint64_t size = chunks[--window.first].size;
    window.bytes = {window.bytes.offset - size, window.bytes.size + size};
  }
  return window;
}

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

// The byte at `at`, in the window if it lies there; nothing outside of the file.
Task<Result<std::optional<char>>> byte_at(FileStore* store, FileId file, Version version, uint64_t size_bytes,
                                          uint64_t at, const Bytes* window, uint64_t window_offset) {
  if (at >= size_bytes) co_return std::nullopt;
  if (at >= window_offset && at - window_offset < window->size()) co_return (*window)[at - window_offset];
  CO_ASSIGN_OR_RETURN(Bytes byte, co_await store->read(file, version, at, 1));
  if (byte.empty()) co_return fail(Code::kCorrupt, "the file is shorter than its version says");
  co_return byte.front();
}

}  // namespace

std::vector<uint32_t> piece_sizes(uint64_t size_bytes) {
  const uint64_t count = std::max<uint64_t>(1, (size_bytes + kPieceSize / 2) / kPieceSize);
  std::vector<uint32_t> sizes;
  for (uint64_t i = 0, at = 0; i < count && at < size_bytes; ++i) {
    const uint64_t end = size_bytes * (i + 1) / count;
    sizes.push_back(static_cast<uint32_t>(end - at));
    at = end;
  }
  return sizes;
}

Task<Result<Merged>> merge_sentence(FileStore* store, Change change, VersionInfo base, SentencePlace place,
                                    int64_t begun_before, WriteSession writing) {
  const FileId file = change.file;
  const ByteSpan replaced = place.at_end ? ByteSpan{base.size_bytes, 0} : place.span;
  change.expected = base.version;
  CO_ASSIGN_OR_RETURN(auto chunks, co_await store->chunks(file, base.version));
  const Window window = window_of(chunks, base.size_bytes, replaced);
  CO_ASSIGN_OR_RETURN(Bytes text, co_await read_span(store, file, base.version, window.bytes));
  // Before offset 0 there is nothing, as behind the end.
  CO_ASSIGN_OR_RETURN(auto before, co_await byte_at(store, file, base.version, base.size_bytes, replaced.offset - 1,
                                                    &text, window.bytes.offset));
  CO_ASSIGN_OR_RETURN(auto after, co_await byte_at(store, file, base.version, base.size_bytes, replaced.end(), &text,
                                                   window.bytes.offset));
  const Bytes inserted = writing.result(before, after);
  Merged merged;
  merged.splice = {replaced, inserted.size(), sentences_begun(inserted) - begun_before};
  change.edit_record = encode_edit_record(place.ordinal, merged.splice);
  text.replace(replaced.offset - window.bytes.offset, replaced.size, inserted);

  if (window.bytes.size == base.size_bytes && text.size() <= kInlineSizeMax) {
    CO_ASSIGN_OR_RETURN(merged.version, co_await store->put(std::move(change), std::move(text)));
    co_return merged;
  }
  Staged staged(store, file);
  std::vector<ChunkRefInfo> result(chunks.begin(), chunks.begin() + static_cast<ptrdiff_t>(window.first));
  uint64_t at = 0;
  for (uint32_t size : piece_sizes(text.size())) {
    CO_ASSIGN_OR_RETURN(auto chunk, co_await store->stage(file, text.substr(at, size)));
    staged.add(chunk);
    result.push_back(chunk);
    at += size;
  }
  result.insert(result.end(), chunks.begin() + static_cast<ptrdiff_t>(window.last), chunks.end());
  CO_ASSIGN_OR_RETURN(merged.version, co_await store->commit(std::move(change), std::move(result), /*append=*/false));
  co_return merged;
}

}  // namespace understudy

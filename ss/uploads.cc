#include "ss/uploads.h"

namespace understudy {

Uploads::Uploads(Env& env, FileStore* store, Duration idle_limit)
    : env_(env), store_(store), idle_limit_(idle_limit) {}

void Uploads::unpin(FileId file, const std::map<uint64_t, ChunkRefInfo>& chunks) {
  ChunkRefs all;
  all.reserve(chunks.size());
  for (const auto& [index, chunk] : chunks) all.push_back(chunk);
  if (!all.empty()) store_->unpin(file, all);
}

Status Uploads::check(FileId file, uint64_t upload, uint64_t index) {
  if (index >= kIndexMax) return fail(Code::kInvalid, "an upload cannot have so many chunks");
  if (!uploads_.contains({file, upload}) && uploads_.size() >= kUploadsMax) {
    return fail(Code::kUnavailable, "too many uploads are under way; try again later");
  }
  return {};
}

uint64_t Uploads::add(FileId file, uint64_t upload, uint64_t index, ChunkRefInfo chunk) {
  auto& entry = uploads_[{file, upload}];
  entry.last_used = env_.clock.now();
  auto [at, fresh] = entry.chunks.try_emplace(index, chunk);
  if (!fresh) {
    store_->unpin(file, {at->second});
    at->second = chunk;
  }
  return entry.chunks.size();
}

Result<Uploads::Taken> Uploads::take(FileId file, uint64_t upload, uint64_t chunk_count,
                                     uint64_t size_bytes) {
  auto at = uploads_.find({file, upload});
  uint64_t next = 0, size = 0;
  if (at != uploads_.end()) {
    at->second.last_used = env_.clock.now();
    for (const auto& [index, chunk] : at->second.chunks) {
      if (index != next || next == chunk_count) break;
      ++next;
      size += chunk.size;
    }
  }
  if (next < chunk_count) {
    return fail(Code::kNotFound, "chunk " + std::to_string(next) + " of the upload is not staged");
  }
  if (size != size_bytes) return fail(Code::kInvalid, "the upload's chunks do not add up to its size");
  std::map<uint64_t, ChunkRefInfo> chunks;
  if (at != uploads_.end()) {
    auto beyond = at->second.chunks.lower_bound(chunk_count);
    std::map<uint64_t, ChunkRefInfo> unused(beyond, at->second.chunks.end());
    at->second.chunks.erase(beyond, at->second.chunks.end());
    unpin(file, unused);
    chunks = std::move(at->second.chunks);
    uploads_.erase(at);
  }
  return Taken(this, file, upload, std::move(chunks));
}

void Uploads::expire(Instant now) {
  for (auto at = uploads_.begin(); at != uploads_.end();) {
    if (now - at->second.last_used < idle_limit_) {
      ++at;
      continue;
    }
    unpin(at->first.first, at->second.chunks);
    at = uploads_.erase(at);
  }
}

Uploads::Taken::Taken(Taken&& other) noexcept
    : uploads_(std::exchange(other.uploads_, nullptr)),
      file_(other.file_),
      upload_(other.upload_),
      chunks_(std::move(other.chunks_)) {}

Uploads::Taken::~Taken() {
  if (uploads_) uploads_->unpin(file_, chunks_);
}

ChunkRefs Uploads::Taken::chunks() const {
  ChunkRefs all;
  all.reserve(chunks_.size());
  for (const auto& [index, chunk] : chunks_) all.push_back(chunk);
  return all;
}

void Uploads::Taken::put_back() {
  for (const auto& [index, chunk] : chunks_) uploads_->add(file_, upload_, index, chunk);
  uploads_ = nullptr;
}

}  // namespace understudy

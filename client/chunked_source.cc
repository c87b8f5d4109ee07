#include "client/chunked_source.h"

#include "common/base/chunk_cutter.h"

namespace understudy::client {
namespace {

// Shared with the worker, so that whoever waits may be cancelled.
struct Cutting {
  Bytes bytes;
  bool to_the_end = false;
  std::vector<Bytes> chunks;

  void run() {
    size_t at = 0;
    // What is less than a whole chunk may go on behind.
    while (at < bytes.size() && (to_the_end || bytes.size() - at >= kChunkSizeMax)) {
      const size_t size = cut_chunk(BytesView(bytes).substr(at));
      chunks.push_back(bytes.substr(at, size));
      at += size;
    }
    bytes.erase(0, at);
  }
};

}  // namespace

Task<Result<Bytes>> ChunkedSource::read_part() {
  auto reading = source_->read(read_to_, kPart);
  CO_ASSIGN_OR_RETURN(Bytes part, co_await reading);
  read_to_ += part.size();
  at_end_ = part.size() < kPart;
  co_return part;
}

Task<Result<std::vector<Bytes>>> ChunkedSource::next() {
  if (!std::exchange(began_, true)) {
    CO_ASSIGN_OR_RETURN(uncut_, co_await read_part());
  }
  auto cutting = std::make_shared<Cutting>();
  cutting->bytes = std::exchange(uncut_, {});
  cutting->to_the_end = at_end_;
  auto cut = env_.workers.run([cutting] { cutting->run(); });
  Bytes more;
  if (!at_end_) {
    CO_ASSIGN_OR_RETURN(more, co_await read_part());
  }
  co_await cut;
  uncut_ = std::move(cutting->bytes);
  uncut_ += more;
  co_return std::move(cutting->chunks);
}

}  // namespace understudy::client

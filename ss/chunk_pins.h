// Chunks that stand in the log and that no version names yet, or that a version
// on its way will name: kept findable by (file, hash) until their versions come.
//
// A holder pins and unpins; what replication stores has no holder, and is forgotten
// when nobody asked for it for some time. Bytes are never lost by forgetting: the
// chunk is then sent again.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "common/base/chunk_hash.h"
#include "common/base/types.h"

namespace understudy {

struct ChunkPlace {
  Lsn lsn{};
  uint32_t size = 0;
};

class ChunkPins {
 public:
  using Key = std::pair<FileId, ChunkHash>;

  std::optional<ChunkPlace> find(FileId file, const ChunkHash& hash) const {
    auto found = pins_.find({file, hash});
    if (found == pins_.end()) return std::nullopt;
    return found->second.place;
  }
  void pin(FileId file, const ChunkHash& hash, ChunkPlace place) {
    Pin& pin = pins_[{file, hash}];
    pin.place = place;
    ++pin.holders;
  }
  void unpin(FileId file, const ChunkHash& hash) {
    auto found = pins_.find({file, hash});
    if (found == pins_.end()) return;
    if (found->second.holders > 0) --found->second.holders;
    drop_if_free(found);
  }
  // Without a holder, until forget_idle() of a later time.
  void keep(FileId file, const ChunkHash& hash, ChunkPlace place, Instant until) {
    Pin& pin = pins_[{file, hash}];
    pin.place = place;
    pin.until = until;
    kept_.emplace_back(until, Key{file, hash});
  }
  // The append was refused: the place holds something else soon.
  void drop(FileId file, const ChunkHash& hash, Lsn lsn) {
    auto found = pins_.find({file, hash});
    if (found != pins_.end() && found->second.place.lsn == lsn) pins_.erase(found);
  }
  void forget_idle(Instant now) {
    while (!kept_.empty() && kept_.front().first < now) {
      auto found = pins_.find(kept_.front().second);
      // Kept again later, it stands further behind in the queue once more.
      if (found != pins_.end() && found->second.until == kept_.front().first) {
        found->second.until = {};
        drop_if_free(found);
      }
      kept_.pop_front();
    }
  }
  // What is kept of a file without a holder was for a version that has come.
  void end_kept(FileId file) {
    for (auto at = pins_.lower_bound({file, ChunkHash{}}); at != pins_.end() && at->first.first == file;) {
      auto pin = at++;
      pin->second.until = {};
      drop_if_free(pin);
    }
  }
  // Any chunk of the file.
  bool holds(FileId file) const {
    auto found = pins_.lower_bound({file, ChunkHash{}});
    return found != pins_.end() && found->first.first == file;
  }
  size_t size() const { return pins_.size(); }

 private:
  struct Pin {
    ChunkPlace place;
    uint32_t holders = 0;
    Instant until{};
  };
  void drop_if_free(std::map<Key, Pin>::iterator at) {
    if (at->second.holders == 0 && at->second.until == Instant{}) pins_.erase(at);
  }
  std::map<Key, Pin> pins_;
  std::deque<std::pair<Instant, Key>> kept_;
};

}  // namespace understudy

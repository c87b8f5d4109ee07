// What UNDO goes back to.
//
// A file stands at a version: the one whose content it has. A version that UNDO made
// stands where it went back to, a checkpoint and an UNDELETE where the file stood
// before it, every other one at itself. UNDO takes the content of
// the parent of where the file stands, and stands where that parent does. So each
// UNDO goes one further back, over whatever was undone before, and never forward; a
// change made after an UNDO is undone first.
#pragma once

#include "common/base/types.h"
#include "common/wire/understudy.pb.h"

namespace understudy {

inline Version stands_at(const wire::VersionRecord& record) {
  const bool elsewhere = record.kind() == wire::CHANGE_UNDO || record.kind() == wire::CHANGE_CHECKPOINT ||
                         record.kind() == wire::CHANGE_UNDELETE;
  const auto& at = elsewhere ? record.undo_target() : record.version();
  return {Epoch{at.epoch()}, at.counter()};
}

}  // namespace understudy

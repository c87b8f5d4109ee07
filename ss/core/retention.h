// What retention takes of one file's past. Pure: facts and a clock reading in, the
// versions that go out.
//
// A trimmed version loses its content; its record stays for a while, so that the request
// that made it still gets its first answer, and then goes too. The head always stays,
// as does what a checkpoint names, the file's first record (it says when the file was
// made), what the other half may lack, and what somebody reads.
#pragma once

#include <vector>

#include "common/base/retention.h"
#include "common/base/types.h"

namespace understudy {

struct PastVersion {
  Version version;
  Lsn end{};             // Of its record.
  int64_t time_us = 0;
  uint64_t bytes = 0;    // That it adds to its parent's, about.
  bool first = false;    // Has no parent.
  bool checkpoint = false;
  bool named = false;    // By a checkpoint, or is one.
  bool trimmed = false;  // Its content went before.
  bool being_read = false;
  bool carries_name = false;  // The file's name is read from its record.
};

struct RetentionFacts {
  Retention retention;
  int64_t now_us = 0;
  bool deleted = false;    // The head is a tombstone.
  // Only what ends at or below this position may go: the other half has it too.
  Lsn replicated{};
};

// Why content that retention would take is still there, and what it keeps on purpose. Bytes, about.
struct HeldBytes {
  uint64_t past = 0;
  uint64_t named = 0;
  uint64_t unreplicated = 0;
  uint64_t read = 0;
  uint64_t deleted = 0;
  HeldBytes& operator+=(const HeldBytes& other);
};

struct RetentionPlan {
  struct Step {
    size_t index = 0;   // Into the line.
    bool gone = false;  // The record goes too.
  };
  std::vector<Step> steps;  // Newest first.
  HeldBytes held;           // When these are done.
};

// `line`: newest first, from the head on, without what was set aside.
RetentionPlan choose_trims(const std::vector<PastVersion>& line, const RetentionFacts& facts);

// How often the files are to be looked through: a part of the shortest time that is set.
Duration retention_pass(const Retention& retention);

}  // namespace understudy

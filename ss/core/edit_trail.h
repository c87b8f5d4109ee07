// Where a sentence stands, and how the changes of its file move it: each version
// says what it did to the text of the one before, so a place that was found in one
// version is followed to any later one without looking at the text.
//
// Pure. By this locks follow the commits of others, and a sentence is taken again
// behind a failover.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/types.h"
#include "ss/core/document.h"

namespace understudy {

// A commit's replacement of bytes in a file.
struct Splice {
  ByteSpan replaced;
  uint64_t inserted_size = 0;
  int64_t sentence_shift = 0;  // Of all ordinals behind it: sentences_begun() after less before.
  bool operator==(const Splice&) const = default;
};

struct SentencePlace {
  uint64_t ordinal = 0;
  ByteSpan span;        // Its bytes; meaningless if at_end.
  bool at_end = false;  // A new sentence: it goes to wherever the file ends.
  bool closed = false;
};

// Both would be written at once.
bool meet(const SentencePlace& a, const SentencePlace& b);

// Moves the place over one change. False if the change touched the sentence itself;
// the place is then as good as it can be.
bool follow(SentencePlace& place, const Splice& splice);

// VersionRecord.edit_record of an EDIT: which sentence was written, and the splice.
// Five little-endian 64-bit numbers.
Bytes encode_edit_record(uint64_t ordinal, const Splice& splice);
// Nothing if it is no such record.
std::optional<Splice> decode_edit_record(BytesView record);

}  // namespace understudy

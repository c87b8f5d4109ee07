#include "ss/core/edit_trail.h"

#include "common/base/coding.h"

namespace understudy {

bool meet(const SentencePlace& a, const SentencePlace& b) {
  // What comes behind the last sentence would go on with it if it is not closed.
  if (a.at_end || b.at_end) return (a.at_end || !a.closed) && (b.at_end || !b.closed);
  return a.span.offset < b.span.end() && b.span.offset < a.span.end();
}

bool follow(SentencePlace& place, const Splice& splice) {
  if (place.at_end) {
    place.ordinal += splice.sentence_shift;
    return true;
  }
  // Whatever comes behind a sentence that is not closed goes on with it.
  if (splice.replaced.offset >= place.span.end()) return place.closed;
  if (splice.replaced.end() > place.span.offset) return false;
  place.ordinal += splice.sentence_shift;
  place.span.offset += splice.inserted_size - splice.replaced.size;
  return true;
}

Bytes encode_edit_record(uint64_t ordinal, const Splice& splice) {
  Bytes record;
  put_fixed(record, ordinal);
  put_fixed(record, splice.replaced.offset);
  put_fixed(record, splice.replaced.size);
  put_fixed(record, splice.inserted_size);
  put_fixed(record, splice.sentence_shift);
  return record;
}

std::optional<Splice> decode_edit_record(BytesView record) {
  if (record.size() != 5 * sizeof(uint64_t)) return std::nullopt;
  auto number_at = [&](size_t index) { return load_fixed<uint64_t>(record.data() + index * sizeof(uint64_t)); };
  Splice splice{.replaced = {number_at(1), number_at(2)}, .inserted_size = number_at(3)};
  splice.sentence_shift = static_cast<int64_t>(number_at(4));
  return splice;
}

}  // namespace understudy

// A packed segment whose header or table is damaged: its name says for which positions it stands, and
// each record says where it stands itself, so all that is whole in it can still be read.
#pragma once

#include <memory>
#include <string>

#include "common/segment_log/packed_segment.h"

namespace understudy {

// Reads the whole file. What its damaged parts held is met by whoever reads the records, as damage;
// where it is not known what stood behind the last record, as damage up to the segment's end.
Task<Result<std::shared_ptr<const PackedTable>>> recover_packed(std::shared_ptr<File> file, std::string path,
                                                                PackedRange range, StoreId store_id);

}  // namespace understudy

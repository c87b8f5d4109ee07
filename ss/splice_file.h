// A new version of a file with one run of its bytes replaced: what lies in chunks
// that the run does not touch is shared with the version before, so a small edit
// of a big file costs about a chunk.
//
// Assumes that nobody else changes the file meanwhile (FileGates, alone); if
// somebody does, the change is refused with CONFLICT.
#pragma once

#include "common/base/result.h"
#include "common/env/task.h"
#include "ss/core/document.h"
#include "ss/file_store.h"

namespace understudy {

// `base`: the newest version, `replaced` a run of its bytes.
Task<Result<VersionInfo>> splice_file(FileStore* store, Change change, VersionInfo base, ByteSpan replaced,
                                      Bytes inserted);

}  // namespace understudy

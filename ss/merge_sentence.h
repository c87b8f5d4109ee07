// A written sentence put in its place in the newest version: a new version with one
// run of its bytes replaced. What lies in chunks that the run does not touch is shared
// with the version before, and a chunk that is written in is cut into small ones, so
// that the next edit beside it costs little.
//
// Assumes that nobody else changes the file meanwhile (FileGates, alone); if
// somebody does, the change is refused with CONFLICT.
#pragma once

#include "common/base/result.h"
#include "common/env/task.h"
#include "ss/core/edit_trail.h"
#include "ss/core/write_session.h"
#include "ss/file_store.h"

namespace understudy {

struct Merged {
  VersionInfo version;
  Splice splice;
};

// `base`: the newest version, in which the sentence that began `begun_before` (sentences_begun())
// stands at `place`.
Task<Result<Merged>> merge_sentence(FileStore* store, Change change, VersionInfo base, SentencePlace place,
                                    int64_t begun_before, WriteSession writing);

// The sizes of the pieces that so many bytes are stored in, where somebody writes.
std::vector<uint32_t> piece_sizes(uint64_t size_bytes);

}  // namespace understudy

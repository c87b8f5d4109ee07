// What the machine itself can do, with plain files, sockets and tools: every figure of the store is given as a
// ratio to one of these, measured in the same run.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bench/measurement.h"

namespace understudy::bench {

// `threads` loops of create + write + fsync + rename of files of `size_bytes` in `folder`.
Recorder plain_files(const std::string& folder, uint32_t threads, uint32_t size_bytes, std::chrono::milliseconds time);

// Appends of `size_bytes` to one file in `folder`, `writers` at a time: each by a thread that writes and syncs it by
// itself; or, `together`, all of them by one thread in one write with one sync, as a group commit that does nothing else would.
Recorder raw_appends(const std::string& folder, uint32_t writers, uint32_t size_bytes, std::chrono::milliseconds time, bool together);

// `threads` loops of sending one byte over loopback and waiting for it to come back from a thread of its own.
Recorder loopback_round_trips(uint32_t threads, std::chrono::milliseconds time);

// A file of `size_bytes` that does not compress, at `path`.
void make_file(const std::string& path, uint64_t size_bytes);

// `cp` of `path` to two new files beside it, one after the other, and fsync of both; then both are removed.
double copy_twice_seconds(const std::string& path);

// `cp` of `path` to a new file beside it and fsync of that; then it is removed.
double copy_seconds(const std::string& path);

// `cat` of `path` into a pipe at whose end the bytes are counted, as the bench counts what it gets.
double cat_seconds(const std::string& path);

}  // namespace understudy::bench

// The words of docs/glossary.md as types. Ids are strong types: a FileId is never
// taken for an Lsn by mistake.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace understudy {

using Bytes = std::string;            // Owned bytes, of any content.
using BytesView = std::string_view;

// A file, folder or link: never reused. The top ten bits are its partition
// (partition_of), so that a partition is one contiguous range of ids.
enum class FileId : uint64_t {};
inline constexpr FileId kNoFile{0};
inline constexpr FileId kRootFolder{1};
inline constexpr uint32_t kPartitions = 1024;
constexpr uint32_t partition_of(FileId id) { return static_cast<uint64_t>(id) >> 54; }

// A position in a segment log: the byte offset of a record in all that was ever
// appended to that log. Comparable within one store id only.
enum class Lsn : uint64_t {};
inline constexpr Lsn kNoLsn{0};

// The Raft index of the command that made a member acting primary. Unique in the
// cluster and ever growing; 0 is none.
enum class Epoch : uint64_t {};
inline constexpr Epoch kNoEpoch{0};

constexpr uint64_t number(FileId v) { return static_cast<uint64_t>(v); }
constexpr uint64_t number(Lsn v) { return static_cast<uint64_t>(v); }
constexpr uint64_t number(Epoch v) { return static_cast<uint64_t>(v); }

// (epoch, counter) of one file; {0, 0} is "no version". Immutable once written.
struct Version {
  Epoch epoch = kNoEpoch;
  uint64_t counter = 0;
  auto operator<=>(const Version&) const = default;
  explicit operator bool() const { return counter != 0; }
  std::string to_string() const;  // "12.3", as HISTORY prints it.
};

// Which change of which client: a repeat takes effect at most once.
struct RequestId {
  uint64_t client = 0;    // Random, one for each start of a client process.
  uint64_t sequence = 0;  // Counts up from 1 within the client.
  auto operator<=>(const RequestId&) const = default;
  explicit operator bool() const { return client != 0; }
};

// A random id of a data folder, as 32 hexadecimal digits; empty is none.
using StoreId = std::string;
// A random id of one start of a process.
using Incarnation = uint64_t;

// The machine's CLOCK_BOOTTIME in production: comparable within one machine and
// one boot only, and never sent over the wire.
struct MonotonicClock {
  using rep = int64_t;
  using period = std::nano;
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<MonotonicClock>;
  static constexpr bool is_steady = true;
};
using Duration = MonotonicClock::duration;
using Instant = MonotonicClock::time_point;

// For people and for file times only: nothing is decided by it. Microseconds
// since 1970, UTC.
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

}  // namespace understudy

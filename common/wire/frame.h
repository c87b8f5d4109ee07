// Frames: what crosses a connection (docs/wire.md).
//
//   offset  size
//        0     4  magic "UDS1"
//        4     4  message size
//        8     4  body size
//       12     2  type (wire::MessageType)
//       14     1  kind (FrameKind)
//       15     1  zero
//       16     8  request id
//       24     8  checksum of the message, seeded with that of the 24 bytes before
//       32        the message (protobuf; of an error: one byte code, then text), then the body
//
// Little-endian. The body has no checksum here: chunks carry hashes of their own.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

inline constexpr uint32_t kFrameMagic = 0x31534455;
inline constexpr size_t kFrameHeaderSize = 32;

enum class FrameKind : uint8_t { kRequest = 1, kResponse = 2, kError = 3, kOneWay = 4 };

struct FrameLimits {
  uint32_t message_size_max;
  uint32_t body_size_max;
};
// Until both sides know each other.
inline constexpr FrameLimits kHelloLimits{4 << 10, 0};
inline constexpr FrameLimits kFrameLimits{16 << 20, (1 << 20) + (64 << 10)};

struct Frame {
  FrameKind kind = FrameKind::kRequest;
  uint16_t type = 0;
  uint64_t request_id = 0;
  Bytes message;
  Bytes body;
};

// Collects frames as pieces for one Connection::write. Small parts are joined, large
// ones moved. The caller has checked the sizes.
class FrameWriter {
 public:
  void add(Frame frame);
  bool empty() const { return pieces_.empty(); }
  uint64_t size_bytes() const { return size_bytes_; }
  std::vector<Bytes> take();

 private:
  void join(BytesView part);
  void add_part(Bytes part, size_t joined_max);

  std::vector<Bytes> pieces_;
  bool joining_ = false;  // The last piece is ours to append to.
  uint64_t size_bytes_ = 0;
};

// Bytes in, frames out. Every length is checked before memory is taken for it, and of a
// long message only so much is reserved as a body may have. After an error it gives nothing more.
class FrameDecoder {
 public:
  explicit FrameDecoder(FrameLimits limits) : limits_(limits) {}
  void set_limits(FrameLimits limits) { limits_ = limits; }

  // Only once next() gave nothing.
  void feed(Bytes bytes);
  // The next whole frame, nothing while one is incomplete, or INVALID.
  Result<std::optional<Frame>> next();
  // Of the frame that is coming, once its header is here: so many bytes in all.
  uint64_t expected_bytes() const {
    return state_ == State::kMessage || state_ == State::kBody ? uint64_t{message_size_} + body_size_ : 0;
  }
  // True between frames: the stream may end here.
  bool idle() const { return state_ == State::kHeader && header_.empty() && at_ == input_.size(); }

 private:
  enum class State : uint8_t { kHeader, kMessage, kBody, kBad };

  bool fill(Bytes& part, size_t size);
  Status read_header();

  FrameLimits limits_;
  State state_ = State::kHeader;
  Bytes input_;
  size_t at_ = 0;  // In input_.
  Bytes header_;
  uint32_t message_size_ = 0;
  uint32_t body_size_ = 0;
  Frame frame_;
};

// An Error as the message of an error frame, and back.
Bytes encode_error(const Error& error);
Error decode_error(BytesView message);

}  // namespace understudy

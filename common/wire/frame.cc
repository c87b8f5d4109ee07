#include "common/wire/frame.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/checksum.h"
#include "common/base/coding.h"
#include "common/base/path.h"

namespace understudy {
namespace {

constexpr size_t kChecksumAt = 24;
// Copying so much costs less than a piece of its own.
constexpr size_t kJoinedMessageMax = 16 << 10;
constexpr size_t kJoinedBodyMax = 1 << 10;
constexpr size_t kJoinedPieceMax = 64 << 10;
constexpr size_t kReservedMax = kFrameLimits.body_size_max;
constexpr size_t kErrorTextMax = 2000;  // Fits a frame before the Hello.

uint64_t frame_checksum(BytesView header, BytesView message) {
  return checksum(message, checksum(header.substr(0, kChecksumAt)));
}

}  // namespace

void FrameWriter::add(Frame frame) {
  char header[kFrameHeaderSize];
  store_fixed<uint32_t>(header, kFrameMagic);
  store_fixed<uint32_t>(header + 4, static_cast<uint32_t>(frame.message.size()));
  store_fixed<uint32_t>(header + 8, static_cast<uint32_t>(frame.body.size()));
  store_fixed<uint16_t>(header + 12, frame.type);
  store_fixed<uint8_t>(header + 14, static_cast<uint8_t>(frame.kind));
  store_fixed<uint8_t>(header + 15, 0);
  store_fixed<uint64_t>(header + 16, frame.request_id);
  store_fixed<uint64_t>(header + kChecksumAt, frame_checksum({header, kFrameHeaderSize}, frame.message));
  size_bytes_ += kFrameHeaderSize + frame.message.size() + frame.body.size();

  join({header, kFrameHeaderSize});
  add_part(std::move(frame.message), kJoinedMessageMax);
  add_part(std::move(frame.body), kJoinedBodyMax);
}

void FrameWriter::join(BytesView part) {
  if (!joining_ || pieces_.back().size() + part.size() > kJoinedPieceMax) {
    pieces_.emplace_back();
    joining_ = true;
  }
  pieces_.back().append(part);
}

void FrameWriter::add_part(Bytes part, size_t joined_max) {
  if (part.size() <= joined_max) return join(part);
  pieces_.push_back(std::move(part));
  joining_ = false;
}

std::vector<Bytes> FrameWriter::take() {
  joining_ = false;
  size_bytes_ = 0;
  return std::exchange(pieces_, {});
}

void FrameDecoder::feed(Bytes bytes) {
  CHECK(at_ == input_.size() || state_ == State::kBad);
  input_ = std::move(bytes);
  at_ = 0;
}

// Moves input to the end of `part` until it holds `size`; false if that was not enough.
bool FrameDecoder::fill(Bytes& part, size_t size) {
  size_t count = std::min(size - part.size(), input_.size() - at_);
  if (part.empty() && count < size) part.reserve(std::min(size, kReservedMax));
  part.append(input_, at_, count);
  at_ += count;
  return part.size() == size;
}

Status FrameDecoder::read_header() {
  const char* at = header_.data();
  if (auto magic = load_fixed<uint32_t>(at); magic != kFrameMagic) {
    return fail(Code::kInvalid, fmt::format("not an understudy connection: a frame begins with {:08x}", magic));
  }
  message_size_ = load_fixed<uint32_t>(at + 4);
  body_size_ = load_fixed<uint32_t>(at + 8);
  frame_ = Frame();
  frame_.type = load_fixed<uint16_t>(at + 12);
  auto kind = load_fixed<uint8_t>(at + 14);
  auto zero = load_fixed<uint8_t>(at + 15);
  frame_.kind = static_cast<FrameKind>(kind);
  frame_.request_id = load_fixed<uint64_t>(at + 16);
  if (message_size_ > limits_.message_size_max) {
    return fail(Code::kInvalid, fmt::format("a frame announces a message of {} bytes, {} are allowed",
                                            message_size_, limits_.message_size_max));
  }
  if (body_size_ > limits_.body_size_max) {
    return fail(Code::kInvalid, fmt::format("a frame announces a body of {} bytes, {} are allowed", body_size_,
                                            limits_.body_size_max));
  }
  if (kind < 1 || kind > 4 || zero != 0) return fail(Code::kInvalid, fmt::format("a frame of unknown kind {}", kind));
  return {};
}

Result<std::optional<Frame>> FrameDecoder::next() {
  if (state_ == State::kHeader) {
    if (!fill(header_, kFrameHeaderSize)) return std::nullopt;
    if (auto status = read_header(); !status) {
      state_ = State::kBad;
      return std::unexpected(status.error());
    }
    state_ = State::kMessage;
  }
  if (state_ == State::kMessage) {
    if (!fill(frame_.message, message_size_)) return std::nullopt;
    if (frame_checksum(header_, frame_.message) != load_fixed<uint64_t>(header_.data() + kChecksumAt)) {
      state_ = State::kBad;
      return fail(Code::kInvalid, "a frame fails its checksum");
    }
    state_ = State::kBody;
  }
  if (state_ == State::kBody) {
    if (!fill(frame_.body, body_size_)) return std::nullopt;
    state_ = State::kHeader;
    header_.clear();
    return std::exchange(frame_, Frame());
  }
  return fail(Code::kInvalid, "a broken frame came before");
}

Bytes encode_error(const Error& error) {
  Bytes message;
  put_fixed<uint8_t>(message, static_cast<uint8_t>(error.code));
  // One line, whatever of a request is quoted in it.
  message.append(printable_whole(BytesView(error.message).substr(0, kErrorTextMax)), 0, kErrorTextMax);
  return message;
}

Error decode_error(BytesView message) {
  uint8_t code = 0;
  if (!get_fixed(message, code)) return {Code::kInternal, "an error without a code"};
  // Nor does a server write over its client's terminal.
  return {code_from_number(code), printable_whole(message.substr(0, kErrorTextMax))};
}

}  // namespace understudy

// The frame decoder: whatever comes over a connection, in whatever pieces, is whole frames as somebody wrote them or
// an INVALID in one line, after which nothing more is given; and no length that is only announced takes memory.
//
// An input is one byte of piece sizes, then frames to write (kind, type, texts), a zero kind, and bytes to put
// over what was written: so checksums are right where the input does not spoil them.
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/wire/frame.h"
#include "tests/fuzz/input.h"

namespace understudy {
namespace {

constexpr FrameLimits kLimits{4 << 10, 8 << 10};
constexpr size_t kFramesMax = 8;

bool same(const Frame& a, const Frame& b) {
  return a.kind == b.kind && a.type == b.type && a.request_id == b.request_id && a.message == b.message && a.body == b.body;
}

std::string joined(std::vector<Bytes> pieces) {
  std::string all;
  for (auto& piece : pieces) all += piece;
  return all;
}

// All frames up to the end or the first error; whether there was one.
bool decode(const std::string& bytes, size_t piece_size, std::vector<Frame>& frames) {
  FrameDecoder decoder(kLimits);
  for (size_t at = 0; at < bytes.size(); at += piece_size) {
    decoder.feed(bytes.substr(at, piece_size));
    for (;;) {
      auto next = decoder.next();
      if (!next) {
        CHECK(next.error().code == Code::kInvalid);
        CHECK(!next.error().message.empty() && next.error().message.find('\n') == std::string::npos);
        CHECK(!decoder.next().has_value());
        return false;
      }
      if (!*next) break;
      CHECK((*next)->message.size() <= kLimits.message_size_max && (*next)->body.size() <= kLimits.body_size_max);
      frames.push_back(std::move(**next));
    }
    CHECK(decoder.expected_bytes() <= uint64_t{kLimits.message_size_max} + kLimits.body_size_max);
  }
  return true;
}

void check(fuzz::Input input) {
  size_t piece_size = size_t{input.byte()} * 16 + 1;
  std::vector<Frame> written;
  FrameWriter writer;
  while (written.size() < kFramesMax) {
    uint8_t kind = input.byte();
    if (kind == 0) break;
    Frame frame;
    frame.kind = static_cast<FrameKind>(kind % 4 + 1);
    frame.type = static_cast<uint16_t>(input.byte() | input.byte() << 8);
    frame.request_id = input.byte() * uint64_t{0x0101010101010101};
    frame.message = input.text(kLimits.message_size_max);
    frame.body = input.text(kLimits.body_size_max);
    written.push_back(frame);
    writer.add(std::move(frame));
  }
  std::string bytes = joined(writer.take());
  std::vector<Frame> read;
  CHECK(decode(bytes, piece_size, read) && read.size() == written.size());
  for (size_t i = 0; i < read.size(); ++i) CHECK(same(read[i], written[i]));

  // The same, spoilt: at a place, by what is left.
  size_t place = size_t{input.byte()} | size_t{input.byte()} << 8;
  std::string_view spoil = input.rest();
  if (place > bytes.size()) place = bytes.size();
  bytes.replace(place, spoil.size(), spoil);
  std::vector<Frame> all_at_once, in_pieces;
  bool valid = decode(bytes, bytes.size() + 1, all_at_once);
  CHECK(decode(bytes, piece_size, in_pieces) == valid && in_pieces.size() == all_at_once.size());
  FrameWriter again;
  for (size_t i = 0; i < in_pieces.size(); ++i) {
    CHECK(same(in_pieces[i], all_at_once[i]));
    again.add(std::move(in_pieces[i]));
  }
  // What was taken for frames is what would be written for them.
  CHECK(bytes.starts_with(joined(again.take())));
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace understudy;
  check(fuzz::Input(data, size));
  Error error = decode_error(BytesView(reinterpret_cast<const char*>(data), size));
  CHECK(error.message.find('\n') == std::string::npos || error.message.size() <= size);
  std::vector<Frame> frames;
  decode(std::string(reinterpret_cast<const char*>(data), size), 7, frames);
  return 0;
}

// The frame codec against honest, cut, damaged and lying input.
#include <gtest/gtest.h>

#include <random>

#include "common/base/coding.h"
#include "common/wire/frame.h"

namespace understudy {
namespace {

Bytes joined(std::vector<Bytes> pieces) {
  Bytes all;
  for (const Bytes& piece : pieces) all += piece;
  return all;
}

Bytes encoded(Frame frame) {
  FrameWriter writer;
  writer.add(std::move(frame));
  return joined(writer.take());
}

Frame sample(size_t message_size, size_t body_size) {
  Frame frame{FrameKind::kRequest, 42, 7, Bytes(message_size, 'm'), Bytes(body_size, 'b')};
  for (size_t i = 0; i < body_size; ++i) frame.body[i] = static_cast<char>(i * 7 + (i >> 8));
  return frame;
}

void expect_equal(const Frame& want, const Frame& got) {
  EXPECT_EQ(want.kind, got.kind);
  EXPECT_EQ(want.type, got.type);
  EXPECT_EQ(want.request_id, got.request_id);
  EXPECT_TRUE(want.message == got.message);
  EXPECT_TRUE(want.body == got.body);
}

// Frames until there are no more; the error if one came.
Result<std::vector<Frame>> decoded(FrameDecoder& decoder, Bytes bytes) {
  decoder.feed(std::move(bytes));
  std::vector<Frame> frames;
  for (;;) {
    ASSIGN_OR_RETURN(auto frame, decoder.next());
    if (!frame) return frames;
    frames.push_back(*std::move(frame));
  }
}

void expect_refused(Bytes bytes, FrameLimits limits = kFrameLimits) {
  FrameDecoder decoder(limits);
  auto frames = decoded(decoder, std::move(bytes));
  ASSERT_FALSE(frames);
  EXPECT_EQ(Code::kInvalid, frames.error().code);
  // Nothing is believed behind a broken frame.
  EXPECT_FALSE(decoded(decoder, encoded(sample(1, 1))));
}

TEST(FrameTest, EveryKindAndSizeComesBack) {
  FrameWriter writer;
  std::vector<Frame> want;
  for (size_t message : {0, 1, 300, 16 << 10, (16 << 10) + 1, 1 << 20}) {
    for (size_t body : {0, 1, 1024, 1025, 1 << 20}) {
      want.push_back(sample(message, body));
      want.back().kind = static_cast<FrameKind>(1 + want.size() % 4);
      want.back().request_id = want.size() << 40;
      writer.add(want.back());
    }
  }
  uint64_t size = writer.size_bytes();
  Bytes bytes = joined(writer.take());
  EXPECT_EQ(size, bytes.size());
  EXPECT_TRUE(writer.empty());
  FrameDecoder decoder(kFrameLimits);
  auto got = decoded(decoder, std::move(bytes));
  ASSERT_TRUE(got);
  ASSERT_EQ(want.size(), got->size());
  for (size_t i = 0; i < want.size(); ++i) expect_equal(want[i], (*got)[i]);
  EXPECT_TRUE(decoder.idle());
}

TEST(FrameTest, LargeBodiesAreNotCopied) {
  Frame frame = sample(10, 100'000);
  const char* at = frame.body.data();
  FrameWriter writer;
  writer.add(sample(10, 0));
  writer.add(std::move(frame));
  auto pieces = writer.take();
  ASSERT_EQ(2u, pieces.size());
  EXPECT_EQ(at, pieces[1].data());
}

TEST(FrameTest, SplitAtEveryByte) {
  Bytes bytes = encoded(sample(20, 30)) + encoded(sample(0, 0)) + encoded(sample(5, 0));
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    FrameDecoder decoder(kFrameLimits);
    auto first = decoded(decoder, bytes.substr(0, cut));
    ASSERT_TRUE(first);
    auto rest = decoded(decoder, bytes.substr(cut));
    ASSERT_TRUE(rest);
    ASSERT_EQ(3u, first->size() + rest->size());
    first->insert(first->end(), rest->begin(), rest->end());
    expect_equal(sample(20, 30), (*first)[0]);
    expect_equal(sample(0, 0), (*first)[1]);
    expect_equal(sample(5, 0), (*first)[2]);
    EXPECT_TRUE(decoder.idle());
  }
  FrameDecoder decoder(kFrameLimits);
  size_t count = 0;
  for (char byte : bytes) count += decoded(decoder, Bytes(1, byte)).value().size();
  EXPECT_EQ(3u, count);
}

TEST(FrameTest, ATruncatedFrameGivesNothing) {
  Bytes bytes = encoded(sample(20, 30));
  for (size_t size = 1; size < bytes.size(); ++size) {
    FrameDecoder decoder(kFrameLimits);
    auto frames = decoded(decoder, bytes.substr(0, size));
    ASSERT_TRUE(frames);
    EXPECT_TRUE(frames->empty());
    EXPECT_FALSE(decoder.idle());
  }
}

TEST(FrameTest, AnyFlippedBitOfHeaderOrMessageIsSeen) {
  Bytes good = encoded(sample(20, 0));
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    FrameDecoder decoder(kFrameLimits);
    auto frames = decoded(decoder, std::move(bad));
    // A length that grew waits for more; no frame comes out either way.
    EXPECT_TRUE(!frames || frames->empty()) << "bit " << bit;
  }
}

TEST(FrameTest, FalseLengthsAreRefusedFromTheHeaderAlone) {
  for (auto [at, size] : {std::pair{4, kFrameLimits.message_size_max + 1}, {4, 0xffffffffu},
                          {8, kFrameLimits.body_size_max + 1}, {8, 0xffffffffu}}) {
    Bytes header = encoded(sample(0, 0));
    store_fixed<uint32_t>(header.data() + at, size);
    expect_refused(header);
  }
  expect_refused(encoded(sample(4097, 0)).substr(0, kFrameHeaderSize), kHelloLimits);
  expect_refused(encoded(sample(10, 1)).substr(0, kFrameHeaderSize), kHelloLimits);
  FrameDecoder decoder(kHelloLimits);
  EXPECT_EQ(1u, decoded(decoder, encoded(sample(4096, 0))).value().size());
}

TEST(FrameTest, GarbageIsRefused) {
  expect_refused("GET / HTTP/1.1\r\nHost: understudy\r\n\r\n");
  expect_refused(Bytes(64, '\0'));
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    Bytes bytes(64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    expect_refused(bytes);
    store_fixed<uint32_t>(bytes.data(), kFrameMagic);
    FrameDecoder decoder(kFrameLimits);
    auto frames = decoded(decoder, bytes);
    EXPECT_TRUE(!frames || frames->empty());
  }
}

TEST(FrameTest, ErrorsTravel) {
  Error error{Code::kStaleEpoch, "epoch 3 is over"};
  EXPECT_EQ(error, decode_error(encode_error(error)));
  EXPECT_EQ(Code::kInternal, decode_error("").code);
  EXPECT_EQ(Code::kInternal, decode_error("\xfftext").code);
  EXPECT_LE(encode_error({Code::kInvalid, Bytes(100'000, 'x')}).size(), kHelloLimits.message_size_max);
}

}  // namespace
}  // namespace understudy

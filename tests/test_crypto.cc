// Keys, signed messages and passwords: known answers, and what must not pass.
#include <gtest/gtest.h>

#include "common/crypto/key_ring.h"
#include "common/crypto/password.h"

namespace understudy {
namespace {

std::string hex(BytesView bytes) {
  std::string text;
  for (unsigned char c : bytes) {
    text += "0123456789abcdef"[c >> 4];
    text += "0123456789abcdef"[c & 15];
  }
  return text;
}

class KeyRingTest : public ::testing::Test {
 protected:
  void SetUp() override { ring_.set({{2, std::string(32, 'b')}, {1, std::string(32, 'a')}}); }
  KeyRing ring_{"test", 16};
};

// Reckoned by Python's hmac: key b"key", message b"\x03tag" + b"hello".
TEST(HmacTest, KnownAnswer) {
  Mac mac = HmacKey("key").mac("tag", "hello");
  EXPECT_EQ(hex({mac.data(), mac.size()}), "6857f2641dedcb5a25478f7298a20f1a5232d7c673ead44ea2fd344a018c891e");
  EXPECT_NE(HmacKey("key").mac("ta", "ghello"), mac);
}

TEST_F(KeyRingTest, OpensWhatAnyOfItsKeysSigned) {
  EXPECT_EQ(*ring_.open(ring_.sign(2, "new")), "new");
  EXPECT_EQ(*ring_.open(ring_.sign(1, "old")), "old");
  EXPECT_EQ(*ring_.open(ring_.sign(1, "")), "");
}

TEST_F(KeyRingTest, RefusesEveryChangedByteAndEveryCut) {
  const Bytes good = ring_.sign(2, "message");
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_EQ(ring_.open(bad).error().code, Code::kUnauthenticated) << i;
    EXPECT_FALSE(ring_.open(good.substr(0, i))) << i;
  }
}

TEST_F(KeyRingTest, AnotherPurposeOrAKeyThatIsGoneIsRefused) {
  KeyRing other("other", 16);
  other.set({{2, std::string(32, 'b')}});
  EXPECT_FALSE(other.open(ring_.sign(2, "m")));
  Bytes by_old = ring_.sign(1, "m");
  ring_.set({{3, std::string(32, 'c')}, {2, std::string(32, 'b')}});
  EXPECT_FALSE(ring_.open(by_old));
  EXPECT_EQ(ring_.newest(), 3u);
}

// RFC 7914, section 12: the second vector.
TEST(PasswordTest, KnownAnswer) {
  EXPECT_EQ(hex(hash_password("password", "NaCl", {.log2_n = 10, .r = 8, .p = 16}).hash()),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162");
}

TEST(PasswordTest, OnlyTheSamePasswordMatches) {
  auto hash = hash_password("correct horse", "salt", {.log2_n = 4, .r = 1, .p = 1});
  EXPECT_TRUE(password_matches(hash, "correct horse"));
  EXPECT_FALSE(password_matches(hash, "correct horsf"));
  EXPECT_FALSE(password_matches(hash, ""));
  EXPECT_FALSE(password_matches(wire::PasswordHash(), ""));
  hash.set_log2_n(60);  // Would take all the memory there is.
  EXPECT_FALSE(password_matches(hash, "correct horse"));
}

TEST(PasswordTest, LengthsAreBounded) {
  EXPECT_FALSE(check_new_password("seven77"));
  EXPECT_TRUE(check_new_password("eight888"));
  EXPECT_FALSE(check_new_password(std::string(1025, 'x')));
}

}  // namespace
}  // namespace understudy

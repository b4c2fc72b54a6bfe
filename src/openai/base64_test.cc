#include "openai/base64.h"

#include <gtest/gtest.h>

#include <string>

#include "openai/base64_testing.h"

namespace qvl {
namespace {

std::string decoded(std::string_view text) {
  const auto bytes = decode_base64(text);
  return bytes ? std::string(bytes->begin(), bytes->end()) : "refused: " + bytes.error().detail;
}

TEST(Base64, TheExamplesOfItsStandardDecode) {  // RFC 4648, section 10
  EXPECT_EQ(decoded(""), "");
  EXPECT_EQ(decoded("Zg=="), "f");
  EXPECT_EQ(decoded("Zm8="), "fo");
  EXPECT_EQ(decoded("Zm9v"), "foo");
  EXPECT_EQ(decoded("Zm9vYg=="), "foob");
  EXPECT_EQ(decoded("Zm9vYmE="), "fooba");
  EXPECT_EQ(decoded("Zm9vYmFy"), "foobar");
  EXPECT_EQ(decoded("//79"), "\xff\xfe\xfd");
}

TEST(Base64, WhatIsNotExactlyItIsRefused) {
  EXPECT_EQ(decoded("Zm9"),
            "refused: found 3 characters of base64, expected a multiple of 4 with its padding and "
            "without white space");
  EXPECT_EQ(decoded("Zm9v\nYm"), decoded("1234567"));
  EXPECT_EQ(decoded("Zm\nvYmFy"), "refused: found byte 0x0a at offset 2 of the base64 text");
  EXPECT_EQ(decoded("__79"), "refused: found byte 0x5f at offset 0 of the base64 text");
  EXPECT_EQ(decoded("Z==="), "refused: found byte 0x3d at offset 1 of the base64 text");
  EXPECT_EQ(decoded("Zg==Zg=="), "refused: found byte 0x3d at offset 2 of the base64 text");
  EXPECT_EQ(decoded("===="), "refused: found byte 0x3d at offset 0 of the base64 text");
}

TEST(Base64, UnusedBitsAreZero) {
  EXPECT_EQ(decoded("Zh=="), "refused: found byte 0x68 at offset 1 of the base64 text");
  EXPECT_EQ(decoded("Zm9="), "refused: found byte 0x39 at offset 2 of the base64 text");
}

TEST(Base64, EveryByteComesBackAtEveryLength) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(decoded(encode_base64(bytes)), bytes);
    EXPECT_EQ(base64_decoded_size(encode_base64(bytes)), bytes.size());
    bytes += static_cast<char>(i * 7);
  }
}

}  // namespace
}  // namespace qvl

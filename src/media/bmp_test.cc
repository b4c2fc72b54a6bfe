#include <gtest/gtest.h>

#include <string>

#include "media/codec_testing.h"

namespace qvl {
namespace {

Bytes le32(uint32_t value) {
  return {static_cast<uint8_t>(value), static_cast<uint8_t>(value >> 8),
          static_cast<uint8_t>(value >> 16), static_cast<uint8_t>(value >> 24)};
}

struct Kind {
  uint8_t bits;
  uint32_t compression = 0;
  uint32_t header_bytes = 40;
};

/// The pixels follow the header and `between`, masks or palette.
Bytes bmp(uint32_t width, uint32_t height, Kind kind, const Bytes& between, const Bytes& data) {
  Bytes header = le32(kind.header_bytes) + le32(width) + le32(height) + Bytes{1, 0, kind.bits, 0} +
                 le32(kind.compression) + Bytes(12);
  header = header + le32(kind.bits <= 8 ? 4 : 0) + Bytes(4);
  header.resize(kind.header_bytes);
  const auto start = static_cast<uint32_t>(14 + header.size() + between.size());
  return Bytes{'B', 'M'} + Bytes(8) + le32(start) + header + between + data;
}

const Bytes kPalette = {0, 0, 0, 0, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0};  // k r g b

std::string picture(const Bytes& file) { return letters(decode_bmp(file, {})); }

std::string run_lengths4(const Bytes& data) {
  return picture(bmp(4, 2, {.bits = 4, .compression = 2}, kPalette, data));
}

std::string run_lengths8(const Bytes& data) {
  return picture(bmp(4, 2, {.bits = 8, .compression = 1}, kPalette, data));
}

TEST(Bmp, RowsAreStoredFromTheBottomUnlessTheHeightIsNegative) {
  const Bytes rows = {1, 2, 0, 0, 3, 0, 0, 0};
  EXPECT_EQ(picture(bmp(2, 2, {.bits = 8}, kPalette, rows)), "bk|rg|");
  EXPECT_EQ(picture(bmp(2, static_cast<uint32_t>(-2), {.bits = 8}, kPalette, rows)), "rg|bk|");
}

TEST(Bmp, TheLastRowMayLackItsPadding) {
  EXPECT_EQ(picture(bmp(2, 1, {.bits = 8}, kPalette, {1, 2})), "rg|");
  EXPECT_EQ(picture(bmp(2, 1, {.bits = 8}, kPalette, {1})),
            "the BMP data ends after 71 bytes, before the picture is complete");
}

TEST(Bmp, ChannelsScaleToTheWholeRange) {
  const Bytes masks = le32(0xf800) + le32(0x07e0) + le32(0x001f);
  const Result<Image> image =
      decode_bmp(bmp(2, 1, {.bits = 16, .compression = 3}, masks, {0x21, 0x08, 0xff, 0xff}), {});
  ASSERT_TRUE(image);
  EXPECT_EQ(image->rgb, (Bytes{8, 4, 8, 255, 255, 255}));  // 255/31, 255/63, 255/31
}

TEST(Bmp, RunsAndLiteralsOfEightBits) {
  EXPECT_EQ(run_lengths8({3, 1, 1, 2, 0, 0, 0, 3, 1, 2, 3, 0, 1, 0, 0, 1}), "rgbk|rrrg|");
}

TEST(Bmp, RunsAndLiteralsOfFourBitsTakeTurns) {
  EXPECT_EQ(run_lengths4({3, 0x12, 1, 0x30, 0, 0, 0, 3, 0x12, 0x30, 1, 0x30, 0, 1}), "rgbb|rgrb|");
}

TEST(Bmp, SkippedPixelsHaveTheFirstColour) {
  EXPECT_EQ(run_lengths8({1, 1, 0, 2, 1, 1, 2, 2, 0, 1}), "kkgg|rkkk|");
  EXPECT_EQ(run_lengths8({2, 3, 0, 1}), "kkkk|bbkk|");
}

TEST(Bmp, WhatLeavesItsRowIsDropped) {
  EXPECT_EQ(run_lengths8({9, 1, 2, 2, 0, 0, 0, 6, 2, 2, 2, 2, 3, 3, 0, 1}), "gggg|rrrr|");
  EXPECT_EQ(run_lengths8({0, 2, 0, 200, 4, 1}), "kkkk|kkkk|");
}

TEST(Bmp, RunLengthsThatEndWithoutAMarkAreTruncated) {
  const std::string truncated = "ends after";
  for (const Bytes& data : {Bytes{}, Bytes{4}, Bytes{4, 1}, Bytes{4, 1, 0, 0}, Bytes{4, 1, 0, 2, 1},
                            Bytes{4, 1, 0, 0, 0, 4, 1, 1}}) {
    EXPECT_NE(run_lengths8(data).find(truncated), std::string::npos) << data.size();
  }
  EXPECT_EQ(run_lengths8({4, 1, 0, 0, 4, 2}), "gggg|rrrr|");
}

TEST(Bmp, UnusualKindsAreUnsupported) {
  const auto code_of = [](const Bytes& file) { return decode_bmp(file, {}).error().code; };
  const Bytes data(64);
  for (const Kind kind : {Kind{.bits = 2}, Kind{.bits = 0}, Kind{.bits = 64},
                          Kind{.bits = 4, .compression = 1}, Kind{.bits = 24, .compression = 4},
                          Kind{.bits = 8, .compression = 3}, Kind{.bits = 32, .compression = 6},
                          Kind{.bits = 16, .compression = 3, .header_bytes = 64}}) {
    EXPECT_EQ(code_of(bmp(1, 1, kind, kPalette, data)), ErrorCode::unsupported_image)
        << int{kind.bits};
  }
  EXPECT_EQ(picture(bmp(1, 1, {.bits = 8, .header_bytes = 41}, kPalette, data)),
            "found a BMP header of 41 bytes, expected 12, 40, 52, 56, 64, 108 or 124");
  const Bytes ten_bits = le32(0x3ff00000) + le32(0xffc00) + le32(0x3ff);
  EXPECT_EQ(picture(bmp(1, 1, {.bits = 32, .compression = 3}, ten_bits, data)),
            "found the bits 0x3ff00000 for a channel of a BMP, expected 1 to 8 neighbouring ones");
  const Bytes no_blue = le32(0xff) + le32(0xff00) + le32(0);
  EXPECT_EQ(code_of(bmp(1, 1, {.bits = 32, .compression = 3}, no_blue, data)),
            ErrorCode::unsupported_image);
}

TEST(Bmp, AnOffsetOrAPaletteBehindTheEndIsTruncation) {
  Bytes file = bmp(2, 1, {.bits = 8}, kPalette, {1, 2, 0, 0});
  file[12] = 0xff;
  EXPECT_NE(picture(file).find("ends after 74 bytes"), std::string::npos);
  file = bmp(2, 1, {.bits = 8}, {}, {1, 2, 0, 0});
  EXPECT_NE(picture(file).find("ends after 58 bytes"), std::string::npos);
}

}  // namespace
}  // namespace qvl

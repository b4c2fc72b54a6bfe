#include <gtest/gtest.h>

#include <string>

#include "media/codec_testing.h"

namespace qvl {
namespace {

/// A screen with 4 colours: 0 black, 1 red, 2 green, 3 blue.
Bytes screen(uint8_t width, uint8_t height) {
  return Bytes{'G', 'I', 'F', '8', '9', 'a', width, 0,   height, 0, 0x81, 0,  0,
               0,   0,   0,   255, 0,   0,   0,     255, 0,      0, 0,    255};
}

Bytes frame_at(uint8_t x, uint8_t y, uint8_t width, uint8_t height, uint8_t flags = 0) {
  return {',', x, 0, y, 0, width, 0, height, 0, flags};
}

/// Literals of 2 bits, a clear before each, so that codes stay at 3 bits; then the end code.
Bytes pixels(const std::string& indices) {
  Bytes data;
  uint32_t rest = 0;
  int count = 0;
  const auto put = [&](uint32_t code) {
    rest |= code << count;
    for (count += 3; count >= 8; count -= 8, rest >>= 8) data.push_back(static_cast<uint8_t>(rest));
  };
  for (const char index : indices) {
    put(4);
    put(static_cast<uint32_t>(index - '0'));
  }
  put(5);
  data.push_back(static_cast<uint8_t>(rest));
  return Bytes{2, static_cast<uint8_t>(data.size())} + data + Bytes{0};
}

const Bytes kEnd = {';'};

std::string picture(const Bytes& file) { return letters(decode_gif(file, {})); }

TEST(Gif, IndicesAreLookedUpInTheScreensPalette) {
  EXPECT_EQ(picture(screen(3, 2) + frame_at(0, 0, 3, 2) + pixels("012321") + kEnd), "krg|bgr|");
}

TEST(Gif, AFramesOwnPaletteGoesBefore) {
  const Bytes local = {0, 0, 255, 0, 255, 0};  // blue, green
  EXPECT_EQ(picture(screen(3, 1) + frame_at(0, 0, 3, 1, 0x80) + local + pixels("013") + kEnd),
            "bgk|");  // black behind the palette's end
}

TEST(Gif, InterlacedRowsComeInFourPasses) {
  const std::string rows = "01230123012";  // of an 11-row picture: rows 0 8 4 2 6 10 1 3 5 7 9
  EXPECT_EQ(picture(screen(1, 11) + frame_at(0, 0, 1, 11, 0x40) + pixels(rows) + kEnd),
            "k|g|b|b|g|k|k|r|r|g|r|");
}

TEST(Gif, AroundTheFrameIsTheFirstColourOrTheTransparentOne) {
  const Bytes small = frame_at(1, 0, 1, 1) + pixels("1") + kEnd;
  EXPECT_EQ(picture(screen(3, 2) + small), "krk|kkk|");
  const Bytes control = {'!', 0xf9, 4, 1, 0, 0, 3, 0};
  EXPECT_EQ(picture(screen(3, 2) + control + small), "brb|bbb|");
  const Bytes opaque = {'!', 0xf9, 4, 0, 0, 0, 3, 0};
  EXPECT_EQ(picture(screen(3, 2) + opaque + small), "krk|kkk|");
}

TEST(Gif, TransparentPixelsHaveTheirColour) {
  const Bytes control = {'!', 0xf9, 4, 1, 0, 0, 2, 0};
  EXPECT_EQ(picture(screen(2, 1) + control + frame_at(0, 0, 2, 1) + pixels("12") + kEnd), "rg|");
}

TEST(Gif, TheScreenGrowsToHoldTheFrame) {
  EXPECT_EQ(picture(screen(1, 1) + frame_at(1, 1, 1, 1) + pixels("3") + kEnd), "kk|kb|");
}

TEST(Gif, OtherBlocksAndStrayBytesAreSkipped) {
  const Bytes comment = {'!', 0xfe, 2, ';', ',', 1, ',', 0};
  const Bytes stray = {0, 0};
  EXPECT_EQ(picture(screen(1, 1) + comment + stray + frame_at(0, 0, 1, 1) + pixels("1")), "r|");
}

TEST(Gif, WhatFollowsTheFirstFrameDoesNotMatter) {
  const Bytes first = screen(1, 1) + frame_at(0, 0, 1, 1) + pixels("1");
  EXPECT_EQ(picture(first + frame_at(0, 0, 1, 1) + pixels("2") + kEnd), "r|");
  EXPECT_EQ(picture(first + Bytes{1, 2, 3}), "r|");
}

TEST(Gif, TooManyPixelsAreDropped) {
  EXPECT_EQ(picture(screen(2, 1) + frame_at(0, 0, 2, 1) + pixels("1231") + kEnd), "rg|");
}

TEST(Gif, ErrorsSayWhatIsWrong) {
  const std::string prefix = "the GIF data is damaged: ";
  const Bytes frame = screen(2, 2) + frame_at(0, 0, 2, 2);
  EXPECT_EQ(picture(screen(2, 2) + kEnd), prefix + "it has no picture");
  EXPECT_EQ(picture(screen(2, 2) + frame_at(0, 0, 0, 2)), prefix + "its first frame has no pixels");
  EXPECT_EQ(picture(frame + pixels("123") + kEnd),
            prefix + "its LZW data ends before the picture is complete");
  EXPECT_EQ(picture(frame + Bytes{2, 1, 4, 0}),
            prefix + "its LZW data ends before the picture is complete");
  EXPECT_EQ(picture(frame + Bytes{2, 1, 4 | 7 << 3, 0}),
            prefix + "found an LZW code that is not defined");
  EXPECT_EQ(picture(frame + Bytes{9, 0}), prefix + "found LZW codes of 9 bits, expected 1 to 8");
  EXPECT_EQ(picture(frame), "the GIF data ends after 35 bytes, before the picture is complete");
}

}  // namespace
}  // namespace qvl

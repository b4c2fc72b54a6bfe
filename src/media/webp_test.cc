#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "media/codecs.h"
#include "media/media_test_support.h"

namespace qvl {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes sample(const std::string& name) {
  return test::read_bytes(test::source_path("tests/media/pictures/" + name));
}

std::string detail_of(const Bytes& file) {
  const Result<Image> image = decode_webp(file, {});
  return image ? "decoded" : image.error().detail;
}

size_t find(const Bytes& file, std::string_view id) {
  const auto at = std::search(file.begin(), file.end(), id.begin(), id.end());
  EXPECT_NE(at, file.end()) << id;
  return static_cast<size_t>(at - file.begin());
}

void set_le32(Bytes& file, size_t at, size_t value) {
  for (size_t i = 0; i < 4; ++i) file[at + i] = static_cast<uint8_t>(value >> (8 * i));
}

TEST(Webp, AroundTheFirstFrameIsBlack) {
  const Result<Image> image = decode_webp(sample("animated_offset_lossless.webp"), {});
  ASSERT_TRUE(image);
  EXPECT_EQ(image->size, (Size{43, 61}));
  const auto pixel = [&](int y, int x) {
    const auto at = image->rgb.begin() + std::ptrdiff_t{3} * (y * 61 + x);
    return Bytes(at, at + 3);
  };
  const Bytes black = {0, 0, 0};
  EXPECT_EQ(pixel(0, 0), black);
  EXPECT_EQ(pixel(5, 10), black);
  EXPECT_EQ(pixel(6, 9), black);
  EXPECT_NE(pixel(6, 10), black);  // the frame: 24 x 16 at (10, 6)
  EXPECT_NE(pixel(21, 33), black);
  EXPECT_EQ(pixel(21, 34), black);
  EXPECT_EQ(pixel(22, 33), black);
}

TEST(Webp, AlphaIsDroppedNotBlended) {
  const Result<Image> with = decode_webp(sample("lossless_alpha.webp"), {});
  const Result<Image> without = decode_webp(sample("lossless.webp"), {});
  ASSERT_TRUE(with && without);
  EXPECT_EQ(with->rgb, without->rgb);
}

TEST(Webp, WhatFollowsTheFileIsIgnored) {
  Bytes file = sample("lossy.webp");
  file.push_back(1);
  EXPECT_EQ(detail_of(file), "decoded");
}

TEST(Webp, PixelsThatEndEarlyAreAnErrorWhateverTheHeadersSay) {
  for (const std::string name : {"lossy_rough.webp", "lossless_palette.webp"}) {
    const Bytes file = sample(name);
    // The chunk of the pixels is the last; shorten it, the header and the file alike.
    const size_t chunk = find(file, "VP8");
    for (size_t size = file.size() - 20; size > chunk + 8; size -= 7) {
      Bytes cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
      set_le32(cut, 4, size - 8);
      set_le32(cut, chunk + 4, size - chunk - 8);
      EXPECT_NE(detail_of(cut), "decoded") << name << " " << size;
    }
  }
}

TEST(Webp, AFrameOutsideTheCanvasIsAnError) {
  Bytes file = sample("animated_offset_lossy.webp");
  const size_t frame = find(file, "ANMF") + 8;
  file[frame] = 255;
  EXPECT_EQ(detail_of(file), "the WebP data is damaged: its first frame leaves the canvas");
}

TEST(Webp, TheSizeOfAFrameIsThatOfItsPixels) {
  const Bytes file = sample("animated_offset_lossy.webp");
  Bytes other = file;
  other[find(file, "ANMF") + 8 + 7] = 255;  // wider than the canvas, says the frame's header
  const Result<Image> image = decode_webp(other, {});
  ASSERT_TRUE(image);
  EXPECT_EQ(image->rgb, decode_webp(file, {})->rgb);
  // A canvas of 33 x 43 does not hold pixels of 24 x 16 at (10, 6), whatever that header says.
  other = file;
  other[find(file, "VP8X") + 8 + 4] = 32;
  other[find(file, "ANMF") + 8 + 6] = 0;
  EXPECT_EQ(detail_of(other), "the WebP data is damaged: its first frame leaves the canvas");
}

TEST(Webp, AnAnimationWithoutAFrameIsAnError) {
  Bytes file = sample("animated_offset_lossy.webp");
  for (size_t frame = 0; frame < 2; ++frame) file[find(file, "ANMF")] = 'X';
  EXPECT_EQ(detail_of(file), "the WebP data is damaged: it is an animation without a frame");
}

TEST(Webp, AHeaderThatClaimsTooLittleIsDamage) {
  Bytes file = sample("lossy.webp");
  set_le32(file, 4, 3);
  EXPECT_EQ(detail_of(file), "the WebP data is damaged: its header claims fewer bytes than itself");
  set_le32(file, 4, 12);
  EXPECT_EQ(detail_of(file), "the WebP data is damaged: it has no whole chunk");
}

}  // namespace
}  // namespace qvl

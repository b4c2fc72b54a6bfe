#include "media/resize.h"

#include <gtest/gtest.h>

#include "media/media_test_support.h"

namespace qvl {
namespace {

using test::crc32;
using test::read_json;
using test::source_path;

using Row = std::vector<uint8_t>;

/// One row of grey pixels.
Image grey_row(const Row& values) {
  Image image;
  image.size = {1, static_cast<int>(values.size())};
  for (const uint8_t value : values) image.rgb.insert(image.rgb.end(), 3, value);
  return image;
}

Row every_third(const Image& image) {
  Row values;
  for (size_t i = 0; i < image.rgb.size(); i += 3) values.push_back(image.rgb[i]);
  return values;
}

Row resize_row(const Row& values, int width) {
  return every_third(resize_bicubic(grey_row(values), {1, width}));
}

/// The same numbers as a column.
Row resize_column(const Row& values, int height) {
  Image image = grey_row(values);
  std::swap(image.size.height, image.size.width);
  return every_third(resize_bicubic(image, {height, 1}));
}

Image noise(Size size, uint32_t seed) {
  Image image;
  image.size = size;
  image.rgb.resize(static_cast<size_t>(size.pixels()) * 3);
  uint32_t state = seed;
  for (uint8_t& byte : image.rgb) {
    state = state * 1'664'525 + 1'013'904'223;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return image;
}

TEST(Resize, AgreesWithTorchvisionOnOneAxis) {
  EXPECT_EQ(resize_row({0, 64, 128, 255}, 6), (Row{0, 26, 74, 114, 199, 255}));
  EXPECT_EQ(resize_row({0, 10, 200, 255, 30, 90}, 4), (Row{0, 149, 183, 59}));
  EXPECT_EQ(resize_row({0, 255, 0, 255, 10, 20, 30, 40}, 3), (Row{117, 96, 24}));
}

TEST(Resize, TreatsHeightAsItTreatsWidth) {
  EXPECT_EQ(resize_column({0, 64, 128, 255}, 6), (Row{0, 26, 74, 114, 199, 255}));
  EXPECT_EQ(resize_column({0, 255, 0, 255, 10, 20, 30, 40}, 3), (Row{117, 96, 24}));
}

// 400 cases of torchvision `resize(uint8, BICUBIC, antialias=True)` on a CPU:
// [height, width, new height, new width, seed of the noise, checksum of the result].
TEST(Resize, IsBitEqualToTorchvisionOnRandomSizes) {
  const nlohmann::json samples = read_json(source_path("tests/media/resize_torchvision.json"));
  ASSERT_TRUE(samples.is_object());
  ASSERT_GE(samples["cases"].size(), 300U);
  for (const nlohmann::json& sample : samples["cases"]) {
    const Image in = noise({sample[0], sample[1]}, sample[4]);
    const Image out = resize_bicubic(in, {sample[2], sample[3]});
    EXPECT_EQ(crc32(out.rgb), sample[5].get<uint32_t>()) << sample.dump();
  }
}

TEST(Resize, KeepsAPictureOfTheWantedSize) {
  const Image in = noise({19, 99}, 1);
  EXPECT_EQ(resize_bicubic(in, in.size).rgb, in.rgb);
}

TEST(Resize, DoesNotMixChannels) {
  Image in = noise({37, 53}, 2);
  for (size_t i = 0; i < in.rgb.size(); i += 3) in.rgb[i] = 0, in.rgb[i + 2] = 255;
  const Image out = resize_bicubic(in, {64, 32});
  for (size_t i = 0; i < out.rgb.size(); i += 3) {
    ASSERT_EQ(out.rgb[i], 0) << i;
    ASSERT_EQ(out.rgb[i + 2], 255) << i;
  }
}

TEST(Resize, ShrinksALongSideToOnePixel) {
  const Image out = resize_bicubic(grey_row(Row(65'500, 77)), {1, 1});
  EXPECT_EQ(out.rgb, (Row{77, 77, 77}));
}

}  // namespace
}  // namespace qvl

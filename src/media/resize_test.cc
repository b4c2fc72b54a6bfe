#include "media/resize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

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
    for (const PixelKernels* kernels : supported_pixel_kernels()) {
      const Image out = resize_bicubic(in, {sample[2], sample[3]}, *kernels);
      EXPECT_EQ(crc32(out.rgb), sample[5].get<uint32_t>()) << kernels->name << sample.dump();
    }
  }
}

/// Sums of one axis in the order of the definition, for a kernel to be compared with.
Row weighed(const Row& src, size_t stride, const FilterWindow& window, size_t bytes) {
  Row out(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    int64_t sum = int64_t{1} << (window.precision - 1);
    for (int j = 0; j < window.count; ++j) sum += int64_t{src[i + j * stride]} * window.weights[j];
    out[i] = static_cast<uint8_t>(std::clamp<int64_t>(sum >> window.precision, 0, 255));
  }
  return out;
}

TEST(Resize, EveryInstructionSetWeighsAsTheDefinitionDoes) {
  std::mt19937 random(1);
  const auto between = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (const PixelKernels* kernels : supported_pixel_kernels()) {
    for (int round = 0; round < 2000; ++round) {
      const auto bytes = static_cast<size_t>(between(1, 200));
      const size_t stride = bytes + static_cast<size_t>(between(0, 3));
      const int count = between(0, 33);
      const int precision = between(1, 22);
      // As large as they may be without the sum passing 32 bits, so that results are clamped.
      const int largest = std::min(32'767, (1 << 30) / 255 / std::max(count, 1));
      std::vector<int16_t> weights(static_cast<size_t>(count));
      for (int16_t& weight : weights) {
        weight = static_cast<int16_t>(between(-largest, largest));
      }
      Row src(static_cast<size_t>(std::max(count - 1, 0)) * stride + bytes);
      for (uint8_t& byte : src) byte = static_cast<uint8_t>(between(0, 255));
      const FilterWindow window{0, count, weights.data(), precision};
      Row out(bytes);
      kernels->weigh(src.data(), stride, window, bytes, out.data());
      ASSERT_EQ(out, weighed(src, stride, window, bytes))
          << kernels->name << ", " << bytes << " bytes, " << count << " inputs, precision "
          << precision;
    }
  }
}

TEST(Resize, EveryInstructionSetTurnsRowsIntoColumnsAndBack) {
  for (const PixelKernels* kernels : supported_pixel_kernels()) {
    const size_t rows = kernels->turned_rows;
    for (const size_t bytes : {1, 3, 15, 16, 17, 31, 48, 99}) {
      const Row source = noise({static_cast<int>(rows), static_cast<int>(bytes)}, 3).rgb;
      Row columns(bytes * rows);
      Row back(bytes * rows);
      std::vector<const uint8_t*> from;
      std::vector<uint8_t*> to;
      for (size_t row = 0; row < rows; ++row) {
        from.push_back(source.data() + row * bytes);
        to.push_back(back.data() + row * bytes);
      }
      kernels->rows_to_columns(from.data(), bytes, columns.data());
      for (size_t row = 0; row < rows; ++row) {
        for (size_t i = 0; i < bytes; ++i) {
          ASSERT_EQ(columns[i * rows + row], source[row * bytes + i])
              << kernels->name << ", " << bytes << " bytes, row " << row << ", byte " << i;
        }
      }
      kernels->columns_to_rows(columns.data(), bytes, to.data());
      ASSERT_EQ(back, Row(source.begin(), source.begin() + static_cast<ptrdiff_t>(bytes * rows)))
          << kernels->name << ", " << bytes << " bytes";
    }
  }
}

TEST(Resize, EveryInstructionSetGivesTheSameBits) {
  std::mt19937 random(2);
  const auto side = [&](int most) { return std::uniform_int_distribution<int>(1, most)(random); };
  for (uint32_t round = 0; round < 60; ++round) {
    const Image in = noise({side(200), side(700)}, round);
    const Size size{side(200), side(700)};
    const std::vector<const PixelKernels*> all = supported_pixel_kernels();
    const Image plain = resize_bicubic(in, size, *all.front());
    for (const PixelKernels* kernels : all) {
      ASSERT_EQ(resize_bicubic(in, size, *kernels).rgb, plain.rgb)
          << kernels->name << ": " << in.size.width << "x" << in.size.height << " to " << size.width
          << "x" << size.height;
    }
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

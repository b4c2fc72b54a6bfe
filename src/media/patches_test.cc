#include "media/patches.h"

#include <gtest/gtest.h>

#include <set>

namespace qvl {
namespace {

/// Every pixel of a patch carries the patch's row and column and its channel.
Image numbered(int rows, int columns, int patch_size) {
  Image image;
  image.size = {rows * patch_size, columns * patch_size};
  for (int y = 0; y < image.size.height; ++y) {
    for (int x = 0; x < image.size.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        image.rgb.push_back(static_cast<uint8_t>(100 * c + 10 * (y / patch_size) + x / patch_size));
      }
    }
  }
  return image;
}

Image flat(Size size, int value) {
  return {size, std::vector<uint8_t>(static_cast<size_t>(size.pixels()) * 3,
                                     static_cast<uint8_t>(value))};
}

TEST(Patches, RowsGoByMergedBlocks) {
  const Patches patches = make_patches(std::vector{numbered(4, 4, 16)}, {});
  EXPECT_EQ(patches.grid, (Grid{1, 4, 4}));
  ASSERT_EQ(patches.rows.size(), 16U * 1536);
  std::vector<int> order;  // ten times the row, plus the column
  for (size_t row = 0; row < 16; ++row) order.push_back(patches.rows[row * 1536]);
  EXPECT_EQ(order, (std::vector{0, 1, 10, 11, 2, 3, 12, 13, 20, 21, 30, 31, 22, 23, 32, 33}));
}

TEST(Patches, ARowIsChannelFrameYX) {
  Image image = flat({4, 4}, 0);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i);
  const PatchShape shape{.patch_size = 2, .temporal_patch_size = 2, .merge_size = 2};
  const Patches patches = make_patches(std::vector{image, flat({4, 4}, 99)}, shape);
  ASSERT_EQ(shape.row_bytes(), 24);
  const std::vector<uint8_t> first_row(patches.rows.begin(), patches.rows.begin() + 24);
  EXPECT_EQ(first_row, (std::vector<uint8_t>{0, 3, 12, 15, 99, 99, 99, 99,     // red
                                             1, 4, 13, 16, 99, 99, 99, 99,     // green
                                             2, 5, 14, 17, 99, 99, 99, 99}));  // blue
}

TEST(Patches, APictureIsAClipOfTwoEqualFrames) {
  const Patches patches = make_patches(std::vector{numbered(2, 2, 16)}, {});
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = 0; i < 256; ++i) {
      ASSERT_EQ(patches.rows[c * 512 + i], 100 * c);
      ASSERT_EQ(patches.rows[c * 512 + 256 + i], 100 * c);
    }
  }
}

TEST(Patches, AnOddLastFrameIsRepeated) {
  const Size size{32, 64};
  const std::vector frames{flat(size, 1), flat(size, 2), flat(size, 3)};
  const Patches patches = make_patches(frames, {});
  EXPECT_EQ(patches.grid, (Grid{2, 2, 4}));
  const uint8_t* second_slice = &patches.rows[size_t{8} * 1536];
  EXPECT_EQ(patches.rows[0], 1);
  EXPECT_EQ(patches.rows[256], 2);
  EXPECT_EQ(second_slice[0], 3);
  EXPECT_EQ(second_slice[256], 3);
}

TEST(Patches, EveryInstructionSetCutsTheSameRows) {
  const Size size{64, 96};
  std::vector<Image> frames;
  for (uint32_t frame = 0; frame < 3; ++frame) {
    frames.push_back(flat(size, 0));
    for (uint32_t i = 0; i < frames.back().rgb.size(); ++i) {
      frames.back().rgb[i] = static_cast<uint8_t>((i * 2'654'435'761U + frame * 77) >> 13);
    }
  }
  const auto pixel = [&](size_t frame, size_t y, size_t x, size_t c) {
    return frames[frame].rgb[(y * 96 + x) * 3 + c];
  };
  for (const PixelKernels* kernels : supported_pixel_kernels()) {
    const Patches patches = make_patches(frames, {}, *kernels);
    ASSERT_EQ(patches.rows.size(), 2U * 24 * 1536);
    size_t at = 0;
    for (size_t slice = 0; slice < 2; ++slice) {
      for (size_t patch = 0; patch < 24; ++patch) {
        const size_t block = patch / 4;
        const size_t top = block / 3 * 32 + patch % 4 / 2 * 16;
        const size_t left = block % 3 * 32 + patch % 2 * 16;
        for (size_t i = 0; i < 1536; ++i, ++at) {
          const size_t frame = std::min<size_t>(2 * slice + i / 256 % 2, 2);
          ASSERT_EQ(patches.rows[at], pixel(frame, top + i / 16 % 16, left + i % 16, i / 512))
              << kernels->name << ", slice " << slice << ", patch " << patch << ", byte " << i;
        }
      }
    }
    EXPECT_EQ(patches.content_hash, make_patches(frames, {}).content_hash) << kernels->name;
  }
}

TEST(Patches, TheHashTellsPixelsAndGridsApart) {
  std::set<std::array<uint8_t, 16>> hashes;
  hashes.insert(make_patches(std::vector{flat({32, 64}, 7)}, {}).content_hash);
  hashes.insert(make_patches(std::vector{flat({64, 32}, 7)}, {}).content_hash);
  Image image = flat({32, 64}, 7);
  image.rgb.back() = 8;
  hashes.insert(make_patches(std::vector{image}, {}).content_hash);
  EXPECT_EQ(hashes.size(), 3U);
}

TEST(Patches, EqualRowsAtAnEqualGridHaveAnEqualHash) {
  const Image image = numbered(2, 4, 16);
  EXPECT_EQ(make_patches(std::vector{image}, {}).content_hash,
            make_patches(std::vector{image, image}, {}).content_hash);
  Image other = image;
  other.rgb[0] ^= 1;
  EXPECT_NE(make_patches(std::vector{image, other}, {}).content_hash,
            make_patches(std::vector{other, image}, {}).content_hash);
  EXPECT_NE(make_patches(std::vector{image, other}, {}).content_hash,
            make_patches(std::vector{image}, {}).content_hash);
}

TEST(Patches, EveryFrameOfASliceCountsForTheHash) {
  const Size size{32, 32};
  EXPECT_NE(make_patches(std::vector{flat(size, 1), flat(size, 2)}, {}).content_hash,
            make_patches(std::vector{flat(size, 1), flat(size, 3)}, {}).content_hash);
}

}  // namespace
}  // namespace qvl

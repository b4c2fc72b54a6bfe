#include "model/vision.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

TEST(Vision, PatchesGoByBlocksOfFour) {
  std::vector<int32_t> data(32);
  patch_coordinates({1, 4, 4}, 2, make_mat(data.data(), 2, 16));
  EXPECT_EQ(std::vector<int32_t>(data.begin(), data.begin() + 16),
            (std::vector<int32_t>{0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3}));
  EXPECT_EQ(std::vector<int32_t>(data.begin() + 16, data.end()),
            (std::vector<int32_t>{0, 1, 0, 1, 2, 3, 2, 3, 0, 1, 0, 1, 2, 3, 2, 3}));
}

TEST(Vision, SlicesOfAVideoRepeatTheCoordinates) {
  std::vector<int32_t> data(24);
  patch_coordinates({3, 2, 2}, 2, make_mat(data.data(), 2, 12));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(data[i], data[i + 4]);
    EXPECT_EQ(data[i], data[i + 8]);
  }
}

TEST(Vision, PositionsAreInterpolatedWithAlignedCorners) {  // grid 4 × 6 on 48 × 48, patch (1, 2)
  const PositionCorners p = position_corners(1, 2, {1, 4, 6}, 48);
  EXPECT_EQ(p.row[0], 738);
  EXPECT_EQ(p.row[1], 739);
  EXPECT_EQ(p.row[2], 786);
  EXPECT_EQ(p.row[3], 787);
  EXPECT_NEAR(p.weight[0], 0.066667, 1e-6);
  EXPECT_NEAR(p.weight[1], 0.266667, 1e-6);
  EXPECT_NEAR(p.weight[2], 0.133333, 1e-6);
  EXPECT_NEAR(p.weight[3], 0.533333, 1e-6);
}

TEST(Vision, TheLastPatchTakesTheLastCornerOnly) {
  const PositionCorners p = position_corners(3, 5, {1, 4, 6}, 48);
  for (const int32_t row : p.row) EXPECT_EQ(row, 47 * 48 + 47);
  EXPECT_FLOAT_EQ(p.weight[0], 1.0F);
  const PositionCorners single = position_corners(0, 0, {1, 1, 1}, 48);
  EXPECT_EQ(single.row[0], 0);
  EXPECT_FLOAT_EQ(single.weight[0], 1.0F);
}

}  // namespace
}  // namespace qvl

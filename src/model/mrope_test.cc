#include "model/mrope.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

using Positions = std::vector<std::vector<int32_t>>;

EmbedSpan span(int64_t first, int h, int w) {
  return {.first_token = first, .rows = int64_t{h} * w, .merged_h = h, .merged_w = w};
}

Positions positions(const std::vector<EmbedSpan>& spans, int64_t first, int64_t count) {
  std::vector<int32_t> data(static_cast<size_t>(3 * count));
  mrope_positions(spans, first, make_mat(data.data(), 3, count));
  Positions out(3);
  for (size_t axis = 0; axis < 3; ++axis) {
    const auto begin = data.begin() + static_cast<std::ptrdiff_t>(axis) * count;
    out[axis].assign(begin, begin + count);
  }
  return out;
}

TEST(MRope, APictureSpreadsHeightAndWidthAndAdvancesByItsLongerSide) {
  const std::vector<EmbedSpan> spans{span(3, 2, 3)};
  EXPECT_EQ(positions(spans, 0, 11), (Positions{{0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7},
                                                {0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7},
                                                {0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7}}));
  EXPECT_EQ(rope_delta(spans), -3);
}

TEST(MRope, FramesOfAVideoAreSeparatePictures) {
  const std::vector<EmbedSpan> spans{span(2, 1, 2), span(7, 1, 2)};
  EXPECT_EQ(positions(spans, 0, 11), (Positions{{0, 1, 2, 2, 4, 5, 6, 7, 7, 9, 10},
                                                {0, 1, 2, 2, 4, 5, 6, 7, 7, 9, 10},
                                                {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}));
  EXPECT_EQ(rope_delta(spans), 0);
}

TEST(MRope, AnyRangeEqualsThatPartOfTheWhole) {
  const std::vector<EmbedSpan> spans{span(1, 3, 5), span(16, 7, 2), span(33, 1, 1), span(40, 4, 4)};
  const int64_t length = 61;
  const Positions whole = positions(spans, 0, length);
  for (int64_t first = 0; first < length; ++first) {
    for (int64_t count = 1; first + count <= length; ++count) {
      const Positions part = positions(spans, first, count);
      for (size_t axis = 0; axis < 3; ++axis) {
        const auto begin = whole[axis].begin() + first;
        ASSERT_EQ(part[axis], std::vector<int32_t>(begin, begin + count)) << first << " +" << count;
      }
    }
  }
}

TEST(MRope, FrequenciesAlternateBetweenAxesUntilHeightAndWidthRunOut) {
  const std::vector<uint8_t> axes = mrope_axes({24, 20, 20});
  ASSERT_EQ(axes.size(), 64U);
  for (size_t i = 0; i < 60; ++i) EXPECT_EQ(axes[i], i % 3) << i;
  for (size_t i = 60; i < 64; ++i) EXPECT_EQ(axes[i], 0) << i;
}

TEST(MRope, InverseFrequenciesOfThePublishedModels) {
  const std::vector<float> f = inverse_frequencies(5e6, 128);
  ASSERT_EQ(f.size(), 64U);
  EXPECT_FLOAT_EQ(f[0], 1.0F);
  EXPECT_FLOAT_EQ(f[1], 0.78582998F);
  EXPECT_FLOAT_EQ(f[2], 0.617528758F);
  EXPECT_FLOAT_EQ(f[63], 2.54507979e-7F);
}

}  // namespace
}  // namespace qvl

#include "bench/stats.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

TEST(Stats, TheMedianOfAnEvenNumberOfSamplesLiesBetweenTheMiddleTwo) {
  EXPECT_DOUBLE_EQ(summarize({4, 1, 3, 2}).median, 2.5);
}

TEST(Stats, TheMedianIgnoresAnOutlier) { EXPECT_DOUBLE_EQ(summarize({1, 1000, 2}).median, 2); }

TEST(Stats, PercentilesOfElevenSamplesAreSamples) {
  const Summary s = summarize({10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0});
  EXPECT_DOUBLE_EQ(s.p10, 1);
  EXPECT_DOUBLE_EQ(s.median, 5);
  EXPECT_DOUBLE_EQ(s.p90, 9);
}

TEST(Stats, PercentilesBetweenSamplesAreLinear) {
  const std::vector<double> sorted = {10, 20};
  EXPECT_DOUBLE_EQ(percentile(sorted, 0), 10);
  EXPECT_DOUBLE_EQ(percentile(sorted, 0.25), 12.5);
  EXPECT_DOUBLE_EQ(percentile(sorted, 1), 20);
}

TEST(Stats, ASingleSampleIsAllOfItsPercentiles) {
  const Summary s = summarize({7});
  EXPECT_DOUBLE_EQ(s.p10, 7);
  EXPECT_DOUBLE_EQ(s.median, 7);
  EXPECT_DOUBLE_EQ(s.p90, 7);
}

}  // namespace
}  // namespace qvl

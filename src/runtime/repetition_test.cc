#include "runtime/repetition.h"

#include <gtest/gtest.h>

#include <vector>

#include "runtime/philox.h"

namespace qvl {
namespace {

/// How many tokens pass until the detector stops, or -1.
int64_t stops_after(const std::vector<int32_t>& tokens) {
  RepetitionDetector detector;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (detector.push(tokens[i])) return static_cast<int64_t>(i) + 1;
  }
  return -1;
}

std::vector<int32_t> random_tokens(uint64_t seed, int64_t count, int32_t vocab) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(vocab * uniform(seed, static_cast<uint64_t>(i))));
  }
  return tokens;
}

std::vector<int32_t> repeated(const std::vector<int32_t>& group, int64_t times) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < times; ++i) tokens.insert(tokens.end(), group.begin(), group.end());
  return tokens;
}

TEST(RepetitionDetector, ALoopOfEveryPeriodStopsAtSixteenGroupsAndAtLeast128Tokens) {
  EXPECT_EQ(stops_after(repeated({7}, 1000)), 128);
  EXPECT_EQ(stops_after(repeated({7, 8}, 1000)), 128);
  EXPECT_EQ(stops_after(repeated({7, 8, 9}, 1000)), 128);
  for (int32_t p = 1; p <= RepetitionDetector::kMaxPeriod; ++p) {
    std::vector<int32_t> group;
    for (int32_t i = 0; i < p; ++i) group.push_back(i);
    EXPECT_EQ(stops_after(repeated(group, 200)), std::max<int64_t>(128, 16 * p)) << p;
  }
}

TEST(RepetitionDetector, ALoopAfterAnyTextStops) {
  for (const int64_t before : {1, 63, 127, 128, 129, 5000}) {
    std::vector<int32_t> tokens = random_tokens(3, before, 1000);
    const std::vector<int32_t> loop = repeated({2001, 2002, 2003, 2004, 2005}, 100);
    tokens.insert(tokens.end(), loop.begin(), loop.end());
    EXPECT_EQ(stops_after(tokens), before + 128) << before;
  }
}

TEST(RepetitionDetector, ALongerPeriodIsNotALoop) {
  EXPECT_EQ(stops_after(repeated(random_tokens(1, RepetitionDetector::kMaxPeriod + 1, 1000), 100)),
            -1);
}

TEST(RepetitionDetector, RandomTextNeverStopsEvenOfFewTokens) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    for (const int32_t vocab : {2, 3, 10, 1000}) {
      EXPECT_EQ(stops_after(random_tokens(seed, 100'000, vocab)), -1) << seed << " " << vocab;
    }
  }
}

TEST(RepetitionDetector, RowsOfDashesAndZerosPass) {
  for (const int64_t length : {10, 64, 100, 127}) {
    EXPECT_EQ(stops_after(repeated({5}, length)), -1) << length;
    std::vector<int32_t> lines;  // rows of dashes between different lines
    for (int32_t row = 0; row < 50; ++row) {
      lines.push_back(100 + row);
      lines.insert(lines.end(), static_cast<size_t>(length), 5);
    }
    EXPECT_EQ(stops_after(lines), -1) << length;
  }
}

TEST(RepetitionDetector, TablesAndListsWithChangingNumbersPass) {
  for (int32_t width = 1; width <= 128; ++width) {
    std::vector<int32_t> table;
    for (int32_t row = 0; row < 400; ++row) {
      table.push_back(1000 + row % 10);  // the last digit of a line's number
      for (int32_t column = 1; column < width; ++column) table.push_back(column);
    }
    // Ten rows are a group of their own; it is a loop only if it is short enough.
    EXPECT_EQ(stops_after(table) < 0, 10 * width > RepetitionDetector::kMaxPeriod) << width;
    for (int32_t row = 0; row < 400; ++row) table[static_cast<size_t>(row * width)] = 1000 + row;
    EXPECT_EQ(stops_after(table), -1) << width;
  }
}

TEST(RepetitionDetector, ABreakStartsTheCountAnew) {
  std::vector<int32_t> tokens = repeated({7}, 127);
  tokens.push_back(8);
  const std::vector<int32_t> more = repeated({7}, 127);
  tokens.insert(tokens.end(), more.begin(), more.end());
  EXPECT_EQ(stops_after(tokens), -1);
  tokens.push_back(7);
  EXPECT_EQ(stops_after(tokens), 256);
}

}  // namespace
}  // namespace qvl

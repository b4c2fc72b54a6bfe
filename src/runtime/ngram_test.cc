#include "runtime/ngram.h"

#include <gtest/gtest.h>

#include <random>

namespace qvl {
namespace {

using Tokens = std::vector<int32_t>;

Tokens guesses(NgramIndex& index, const Tokens& tokens, int64_t count = 3) {
  Tokens out{99};
  index.propose(tokens, count, out);
  return out;
}

TEST(NgramIndex, GuessesWhatFollowedTheSameTokensLastTime) {
  NgramIndex index(2, 4);
  EXPECT_EQ(guesses(index, {1, 2, 3, 4, 5, 6, 2, 3}), (Tokens{4, 5, 6}));
  NgramIndex latest(2, 4);
  EXPECT_EQ(guesses(latest, {1, 2, 7, 1, 2, 8, 1, 2}), (Tokens{8, 1, 2}));
}

TEST(NgramIndex, TheLongestMatchWins) {
  NgramIndex index(1, 3);
  EXPECT_EQ(guesses(index, {5, 6, 7, 50, 6, 7, 60, 5, 6, 7}, 1), (Tokens{50}));
}

TEST(NgramIndex, GuessesNothingWithoutAMatchOrRoom) {
  NgramIndex index(2, 3);
  EXPECT_EQ(guesses(index, {1, 2, 3, 4}), Tokens{});
  EXPECT_EQ(guesses(index, {1, 2, 3, 4, 1, 2}, 0), Tokens{});
  NgramIndex fresh(2, 3);
  EXPECT_EQ(guesses(fresh, {1}), Tokens{});
  EXPECT_EQ(guesses(fresh, {1, 1}), Tokens{});
  EXPECT_EQ(guesses(fresh, {1, 1, 1}), (Tokens{1}));
}

TEST(NgramIndex, AGrowingSequenceGivesTheSameAsAFreshIndex) {
  std::mt19937 random(3);
  Tokens tokens;
  NgramIndex growing(2, 4);
  for (int i = 0; i < 500; ++i) {
    tokens.push_back(static_cast<int32_t>(random() % 4));
    NgramIndex fresh(2, 4);
    EXPECT_EQ(guesses(growing, tokens, 5), guesses(fresh, tokens, 5)) << i;
  }
}

}  // namespace
}  // namespace qvl

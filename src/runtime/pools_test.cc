#include <gtest/gtest.h>

#include <set>

#include "runtime/block_pool.h"
#include "runtime/feature_pool.h"
#include "runtime/philox.h"

namespace qvl {
namespace {

TEST(BlockPool, EveryPageIsHandedOutOnce) {
  BlockPool pool(19);
  std::set<int32_t> seen;
  for (const int64_t n : {1, 7, 11}) {
    const auto pages = pool.take(n);
    ASSERT_TRUE(pages);
    seen.insert(pages->begin(), pages->end());
  }
  EXPECT_EQ(seen.size(), 19U);
  EXPECT_EQ(*seen.rbegin(), 18);
  EXPECT_FALSE(pool.take(1));
}

TEST(BlockPool, NothingIsTakenWhenTooFewAreFree) {
  BlockPool pool(5);
  const auto pages = pool.take(3);
  ASSERT_TRUE(pages);
  EXPECT_FALSE(pool.take(3));
  EXPECT_EQ(pool.free_pages(), 2);
  pool.give_back(*pages);
  EXPECT_EQ(pool.free_pages(), 5);
}

TEST(BlockPoolDeathTest, APageGivenBackTwiceIsCaught) {
  BlockPool pool(3);
  const auto pages = pool.take(1);
  pool.give_back(*pages);
  EXPECT_DEATH(pool.give_back(*pages), "given back twice");
}

TEST(FeaturePool, FreedNeighboursJoinAgain) {
  Result<Arena> arena = Arena::create("features", FeaturePool::bytes(DType::bf16, 100, 8));
  ASSERT_TRUE(arena);
  FeaturePool pool(DType::bf16, 100, 8, *arena);
  std::vector<ActMat> held;
  for (const int64_t rows : {10, 20, 30, 40}) {
    const auto rows_taken = pool.take(rows);
    ASSERT_TRUE(rows_taken);
    held.push_back(*rows_taken);
  }
  EXPECT_FALSE(pool.take(1));
  for (const size_t i : {0U, 2U, 1U, 3U}) pool.give_back(held[i]);
  EXPECT_TRUE(pool.take(100));
}

TEST(FeaturePool, RandomTrafficNeverOverlapsOrLeaks) {
  constexpr int64_t kRows = 257;
  Result<Arena> arena = Arena::create("features", FeaturePool::bytes(DType::f32, kRows, 3));
  ASSERT_TRUE(arena);
  FeaturePool pool(DType::f32, kRows, 3, *arena);
  std::vector<ActMat> held;
  int64_t used = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const double u = uniform(1, i);
    if (u < 0.5) {
      const auto taken = pool.take(1 + static_cast<int64_t>(u * 80));
      if (taken) {
        for (const ActMat& other : held) {
          const auto begin = static_cast<float*>(taken->data);
          const auto other_begin = static_cast<float*>(other.data);
          ASSERT_TRUE(begin + taken->rows * 3 <= other_begin ||
                      other_begin + other.rows * 3 <= begin);
        }
        used += taken->rows;
        held.push_back(*taken);
      }
    } else if (!held.empty()) {
      const size_t which = static_cast<size_t>((u - 0.5) * 2 * static_cast<double>(held.size()));
      used -= held[which].rows;
      pool.give_back(held[which]);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
    }
    ASSERT_EQ(pool.free_rows() + used, kRows);
  }
}

}  // namespace
}  // namespace qvl

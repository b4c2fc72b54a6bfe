#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "runtime/block_pool.h"
#include "runtime/feature_cache.h"
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

PageKey key_of(uint8_t a, uint8_t b = 0) { return {a, b}; }

TEST(BlockPool, APublishedPageIsFoundWhileOwnedAndAfter) {
  BlockPool pool(4);
  const auto pages = pool.take(2);
  const std::vector<PageKey> keys{key_of(1), key_of(2), key_of(3)};
  EXPECT_EQ(pool.known(keys), 0);
  pool.publish((*pages)[0], keys[0]);
  pool.publish((*pages)[1], keys[1]);
  EXPECT_EQ(pool.known(keys), 2);
  EXPECT_EQ(pool.take_known(keys), *pages);  // now with two owners
  pool.give_back(*pages);
  EXPECT_EQ(pool.owned_pages(), 2);
  pool.give_back(*pages);
  EXPECT_EQ(pool.owned_pages(), 0);
  EXPECT_EQ(pool.cached_pages(), 2);
  EXPECT_EQ(pool.free_pages(), 2);
  EXPECT_EQ(pool.take_known(keys), *pages);
  EXPECT_EQ(pool.cached_pages(), 0);
}

TEST(BlockPool, TheLastPageOfTheLeastRecentlyUsedSequenceIsGivenUpFirst) {
  BlockPool pool(4);
  const auto first = pool.take(2);
  const auto second = pool.take(2);
  const std::vector<PageKey> a{key_of(1, 1), key_of(1, 2)};
  const std::vector<PageKey> b{key_of(2, 1), key_of(2, 2)};
  for (size_t i = 0; i < 2; ++i) {
    pool.publish((*first)[i], a[i]);
    pool.publish((*second)[i], b[i]);
  }
  pool.give_back(*first);
  pool.give_back(*second);
  pool.give_back(pool.take_known(a));  // used again: now b is older
  ASSERT_TRUE(pool.take(1));
  EXPECT_EQ(pool.known(a), 2);
  EXPECT_EQ(pool.known(b), 1);
  ASSERT_TRUE(pool.take(2));
  EXPECT_EQ(pool.known(a), 1);
  EXPECT_EQ(pool.known(b), 0);
}

TEST(BlockPool, OwnedPagesAreNeverGivenUp) {
  BlockPool pool(3);
  const auto pages = pool.take(2);
  for (const int32_t page : *pages) pool.publish(page, key_of(static_cast<uint8_t>(page)));
  EXPECT_FALSE(pool.take(2));
  EXPECT_TRUE(pool.take(1));
  EXPECT_EQ(pool.owned_pages(), 3);
}

TEST(BlockPool, OfTwoPagesUnderOneKeyTheFirstIsKept) {
  BlockPool pool(2);
  const auto pages = pool.take(2);
  pool.publish((*pages)[0], key_of(1));
  pool.publish((*pages)[1], key_of(1));
  EXPECT_EQ(pool.take_known(std::vector{key_of(1)}), std::vector{(*pages)[0]});
  pool.give_back(*pages);
  pool.give_back({(*pages)[0]});
  EXPECT_EQ(pool.free_pages(), 1);
  EXPECT_EQ(pool.cached_pages(), 1);
}

/// What the pages hold, kept beside the pool: a page that it hands out for a key must still hold
/// what was published, and a fresh page must be nobody's.
TEST(BlockPool, RandomTrafficNeverMixesUpPages) {
  constexpr int64_t kPages = 23;
  BlockPool pool(kPages);
  std::vector<std::optional<PageKey>> holds(kPages);
  std::vector<int> owners(kPages);
  std::vector<std::vector<int32_t>> sequences;
  uint64_t draw = 0;
  const auto random = [&](double below) { return static_cast<size_t>(below * uniform(5, draw++)); };
  int64_t hits = 0;
  for (int i = 0; i < 50'000; ++i) {
    if (random(2) == 0 || sequences.empty()) {
      std::vector<PageKey> chain;  // one of 6 beginnings, which part ways after two pages
      const auto kind = static_cast<uint8_t>(1 + random(6));
      const size_t length = random(8);
      for (size_t j = 0; j < length; ++j) {
        chain.push_back(key_of(j < 2 ? kind % 3 + 100 : kind, static_cast<uint8_t>(j)));
      }
      const int64_t known = pool.known(chain);
      std::vector<int32_t> pages = pool.take_known(chain);
      ASSERT_EQ(static_cast<int64_t>(pages.size()), known);
      for (size_t j = 0; j < pages.size(); ++j) {
        ASSERT_EQ(holds[static_cast<size_t>(pages[j])], chain[j]);
        ++owners[static_cast<size_t>(pages[j])];
      }
      hits += known;
      const auto fresh = pool.take(static_cast<int64_t>(1 + length - pages.size()));
      if (fresh) {
        for (const int32_t page : *fresh) {
          ASSERT_EQ(owners[static_cast<size_t>(page)]++, 0);
          holds[static_cast<size_t>(page)].reset();
          pages.push_back(page);
        }
        for (auto j = static_cast<size_t>(known); j < length; ++j) {
          pool.publish(pages[j], chain[j]);
          holds[static_cast<size_t>(pages[j])] = chain[j];
        }
        sequences.push_back(pages);
      } else {
        pool.give_back(pages);
        for (const int32_t page : pages) --owners[static_cast<size_t>(page)];
      }
    } else {
      const size_t which = random(static_cast<double>(sequences.size()));
      pool.give_back(sequences[which]);
      for (const int32_t page : sequences[which]) --owners[static_cast<size_t>(page)];
      sequences.erase(sequences.begin() + static_cast<std::ptrdiff_t>(which));
    }
    ASSERT_EQ(pool.free_pages() + pool.cached_pages() + pool.owned_pages(), kPages);
    ASSERT_EQ(pool.owned_pages(),
              std::count_if(owners.begin(), owners.end(), [](int n) { return n > 0; }));
  }
  EXPECT_GT(hits, 10'000);
}

TEST(RowAllocator, FreedNeighboursJoinAgain) {
  RowAllocator rows(100);
  std::vector<RowRange> held;
  for (const int64_t count : {10, 20, 30, 40}) {
    const auto taken = rows.take(count);
    ASSERT_TRUE(taken);
    held.push_back(*taken);
  }
  EXPECT_EQ(held[2], (RowRange{30, 30}));
  EXPECT_FALSE(rows.take(1));
  for (const size_t i : {0U, 2U, 1U, 3U}) rows.give_back(held[i]);
  EXPECT_TRUE(rows.take(100));
}

TEST(RowAllocator, RandomTrafficNeverOverlapsOrLeaks) {
  constexpr int64_t kRows = 257;
  RowAllocator rows(kRows);
  std::vector<RowRange> held;
  int64_t used = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const double u = uniform(1, i);
    if (u < 0.5) {
      const auto taken = rows.take(1 + static_cast<int64_t>(u * 80));
      if (taken) {
        for (const RowRange& other : held) {
          ASSERT_TRUE(taken->end() <= other.first || other.end() <= taken->first);
        }
        used += taken->rows;
        held.push_back(*taken);
      }
    } else if (!held.empty()) {
      const size_t which = static_cast<size_t>((u - 0.5) * 2 * static_cast<double>(held.size()));
      used -= held[which].rows;
      rows.give_back(held[which]);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
    }
    ASSERT_EQ(rows.free_rows() + used, kRows);
  }
}

TEST(RowAllocatorDeathTest, RowsGivenBackTwiceAreCaught) {
  RowAllocator rows(10);
  const RowRange range = *rows.take(4);
  rows.give_back(range);
  EXPECT_DEATH(rows.give_back(range), "given back twice");
  EXPECT_DEATH(rows.give_back({8, 4}), "another buffer");
}

FeatureCache cache_of(int64_t rows, FeatureCache::Keep keep = FeatureCache::Keep::yes) {
  return FeatureCache(rows, keep);
}

TEST(FeatureCache, FeaturesAreSharedByKeyAndComputedOnce) {
  FeatureCache cache = cache_of(10);
  EXPECT_FALSE(cache.take_known(key_of(1)));
  const auto first = cache.take_new(key_of(1), 4);
  ASSERT_TRUE(first);
  EXPECT_FALSE(cache.ready(key_of(1)));
  EXPECT_EQ(cache.take_known(key_of(1)), first);
  cache.set_ready(key_of(1));
  EXPECT_EQ(cache.users(key_of(1)), 2);
  EXPECT_EQ(cache.owned_rows(), 4);
  cache.give_back(key_of(1));
  cache.give_back(key_of(1));
  EXPECT_EQ(cache.cached_rows(), 4);
  EXPECT_EQ(cache.take_known(key_of(1)), first);
}

TEST(FeatureCache, TheLeastRecentlyUsedGoesFirstAndNothingInUseGoes) {
  FeatureCache cache = cache_of(10);
  for (const uint8_t k : {1, 2, 3}) {
    ASSERT_TRUE(cache.take_new(key_of(k), 3));
    cache.set_ready(key_of(k));
  }
  for (const uint8_t k : {3, 1}) cache.give_back(key_of(k));
  EXPECT_TRUE(cache.take_new(key_of(4), 4));  // with the last row, which is free already
  EXPECT_FALSE(cache.take_known(key_of(3)));
  EXPECT_TRUE(cache.take_known(key_of(1)));
  EXPECT_FALSE(cache.take_new(key_of(5), 1));
  EXPECT_EQ(cache.free_rows() + cache.cached_rows() + cache.owned_rows(), 10);
}

TEST(FeatureCache, FeaturesUnderWayStayWithoutUsersUntilTheyAreAbandoned) {
  FeatureCache cache = cache_of(4);
  ASSERT_TRUE(cache.take_new(key_of(1), 4));
  cache.give_back(key_of(1));
  EXPECT_FALSE(cache.take_new(key_of(2), 1));
  EXPECT_EQ(cache.owned_rows(), 4);
  cache.abandon(key_of(1));
  EXPECT_TRUE(cache.take_new(key_of(2), 1));
}

TEST(FeatureCache, WithoutKeepingFeaturesGoWithTheirLastUser) {
  FeatureCache cache = cache_of(4, FeatureCache::Keep::no);
  ASSERT_TRUE(cache.take_new(key_of(1), 4));
  cache.set_ready(key_of(1));
  cache.give_back(key_of(1));
  EXPECT_EQ(cache.free_rows(), 4);
  ASSERT_TRUE(cache.take_new(key_of(2), 4));
  cache.give_back(key_of(2));
  EXPECT_EQ(cache.free_rows(), 0);
  cache.set_ready(key_of(2));
  EXPECT_EQ(cache.free_rows(), 4);
}

TEST(FeatureCacheDeathTest, FeaturesGivenBackTwiceAreCaught) {
  FeatureCache cache = cache_of(4);
  ASSERT_TRUE(cache.take_new(key_of(1), 4));
  cache.give_back(key_of(1));
  EXPECT_DEATH(cache.give_back(key_of(1)), "given back twice");
}

}  // namespace
}  // namespace qvl

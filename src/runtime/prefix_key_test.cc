#include "runtime/prefix_key.h"

#include <gtest/gtest.h>

#include <set>

namespace qvl {
namespace {

/// 200 tokens with a picture of 10 × 7 tokens in [30, 100).
struct Example {
  std::vector<int32_t> tokens;
  std::vector<EmbedSpan> spans{
      {.first_token = 30, .rows = 70, .merged_h = 10, .merged_w = 7, .media = 0}};
  std::vector<Patches> media{{.grid = {1, 20, 14}, .rows = {}, .content_hash = {1, 2, 3}}};
  std::string salt;

  Example() {
    for (int32_t i = 0; i < 200; ++i) tokens.push_back(i % 50);
  }
  std::vector<PageKey> keys() const { return prefix_keys(tokens, spans, media, salt); }
  /// How many of the first pages have the keys of `other`.
  size_t shared_with(const Example& other) const {
    const std::vector<PageKey> a = keys();
    const std::vector<PageKey> b = other.keys();
    size_t n = 0;
    while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
    for (size_t i = n; i < a.size() && i < b.size(); ++i) EXPECT_NE(a[i], b[i]);
    return n;
  }
};

TEST(PrefixKeys, OnlyFullPagesHaveOne) {
  Example e;
  EXPECT_EQ(e.keys().size(), 3U);
  e.tokens.resize(192);
  EXPECT_EQ(e.keys().size(), 3U);
  e.tokens.resize(191);
  EXPECT_EQ(e.keys().size(), 2U);
  e.spans.clear();
  e.tokens.resize(63);
  EXPECT_EQ(e.keys().size(), 0U);
}

TEST(PrefixKeys, PagesOfEqualTokensDifferByWhatComesBefore) {
  const std::vector<int32_t> tokens(640, 7);
  const std::vector<PageKey> keys = prefix_keys(tokens, {}, {}, "");
  EXPECT_EQ(std::set<PageKey>(keys.begin(), keys.end()).size(), 10U);
}

TEST(PrefixKeys, AChangedTokenChangesItsPageAndAllLaterOnes) {
  const Example e;
  for (const size_t token : {0U, 63U, 64U, 127U, 128U, 191U}) {
    Example other;
    other.tokens[token] += 1;
    EXPECT_EQ(e.shared_with(other), token / 64) << token;
  }
  Example tail;
  tail.tokens[192] += 1;
  EXPECT_EQ(e.shared_with(tail), 3U);
}

TEST(PrefixKeys, AnotherPictureChangesThePagesThatItTouchesAndAllLaterOnes) {
  const Example e;
  Example other;
  other.media[0].content_hash[15] = 1;
  EXPECT_EQ(e.shared_with(other), 0U);
  Example late;
  Example late_other;
  late.spans[0].first_token = late_other.spans[0].first_token = 64;
  late_other.media[0].content_hash[15] = 1;
  EXPECT_EQ(late.shared_with(late_other), 1U);
}

TEST(PrefixKeys, PlaceShapeAndRowsOfAPictureCount) {
  const Example e;
  Example other;
  other.spans[0].first_token = 29;
  EXPECT_EQ(e.shared_with(other), 0U);
  other = e;
  std::swap(other.spans[0].merged_h, other.spans[0].merged_w);
  EXPECT_EQ(e.shared_with(other), 0U);
  other = e;
  other.spans[0].feature_row = 70;  // the second slice of a video
  EXPECT_EQ(e.shared_with(other), 0U);
  other = e;
  other.media[0].grid = {2, 10, 14};
  EXPECT_EQ(e.shared_with(other), 0U);
  other = e;
  other.spans.clear();
  EXPECT_EQ(e.shared_with(other), 0U);
}

TEST(PrefixKeys, IndexesOfMediaDoNotCount) {
  const Example e;
  Example other;
  other.media.insert(other.media.begin(), Patches{.grid = {1, 2, 2}});
  other.spans[0].media = 1;
  EXPECT_EQ(e.shared_with(other), 3U);
}

TEST(PrefixKeys, ASaltSharesNothingWithAnother) {
  const Example e;
  Example other;
  other.salt = "x";
  EXPECT_EQ(e.shared_with(other), 0U);
  Example same;
  same.salt = "x";
  EXPECT_EQ(other.shared_with(same), 3U);
}

}  // namespace
}  // namespace qvl

#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace qvl {
namespace {

/// A vocabulary of all bytes (id = byte) and, from 256 on, what the merges make.
struct Tables {
  std::vector<std::string> texts;
  std::vector<std::pair<std::string, std::string>> merges;

  Result<Bpe> make() const {
    std::vector<std::string> all;
    all.reserve(256 + texts.size());
    for (int byte = 0; byte < 256; ++byte) all.emplace_back(1, static_cast<char>(byte));
    all.insert(all.end(), texts.begin(), texts.end());
    std::vector<Vocabulary::Token> tokens;
    for (size_t i = 0; i < all.size(); ++i) tokens.push_back({all[i], static_cast<int32_t>(i)});
    Result<Vocabulary> vocabulary = Vocabulary::create(tokens);
    if (!vocabulary) return vocabulary.error();
    std::vector<Bpe::Merge> ids;
    for (const auto& [left, right] : merges) {
      ids.push_back(
          {vocabulary->find(left), vocabulary->find(right), vocabulary->find(left + right)});
    }
    return Bpe::create(std::move(*vocabulary), ids);
  }
};

std::vector<int32_t> encode(const Bpe& bpe, std::string_view text) {
  Bpe::Scratch scratch;
  std::vector<int32_t> out;
  bpe.encode(text, scratch, out);
  return out;
}

TEST(Bpe, JoinsTheLowestRankFirst) {
  const Tables tables{{"bc", "ab", "abc"}, {{"b", "c"}, {"a", "b"}, {"ab", "c"}}};
  const Result<Bpe> bpe = tables.make();
  ASSERT_TRUE(bpe);
  EXPECT_EQ(encode(*bpe, "ab"), (std::vector<int32_t>{257}));
  // b c is joined before a b, which then is no more: "abc" is a token but never reached.
  EXPECT_EQ(encode(*bpe, "abc"), (std::vector<int32_t>{'a', 256}));
}

TEST(Bpe, GivesTheSameTokensTheSecondTime) {
  const Tables tables{{"bc", "ab", "abc"}, {{"b", "c"}, {"a", "b"}, {"ab", "c"}}};
  const Result<Bpe> bpe = tables.make();
  ASSERT_TRUE(bpe);
  Bpe::Scratch scratch;
  std::vector<int32_t> out = {7};
  for (int round = 0; round < 2; ++round) {
    for (const char* text : {"ab", "abc", "c", "xbc"}) bpe->encode(text, scratch, out);
  }
  const std::vector<int32_t> expected = {7,   257, 'a', 256, 'c', 'x', 256,
                                         257, 'a', 256, 'c', 'x', 256};
  EXPECT_EQ(out, expected);
}

TEST(Bpe, JoinsTheLeftmostOfEquals) {
  const Result<Bpe> bpe = Tables{{"aa"}, {{"a", "a"}}}.make();
  ASSERT_TRUE(bpe);
  EXPECT_EQ(encode(*bpe, "aaa"), (std::vector<int32_t>{256, 'a'}));
  EXPECT_EQ(encode(*bpe, ""), (std::vector<int32_t>{}));
}

/// The definition, with a rescan for each join.
std::vector<int32_t> encode_slowly(const Tables& tables, std::string_view text) {
  std::vector<std::string> parts;
  for (const char c : text) parts.emplace_back(1, c);
  while (true) {
    size_t best_rank = tables.merges.size();
    size_t best = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found =
          std::find(tables.merges.begin(), tables.merges.end(), std::pair(parts[i], parts[i + 1]));
      const auto rank = static_cast<size_t>(found - tables.merges.begin());
      if (rank < best_rank) {
        best_rank = rank;
        best = i;
      }
    }
    if (best_rank == tables.merges.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& part : parts) {
    const auto found = std::find(tables.texts.begin(), tables.texts.end(), part);
    ids.push_back(part.size() == 1 ? static_cast<uint8_t>(part[0])
                                   : 256 + static_cast<int32_t>(found - tables.texts.begin()));
  }
  return ids;
}

TEST(Bpe, ShortAndLongPiecesFollowTheDefinition) {
  std::mt19937 random(7);
  const auto pick = [&](size_t size) { return random() % size; };
  for (int round = 0; round < 60; ++round) {
    Tables tables;
    std::vector<std::string> known = {"a", "b", "c"};
    for (int i = 0; i < 12; ++i) {
      const std::string left = known[pick(known.size())];
      const std::string right = known[pick(known.size())];
      const std::string joined = left + right;
      if (std::find(known.begin(), known.end(), joined) == known.end()) {
        known.push_back(joined);
        tables.texts.push_back(joined);
      }
      if (std::find(tables.merges.begin(), tables.merges.end(), std::pair(left, right)) ==
          tables.merges.end()) {
        tables.merges.emplace_back(left, right);
      }
    }
    const Result<Bpe> bpe = tables.make();
    ASSERT_TRUE(bpe);
    for (const size_t size : {1, 2, 3, 19, 47, 48, 49, 99, 300}) {
      std::string text;
      while (text.size() < size) text += "abc"[pick(3)];
      EXPECT_EQ(encode(*bpe, text), encode_slowly(tables, text)) << text;
    }
  }
}

TEST(Bpe, VocabularyMustBeSound) {
  const auto error = [](const std::vector<Vocabulary::Token>& tokens) {
    const Result<Vocabulary> vocabulary = Vocabulary::create(tokens);
    return vocabulary ? "" : vocabulary.error().detail;
  };
  EXPECT_EQ(error({{"a", 0}, {"b", 0}}), "id 0 belongs to two tokens");
  EXPECT_EQ(error({{"a", 0}, {"a", 1}}), "ids 0 and 1 have the same text");
  EXPECT_EQ(error({{"a", -1}}), "a token has id -1, expected 0 to 4194303");
  EXPECT_EQ(error({{"a", 1 << 30}}), "a token has id 1073741824, expected 0 to 4194303");
  EXPECT_EQ(error({{"", 3}}), "token 3 is empty");
  const Result<Vocabulary> small = Vocabulary::create({{"a", 5}});
  ASSERT_TRUE(small);
  EXPECT_EQ(small->size(), 6);
  EXPECT_EQ(small->bytes(5), "a");
  EXPECT_EQ(small->bytes(4), "");
  EXPECT_EQ(small->bytes(6), "");
  EXPECT_EQ(small->bytes(-1), "");
  EXPECT_EQ(Bpe::create(*small, {}).error().detail, "byte 0x00 has no token");
}

}  // namespace
}  // namespace qvl

#include <gtest/gtest.h>

#include <fstream>

#include "text/pretokenizer.h"
#include "text/tokenizer_json.h"

namespace qvl {
namespace {

/// `unit` again and again, `bytes` in all or a little less.
std::string repeated(const std::string& unit, size_t bytes) {
  std::string out;
  while (out.size() + unit.size() <= bytes) out += unit;
  return out;
}

struct Work {
  size_t pieces = 0;
  size_t tokens = 0;
  int64_t lookups = 0;  ///< of pairs that might be joined
};

class TokenizerWork : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::ifstream file(QVL_SOURCE_DIR "/models/qwen3-vl-tokenizer/tokenizer.json",
                       std::ios::binary);
    const std::string json(std::istreambuf_iterator<char>(file), {});
    Result<TokenizerFile> parsed = parse_tokenizer_json(json);
    ASSERT_TRUE(parsed) << parsed.error().message();
    bpe() = std::make_unique<Bpe>(std::move(parsed->bpe));
  }
  static void TearDownTestSuite() { bpe().reset(); }
  static std::unique_ptr<Bpe>& bpe() {
    static std::unique_ptr<Bpe> bpe;
    return bpe;
  }

  static Work encode(std::string_view text) {
    Work work;
    Bpe::Scratch scratch;
    std::vector<int32_t> ids;
    while (!text.empty()) {
      const size_t size = next_piece(text);
      bpe()->encode(text.substr(0, size), scratch, ids);
      text.remove_prefix(size);
      ++work.pieces;
    }
    work.tokens = ids.size();
    work.lookups = scratch.lookups;
    return work;
  }
};

// One lookup for each pair of bytes, and two for each of the fewer joins.
TEST_F(TokenizerWork, GrowsWithTheSizeOfATextAndNoFaster) {
  for (const char* unit :
       {"a", " ", "ab", "7", "\n", " \n", "语", "é", "'", "!", "aB", "🙂", "e\u0301",
        "abcdefghij", "The quick brown fox jumps over the lazy dog. ", "don't ", "\t\t x"}) {
    for (const size_t bytes : {size_t{1} << 14, size_t{1} << 17}) {
      const std::string text = repeated(unit, bytes);
      const Work work = encode(text);
      EXPECT_LE(work.lookups, 3 * static_cast<int64_t>(text.size())) << unit << " " << bytes;
    }
  }
}

TEST_F(TokenizerWork, OneLongWordIsOnePieceAndADigitIsToo) {
  constexpr size_t kMiB = 1 << 20;
  for (const char* unit : {"a", "ab", " ", "语"}) {
    const Work work = encode(repeated(unit, kMiB));
    EXPECT_EQ(work.pieces, 1U) << unit;
    EXPECT_LE(work.lookups, 3 * static_cast<int64_t>(kMiB)) << unit;
  }
  const Work digits = encode(repeated("7", kMiB));
  EXPECT_EQ(digits.pieces, kMiB);
  EXPECT_EQ(digits.tokens, kMiB);
  EXPECT_EQ(digits.lookups, 0);
}

TEST_F(TokenizerWork, LookupsAreCounted) {
  // 63 pairs of 64 bytes, and no more than two new ones for each join.
  const Work work = encode(repeated("zq", 64));
  EXPECT_GE(work.lookups, 63);
  EXPECT_LE(work.lookups, 63 + 2 * static_cast<int64_t>(64 - work.tokens));
}

}  // namespace
}  // namespace qvl

#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "text/unicode.h"

namespace qvl {
namespace {

using Ids = std::vector<int32_t>;

class DetokenizerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    Result<Tokenizer> loaded =
        Tokenizer::load(QVL_SOURCE_DIR "/models/qwen3-vl-tokenizer/tokenizer.json");
    ASSERT_TRUE(loaded) << loaded.error().message();
    tokenizer() = std::make_unique<Tokenizer>(std::move(*loaded));
  }
  static void TearDownTestSuite() { tokenizer().reset(); }
  static std::unique_ptr<Tokenizer>& tokenizer() {
    static std::unique_ptr<Tokenizer> shared;
    return shared;
  }

  /// The texts of all steps, with a bar between them; the last is that of finish.
  std::string steps(const Ids& ids, Detokenizer::Special special = Detokenizer::Special::keep) {
    Detokenizer detokenizer(*tokenizer(), special);
    std::string out;
    for (const int32_t id : ids) out += detokenizer.push(id) + "|";
    return out + detokenizer.finish();
  }

  std::string whole(const Ids& ids, Detokenizer::Special special) {
    Detokenizer detokenizer(*tokenizer(), special);
    std::string out;
    for (const int32_t id : ids) out += detokenizer.push(id);
    return out + detokenizer.finish();
  }
};

TEST_F(DetokenizerTest, AgreesWithTheReferenceOnRandomIds) {
  std::ifstream file(QVL_SOURCE_DIR "/tests/text/decode_reference.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto row = nlohmann::json::parse(line);
    const Ids ids = row[0].get<Ids>();
    EXPECT_EQ(whole(ids, Detokenizer::Special::keep), row[1].get<std::string>()) << line;
    EXPECT_EQ(whole(ids, Detokenizer::Special::skip), row[2].get<std::string>()) << line;
  }
  EXPECT_EQ(cases, 800);
}

TEST_F(DetokenizerTest, HoldsBackAnUnfinishedCharacter) {
  // 🦙 is F0 9F A6 99: tokens " \xF0\x9F\xA6" and "\x99".
  EXPECT_EQ(steps({11162, 99, 247}), " ||🦙|");
  EXPECT_EQ(steps({11162}), " |\uFFFD");
}

TEST_F(DetokenizerTest, AnInvalidPartIsReplacedAsSoonAsItIsKnown) {
  EXPECT_EQ(steps({11162, 32}),
            " |\uFFFD"
            "A|");
  EXPECT_EQ(steps({99}), "\uFFFD|");  // a lone continuation byte
}

TEST_F(DetokenizerTest, SkippedTokensLeaveNoTrace) {
  EXPECT_EQ(steps({9707, 151645}, Detokenizer::Special::skip), "Hello||");
  EXPECT_EQ(steps({9707, 151645}), "Hello|<|im_end|>|");
  EXPECT_EQ(steps({151667}, Detokenizer::Special::skip), "<think>|");
  // As in the reference, a character goes on behind a skipped token.
  EXPECT_EQ(steps({11162, 151645, 99, 247}, Detokenizer::Special::skip), " |||🦙|");
}

TEST_F(DetokenizerTest, IdsWithoutATokenHaveNoText) {
  EXPECT_EQ(steps({-1, 151669, 151935, INT32_MAX}), "||||");
}

TEST_F(DetokenizerTest, EveryStepIsValidUtf8) {
  Detokenizer detokenizer(*tokenizer(), Detokenizer::Special::keep);
  for (int32_t id = 0; id < 20'000; ++id)
    EXPECT_TRUE(is_valid_utf8(detokenizer.push(id * 7 % 151669)));
}

}  // namespace
}  // namespace qvl

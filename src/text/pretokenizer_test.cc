#include "text/pretokenizer.h"

#include <gtest/gtest.h>

#include <string>

namespace qvl {
namespace {

/// The pieces, with a bar between them.
std::string pieces(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t size = next_piece(text);
    if (!out.empty()) out += '|';
    out += text.substr(0, size);
    text.remove_prefix(size);
  }
  return out;
}

TEST(Pretokenizer, SplitsWordsWithTheSpaceBefore) {
  EXPECT_EQ(pieces("Hello world"), "Hello| world");
  EXPECT_EQ(pieces("Hello, world!"), "Hello|,| world|!");
  EXPECT_EQ(pieces("a.b"), "a|.b");  // any symbol may lead a word
  EXPECT_EQ(pieces("a..b"), "a|..|b");
  EXPECT_EQ(pieces("\u00a0word\tword"), "\u00a0word|\tword");
  EXPECT_EQ(pieces("你好，世界"), "你好|，世界");
}

TEST(Pretokenizer, TakesDigitsOneByOne) {
  EXPECT_EQ(pieces("123"), "1|2|3");
  EXPECT_EQ(pieces(" 12"), " |1|2");
  EXPECT_EQ(pieces("a1½Ⅷ"), "a|1|½|Ⅷ");
}

TEST(Pretokenizer, CutsContractionsInAnyCase) {
  EXPECT_EQ(pieces("he's I'LL we'Ve"), "he|'s| I|'LL| we|'Ve");
  EXPECT_EQ(pieces("'m'd't're"), "'m|'d|'t|'re");
  EXPECT_EQ(pieces("'\u017fx"), "'\u017f|x");  // ſ is an s
  EXPECT_EQ(pieces("'sad"), "'s|ad");
  EXPECT_EQ(pieces("'hello"), "'hello");
  EXPECT_EQ(pieces("'l"), "'l");
  EXPECT_EQ(pieces("'r "), "'r| ");
  EXPECT_EQ(pieces("'"), "'");
}

TEST(Pretokenizer, LeavesOneSpaceOfARunToTheWordBehindIt) {
  EXPECT_EQ(pieces("a   b"), "a|  | b");
  EXPECT_EQ(pieces("a   1"), "a|  | |1");
  EXPECT_EQ(pieces("a \u3000b"), "a| |\u3000b");
  EXPECT_EQ(pieces("a   "), "a|   ");
  EXPECT_EQ(pieces("a   !"), "a|  | !");
  EXPECT_EQ(pieces("a\t\t!"), "a|\t|\t|!");  // only a space may lead symbols
}

TEST(Pretokenizer, EndsWhiteSpaceAtItsLastLineBreak) {
  EXPECT_EQ(pieces("a \n \r\n  b"), "a| \n \r\n| | b");
  EXPECT_EQ(pieces("\n\n"), "\n\n");
  EXPECT_EQ(pieces("\nb"), "\n|b");
  EXPECT_EQ(pieces("!?\n\n x"), "!?\n\n| x");  // symbols take the line breaks behind them
  EXPECT_EQ(pieces("! \n"), "!| \n");
}

TEST(Pretokenizer, LongRunsTakeLinearTime) {
  const size_t size = 2'000'000;
  EXPECT_EQ(next_piece(std::string(size, 'a')), size);
  EXPECT_EQ(next_piece(std::string(size, ' ')), size);
  EXPECT_EQ(next_piece(std::string(size, ' ') + "a"), size - 1);
  EXPECT_EQ(next_piece(std::string(size, '\n')), size);
  std::string lines;
  for (size_t i = 0; i < size / 4; ++i) lines += "\n   ";
  EXPECT_EQ(pieces(lines).size(), lines.size() + 1);
}

}  // namespace
}  // namespace qvl

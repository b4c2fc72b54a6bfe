#include "cli/terminal_text.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

TEST(TextWidth, WideCharactersTakeTwoColumns) {
  EXPECT_EQ(text_width(""), 0);
  EXPECT_EQ(text_width("abc"), 3);
  EXPECT_EQ(text_width("你好"), 4);
  EXPECT_EQ(text_width("ｆｕｌｌ"), 8);
  EXPECT_EQ(text_width("한국어"), 6);
  EXPECT_EQ(text_width("ﾊﾝｶｸ"), 4);
  EXPECT_EQ(text_width("😀"), 2);
  EXPECT_EQ(text_width("é ß Ω …"), 7);
}

TEST(TextWidth, CombiningMarksTakeNone) {
  EXPECT_EQ(text_width("e\u0301"), 1);
  EXPECT_EQ(text_width("\u200B"), 0);
  EXPECT_EQ(text_width("\u200D"), 0);
}

TEST(WithoutControls, EscapeSequencesBecomeVisible) {
  EXPECT_EQ(without_controls("a\x1b[2Jb"), "a␛[2Jb");
  EXPECT_EQ(without_controls("\x1b]52;c;Zm9v\a"), "␛]52;c;Zm9v␇");
  EXPECT_EQ(without_controls("\b\x7f"), "␈␡");
  EXPECT_EQ(without_controls(std::string_view("\0", 1)), "␀");
}

TEST(WithoutControls, C1ControlsAndInvalidBytesAreReplaced) {
  EXPECT_EQ(without_controls("\u009b31m"), "\uFFFD31m");
  EXPECT_EQ(without_controls("\x9b"
                             "31m"),
            "\uFFFD31m");
  EXPECT_EQ(without_controls("a\xe4\xbd"), "a\uFFFD");
}

TEST(WithoutControls, TextAndItsLinesStay) {
  EXPECT_EQ(without_controls("你好\n\tx😀"), "你好\n\tx😀");
  EXPECT_EQ(without_controls("one\r\ntwo\rthree"), "one\ntwothree");
}

TEST(OneLine, NewlinesBecomeVisibleToo) { EXPECT_EQ(one_line("a\nb\r\tc.png"), "a␊b␍␉c.png"); }

}  // namespace
}  // namespace qvl

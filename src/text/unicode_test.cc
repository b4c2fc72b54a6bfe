#include "text/unicode.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace qvl {
namespace {

TEST(Utf8, EachMaximalInvalidPartBecomesOneReplacementCharacter) {
  const std::string r(kReplacement);
  EXPECT_EQ(replace_invalid_utf8("aé中🙂"), "aé中🙂");
  EXPECT_EQ(replace_invalid_utf8("a\xFFz"), "a" + r + "z");
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x99z"), r + "z");           // cut character: one
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x99"), r);                  // at the end too
  EXPECT_EQ(replace_invalid_utf8("\xE0\x80\x80"), r + r + r);          // overlong
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), r + r + r + r);  // beyond U+10FFFF
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\x80"), r + r + r);
  EXPECT_EQ(replace_invalid_utf8("\xE4\xBD\xE4\xBD\xA0"), r + "你");
}

TEST(Utf8, AppendsWhatItReads) {
  for (const char32_t c :
       {0x0U, 0x7FU, 0x80U, 0x7FFU, 0x800U, 0xD7FFU, 0xFFFFU, 0x10000U, 0x10FFFFU}) {
    std::string text;
    append_utf8(text, c);
    const Utf8Part part = first_utf8_part(text);
    EXPECT_EQ(part.kind, Utf8Part::Kind::valid);
    EXPECT_EQ(part.size, text.size());
    EXPECT_EQ(part.code_point, c);
  }
}

TEST(UnicodeClasses, AreThoseOfTheReferenceLibrary) {
  EXPECT_EQ(unicode_classes('a'), kLetter);
  EXPECT_EQ(unicode_classes('7'), kNumber);
  EXPECT_EQ(unicode_classes('\v'), kSpace);
  EXPECT_EQ(unicode_classes('\''), 0);
  EXPECT_EQ(unicode_classes(0x4E2D), kLetter);  // 中
  EXPECT_EQ(unicode_classes(0xBD), kNumber);    // ½
  EXPECT_EQ(unicode_classes(0x2167), kNumber);  // Ⅷ
  EXPECT_EQ(unicode_classes(0x85), kSpace);
  EXPECT_EQ(unicode_classes(0x3000), kSpace);
  EXPECT_EQ(unicode_classes(0x200B), 0);        // zero width space is none to \s
  EXPECT_EQ(unicode_classes(0x301), kActive);   // combining acute
  EXPECT_EQ(unicode_classes(0x1C89), kLetter);  // a letter since Unicode 16
  EXPECT_EQ(unicode_classes(0x10FFFF), 0);
}

TEST(UnicodeClasses, AsciiShortcutAgreesWithTheTable) {
  for (char32_t c = 0; c < 128; ++c) {
    uint8_t in_table = 0;
    for (const UnicodeRange& range : unicode_ranges()) {
      if (c >= range.first && c <= range.last) in_table = range.classes;
    }
    EXPECT_EQ(unicode_classes(c), in_table) << static_cast<int>(c);
  }
}

TEST(Nfc, ComposesAndOrders) {
  EXPECT_EQ(to_nfc("plain ASCII"), "plain ASCII");
  EXPECT_EQ(to_nfc("e\u0301"), "é");
  EXPECT_EQ(to_nfc("xe\u0301y\u0302z"), "xéŷz");
  EXPECT_EQ(to_nfc("\u212B"), "Å");  // Ångström sign
  EXPECT_EQ(to_nfc("a\u0315\u0300\u05AE\u0300b"), "à\u05AE\u0300\u0315b");
  EXPECT_EQ(to_nfc("\u1112\u1161\u11AB"), "한");
  EXPECT_EQ(to_nfc("\u0301"), "\u0301");        // nothing to join
  EXPECT_EQ(to_nfc("\u1F80\u0301"), "\u1F84");  // the base is taken apart first
  EXPECT_EQ(to_nfc("a\u0301\u0301"), "á\u0301");
}

TEST(Nfc, CodePointsYoungerThanTheReferenceStayWhereTheyAre) {
  // To utf8proc U+1DFA is a mark of class 218, which would stand behind U+0330 of class 220 … not
  // so to the reference.
  EXPECT_EQ(to_nfc("a\u0301\U00016FF0"), "á\U00016FF0");
  EXPECT_EQ(to_nfc("\u1DFA\u0334"), "\u1DFA\u0334");
}

TEST(Nfc, AgreesWithTheReferenceOnItsCases) {
  std::ifstream file(QVL_SOURCE_DIR "/tests/text/nfc_reference.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(to_nfc(json[0].get<std::string>()), json[1].get<std::string>()) << line;
  }
  EXPECT_EQ(cases, 800);
}

TEST(Nfc, MarksInTheWrongOrderTakeNoQuadraticTime) {
  std::string text = "a";
  std::string ordered = "a";
  for (int i = 0; i < 300'000; ++i) text += "\u0345";  // class 240
  for (int i = 0; i < 300'000; ++i) text += "\u0334";  // class 1
  for (int i = 0; i < 300'000; ++i) ordered += "\u0334";
  for (int i = 0; i < 300'000; ++i) ordered += "\u0345";
  EXPECT_EQ(to_nfc(text), ordered);
}

}  // namespace
}  // namespace qvl

#include "runtime/stop_strings.h"

#include <gtest/gtest.h>

#include "runtime/philox.h"

namespace qvl {
namespace {

using Include = StopStrings::Include;
using Ending = StopStrings::Ending;

/// What comes out of each piece, joined by bars, then what ended it: "ab||c <stop>".
std::string pieces(const std::vector<std::string>& stops, const std::vector<std::string>& text,
                   Include include = Include::no) {
  StopStrings matcher(stops, include);
  std::string out;
  for (const std::string& piece : text) {
    out += matcher.push(piece, Ending::allowed) + "|";
    if (matcher.matched()) return out + " <" + *matcher.matched() + ">";
  }
  return out + matcher.finish();
}

TEST(StopStrings, WithoutAnyTheTextPasses) { EXPECT_EQ(pieces({}, {"ab", "", "c"}), "ab||c|"); }

TEST(StopStrings, AStringInsideAPieceEndsTheTextBeforeIt) {
  EXPECT_EQ(pieces({"STOP"}, {"one STOP two"}), "one | <STOP>");
}

TEST(StopStrings, AStringAcrossPiecesIsHeldBackUntilItIsKnown) {
  EXPECT_EQ(pieces({"\n\nQ:"}, {"a\n", "\n", "Q", ": b"}), "a|||| <\n\nQ:>");
  EXPECT_EQ(pieces({"\n\nQ:"}, {"a\n", "\n", "R", ": b"}), "a||\n\nR|: b|");
}

TEST(StopStrings, WhatIsHeldBackComesAtTheEnd) {
  EXPECT_EQ(pieces({"STOP"}, {"an ST", "O"}), "an ||STO");
}

TEST(StopStrings, TheStringMayStayInTheText) {
  EXPECT_EQ(pieces({"STOP"}, {"one ST", "OP two"}, Include::yes), "one ST|OP| <STOP>");
}

TEST(StopStrings, OfSeveralTheOneThatIsCompleteFirstCounts) {
  EXPECT_EQ(pieces({"abcd", "c"}, {"xab", "cd"}), "x|ab| <c>");
}

TEST(StopStrings, OfThoseThatEndTogetherTheLongestCounts) {
  EXPECT_EQ(pieces({"c", "abc", "bc"}, {"xab", "c"}), "x|| <abc>");
}

TEST(StopStrings, AStringThatOverlapsItselfIsFound) {
  EXPECT_EQ(pieces({"aab"}, {"a", "a", "a", "b"}), "||a|| <aab>");
  EXPECT_EQ(pieces({"abab!"}, {"ababab!"}), "ab| <abab!>");
}

TEST(StopStrings, AStringThatBeganEarlierMayEndTheTextOnceItIsAllowed) {
  StopStrings matcher({"abc", "x"}, Include::no);
  EXPECT_EQ(matcher.push("x", Ending::not_yet), "x");
  EXPECT_EQ(matcher.push("ab", Ending::not_yet), "");
  EXPECT_EQ(matcher.push("c", Ending::allowed), "");
  ASSERT_TRUE(matcher.matched());
  EXPECT_EQ(*matcher.matched(), "abc");
}

/// Ends where the first of `stops` is complete; the longest of those that end there is cut off.
std::string expected(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopStrings, AnyCutIntoPiecesGivesTheTextUpToTheFirstMatch) {
  for (uint64_t round = 0; round < 20'000; ++round) {
    auto random = [round, i = uint64_t{0}](double below) mutable {
      return static_cast<size_t>(below * uniform(round, i++));
    };
    const auto word = [&](size_t length) {
      std::string out;
      for (size_t i = 0; i < length; ++i) out += static_cast<char>('a' + random(2));
      return out;
    };
    std::vector<std::string> stops(1 + random(3));
    for (std::string& stop : stops) stop = word(1 + random(7));
    const std::string text = word(random(40));
    StopStrings matcher(stops, Include::no);
    std::string got;
    for (size_t at = 0; at < text.size() && !matcher.matched();) {
      const size_t size = std::min(text.size() - at, random(6));
      got += matcher.push(text.substr(at, size), Ending::allowed);
      at += size;
      // What is out can never be taken back.
      ASSERT_TRUE(expected(text, stops).starts_with(got)) << text;
    }
    if (!matcher.matched()) got += matcher.finish();
    ASSERT_EQ(got, expected(text, stops)) << text;
  }
}

}  // namespace
}  // namespace qvl

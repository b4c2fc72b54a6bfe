#include "openai/reasoning.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

/// "reasoning|content", the text given in pieces of `size` bytes.
std::string split(const std::string& text, size_t size = 1) {
  ReasoningSplitter splitter;
  std::string reasoning;
  std::string content;
  for (size_t at = 0; at < text.size(); at += size) {
    const auto piece = splitter.push(std::string_view(text).substr(at, size));
    reasoning += piece.reasoning;
    content += piece.content;
  }
  const auto rest = splitter.finish();
  return reasoning + rest.reasoning + "|" + content + rest.content;
}

TEST(ReasoningSplitter, TheFirstMarkerEndsTheReasoning) {
  const std::string text = "\nI think\n\nso.\n</think>\n\nYes.\n</think>";
  for (size_t size = 1; size <= text.size(); ++size) {
    EXPECT_EQ(split(text, size), "I think\n\nso.|Yes.\n</think>") << size;
  }
}

TEST(ReasoningSplitter, WhatOnlyBeginsLikeTheMarkerIsReasoning) {
  for (const size_t size : {1, 2, 3, 100}) {
    EXPECT_EQ(split("a </thin </</think><b></think>c", size), "a </thin </|<b></think>c") << size;
    EXPECT_EQ(split("<</think>x", size), "<|x") << size;
  }
}

TEST(ReasoningSplitter, WithoutAMarkerAllIsReasoning) {
  EXPECT_EQ(split("no end\n</thi"), "no end\n</thi|");
  EXPECT_EQ(split(""), "|");
  EXPECT_EQ(split("</think>"), "|");
}

TEST(ReasoningSplitter, GivesTextAsSoonAsItIsCertain) {
  ReasoningSplitter splitter;
  EXPECT_EQ(splitter.push("abc\n").reasoning, "abc");
  EXPECT_EQ(splitter.push("d</th").reasoning, "\nd");
  EXPECT_EQ(splitter.push("ink>\n").content, "");
  EXPECT_EQ(splitter.push("x\n").content, "x\n");
}

}  // namespace
}  // namespace qvl

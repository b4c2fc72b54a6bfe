#include "cli/chat_line.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

/// The entries that these lines make, "[command] text" or "text"; what is unfinished counts at the
/// end.
std::vector<std::string> entries(const std::vector<std::string>& lines) {
  ChatLines input;
  std::vector<std::string> out;
  const auto take = [&](const std::optional<ChatEntry>& entry) {
    if (!entry) return;
    out.push_back(entry->command.empty() ? entry->text : "[" + entry->command + "] " + entry->text);
  };
  for (const std::string& line : lines) take(input.add(line));
  take(input.finish());
  return out;
}

using Entries = std::vector<std::string>;

TEST(ChatLines, ALineIsAMessageOrACommand) {
  EXPECT_EQ(entries({"hello", "/image  a b.png ", "/exit"}),
            (Entries{"hello", "[image] a b.png", "[exit] "}));
  EXPECT_EQ(entries({"", "   ", "x/y", " /usr/bin is a folder"}),
            (Entries{"x/y", "/usr/bin is a folder"}));
}

TEST(ChatLines, ATrailingBackslashContinues) {
  EXPECT_EQ(entries({"one \\", "two\\", "three", "four"}), (Entries{"one \ntwo\nthree", "four"}));
  EXPECT_EQ(entries({"C:\\\\", "x"}), (Entries{"C:\\\\", "x"}));
  EXPECT_EQ(entries({"/system be \\", "brief"}), (Entries{"[system] be \nbrief"}));
}

TEST(ChatLines, ABlockIsOneMessageAndHoldsNoCommands) {
  EXPECT_EQ(entries({"\"\"\"", "/exit", "", "two\\", "\"\"\"", "x"}),
            (Entries{"/exit\n\ntwo\\", "x"}));
  EXPECT_EQ(entries({"\"\"\"one", "two\"\"\""}), (Entries{"one\ntwo"}));
  EXPECT_EQ(entries({"\"\"\"/exit\"\"\""}), (Entries{"/exit"}));
}

TEST(ChatLines, APasteOfSeveralLinesIsOneMessageWhateverItContains) {
  EXPECT_EQ(entries({"/exit\n/clear", "x"}), (Entries{"/exit\n/clear", "x"}));
  EXPECT_EQ(entries({"\"\"\"\nx\\"}), (Entries{"\"\"\"\nx\\"}));
  EXPECT_EQ(entries({"\"\"\"", "a\n\"\"\"", "b\"\"\""}), (Entries{"a\n\"\"\"\nb"}));
  EXPECT_EQ(entries({"see:\\", "/a\n/b"}), (Entries{"see:\n/a\n/b"}));
}

TEST(ChatLines, KnowsWhenMoreIsExpected) {
  ChatLines input;
  EXPECT_FALSE(input.unfinished());
  input.add("a\\");
  EXPECT_TRUE(input.unfinished());
  input.clear();
  EXPECT_FALSE(input.unfinished());
  input.add("\"\"\"");
  input.add("x");
  EXPECT_TRUE(input.unfinished());
  EXPECT_EQ(input.add("\"\"\""), (ChatEntry{"", "x"}));
  EXPECT_FALSE(input.unfinished());
  EXPECT_FALSE(input.finish());
}

TEST(SplitWords, QuotesAndBackslashesKeepSpaces) {
  const auto words = [](const char* text) { return *split_words(text, "/home/me"); };
  EXPECT_EQ(words(""), Entries{});
  EXPECT_EQ(words(" a.png\tb.png "), (Entries{"a.png", "b.png"}));
  EXPECT_EQ(words("'a b.png' \"c d.png\" e\\ f.png"), (Entries{"a b.png", "c d.png", "e f.png"}));
  EXPECT_EQ(words("it\\'s 'a\\b' \"a\\\"b\" ''"), (Entries{"it's", "a\\b", "a\"b", ""}));
  EXPECT_EQ(words("dir/'my file'.png"), (Entries{"dir/my file.png"}));
}

TEST(SplitWords, ATildeIsTheHomeFolder) {
  EXPECT_EQ(*split_words("~ ~/x.png a~ '~/y' ~z", "/home/me"),
            (Entries{"/home/me", "/home/me/x.png", "a~", "~/y", "~z"}));
}

TEST(SplitWords, AnOpenQuoteIsAnError) {
  const auto words = split_words("'a b.png", "");
  ASSERT_FALSE(words);
  EXPECT_EQ(words.error().code, ErrorCode::bad_command);
  EXPECT_NE(words.error().message().find("closing '"), std::string::npos);
}

}  // namespace
}  // namespace qvl

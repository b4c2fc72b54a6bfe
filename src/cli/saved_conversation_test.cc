#include "cli/saved_conversation.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace qvl {
namespace {

std::string refusal(const std::string& messages) {
  const auto parsed = parse_conversation("{\"messages\": " + messages + "}");
  return parsed ? "accepted" : parsed.error().message();
}

TEST(SavedConversation, IsTheBodyOfAChatCompletionRequest) {
  Conversation c;
  c.set_system("s");
  UserMessage first;
  first.content = Json::parse(R"([{"type": "image", "image": "/pictures/a b/é.png"},
                                  {"type": "video", "video": "/v"}, {"type": "text", "text": "q"}])");
  first.media.resize(2);
  c.ask(std::move(first));
  c.answer("a", AnswerEnd::interrupted);
  UserMessage second;
  second.add_text("q2");
  c.ask(std::move(second));
  EXPECT_EQ(Json::parse(saved_conversation(c, "tiny")),
            Json::parse(R"({"model": "tiny", "messages": [
    {"role": "system", "content": "s"},
    {"role": "user", "content": [
      {"type": "image_url", "image_url": {"url": "file:///pictures/a%20b/%C3%A9.png"}},
      {"type": "video_url", "video_url": {"url": "file:///v"}},
      {"type": "text", "text": "q"}]},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "q2"}],
    "metadata": {"interrupted": "2"}})"));
}

TEST(SavedConversation, ARelativePathIsMadeAbsolute) {
  Conversation c;
  UserMessage question;
  question.content = Json::parse(R"([{"type": "image", "image": "x.png"}])");
  question.media.resize(1);
  c.ask(std::move(question));
  const Json saved = Json::parse(saved_conversation(c, "m"));
  EXPECT_EQ(saved["messages"][0]["content"][0]["image_url"]["url"],
            "file://" + (std::filesystem::current_path() / "x.png").string());
}

TEST(SavedConversation, ParsingGivesPartsWithPaths) {
  const auto parsed = parse_conversation(R"({"messages": [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///a%20b.png"}},
                                 {"type": "text", "text": "q"}]},
    {"role": "assistant", "content": "a"}], "metadata": {"interrupted": "1"}})");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->system, "");
  ASSERT_EQ(parsed->turns.size(), 2U);
  EXPECT_EQ(
      parsed->turns[0].content,
      Json::parse(R"([{"type": "image", "image": "/a b.png"}, {"type": "text", "text": "q"}])"));
  EXPECT_TRUE(parsed->turns[1].is_answer);
  EXPECT_TRUE(parsed->turns[1].interrupted);
}

TEST(SavedConversation, WhatIsNotAConversationIsRefusedByMessage) {
  EXPECT_FALSE(parse_conversation("{"));
  EXPECT_FALSE(parse_conversation("[]"));
  EXPECT_NE(refusal("{}").find("list of messages"), std::string::npos);
  EXPECT_NE(refusal("[1]").find("message 0: expected a role"), std::string::npos);
  EXPECT_NE(refusal(R"([{"role": "assistant", "content": "a"}])")
                .find("message 0: expected the role user"),
            std::string::npos);
  EXPECT_NE(refusal(R"([{"role": "user", "content": "a"}, {"role": "system", "content": "s"}])")
                .find("message 1: expected the role assistant"),
            std::string::npos);
  for (const char* url : {"https://x.y/z.png", "data:image/png;base64,AA==", "file://host/x",
                          "file:///a%0", "file:///a%zz", "file:///a%00b", "/etc/passwd"}) {
    const Json part = {{"type", "image_url"}, {"image_url", {{"url", url}}}};
    const Json messages = Json::array({{{"role", "user"}, {"content", Json::array({part})}}});
    EXPECT_NE(refusal(messages.dump()).find("message 0: expected parts"), std::string::npos) << url;
  }
}

}  // namespace
}  // namespace qvl

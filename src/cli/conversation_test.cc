#include "cli/conversation.h"

#include <gtest/gtest.h>

#include "cli/saved_conversation.h"
#include "model/tiny_processor.h"

namespace qvl {
namespace {

UserMessage question(const std::vector<std::string>& inputs) {
  Result<UserMessage> message = read_inputs(inputs, tiny_processor(), {});
  if (!message) ADD_FAILURE() << message.error().message();
  return message ? std::move(*message) : UserMessage{};
}

std::string roles(const Conversation& conversation) {
  std::string out;
  for (const Json& message : conversation.messages()) {
    out += message["role"].get<std::string>().substr(0, 1);
  }
  return out;
}

TEST(Conversation, QuestionsAndAnswersTakeTurnsAfterTheSystemMessage) {
  Conversation c;
  EXPECT_FALSE(c.waits_for_answer());
  c.ask(question({"one"}));
  EXPECT_TRUE(c.waits_for_answer());
  c.answer("1", AnswerEnd::complete);
  EXPECT_FALSE(c.waits_for_answer());
  EXPECT_EQ(roles(c), "ua");
  c.set_system("Be brief.");
  EXPECT_EQ(roles(c), "sua");
  c.clear();
  EXPECT_EQ(roles(c), "s");
}

TEST(Conversation, ARequestHoldsTheMediaOfAllQuestions) {
  Conversation c;
  c.ask(question({kTinyMedia + "small.png", "What?"}));
  c.answer("x", AnswerEnd::complete);
  const Result<Request> first = c.request(tiny_processor());
  ASSERT_TRUE(first);
  c.ask(question({kTinyMedia + "frames", kTinyMedia + "gray.png", "And this?"}));
  const Result<Request> second = c.request(tiny_processor());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->media.size(), 3U);
  EXPECT_GT(second->prompt_tokens.size(), first->prompt_tokens.size());
  EXPECT_EQ(second->media[0].content_hash, first->media[0].content_hash);
}

TEST(Conversation, AQuestionCanBeTakenBackWithItsMedia) {
  Conversation c;
  c.ask(question({kTinyMedia + "small.png", "What?"}));
  c.answer("x", AnswerEnd::complete);
  c.ask(question({kTinyMedia + "gray.png", kTinyMedia + "rgba.png", "And?"}));
  const UserMessage taken = c.take_question();
  EXPECT_EQ(taken.media.size(), 2U);
  EXPECT_EQ(taken.content.size(), 3U);
  EXPECT_EQ(roles(c), "ua");
  EXPECT_EQ(c.request(tiny_processor())->media.size(), 1U);
}

TEST(Conversation, ForgettingAnAnswerLeavesItsQuestion) {
  Conversation c;
  EXPECT_FALSE(c.forget_answer());
  c.ask(question({"one"}));
  c.answer("1", AnswerEnd::interrupted);
  c.set_system("s");
  EXPECT_EQ(c.interrupted(), std::set<size_t>{2});
  EXPECT_TRUE(c.forget_answer());
  EXPECT_TRUE(c.waits_for_answer());
  EXPECT_TRUE(c.interrupted().empty());
  EXPECT_TRUE(c.forget_answer()) << "the question is still there";
}

TEST(SavedConversation, ComesBackAsItWas) {
  Conversation c;
  c.set_system("s");
  c.ask(question({kTinyMedia + "small.png", kTinyMedia + "frames", "What?"}));
  c.answer("x \"y\"\n", AnswerEnd::interrupted);
  c.ask(question({"你好"}));
  const std::string text = saved_conversation(c, "tiny");
  const Result<Conversation> loaded = load_conversation(text, tiny_processor(), 24);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(saved_conversation(*loaded, "tiny"), text);
  EXPECT_EQ(loaded->interrupted(), std::set<size_t>{2});
  EXPECT_EQ(loaded->request(tiny_processor())->prompt_tokens,
            c.request(tiny_processor())->prompt_tokens);
}

}  // namespace
}  // namespace qvl

#include "runtime/answer.h"

#include <gtest/gtest.h>

#include "runtime/philox.h"

namespace qvl {
namespace {

Tokenizer make_tokenizer() {
  Result<Tokenizer> tokenizer =
      Tokenizer::load(QVL_SOURCE_DIR "/tests/goldens/tiny-2b/tokenizer.json");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message();
  return std::move(*tokenizer);
}

class AnswerTest : public testing::Test {
 protected:
  /// The token of exactly these bytes.
  int32_t token(std::string_view bytes) const {
    for (int32_t id = 0; id < tokenizer_.size(); ++id) {
      if (tokenizer_.bytes(id) == bytes) return id;
    }
    ADD_FAILURE() << "no token for " << bytes;
    return 0;
  }

  /// Pushes one token per character; stops when the answer asks for it.
  std::string say(Answer& answer, std::string_view text) const {
    std::string out;
    for (const char c : text) {
      Event event;
      event.token = token(std::string(1, c));
      out += answer.push(event);
    }
    return out;
  }

  static Event end(FinishReason reason, StopCause cause = StopCause::none,
                   int32_t stop_token = -1) {
    Event event;
    event.finish = reason;
    event.stop_cause = cause;
    event.stop_token = stop_token;
    event.usage.prompt_tokens = 9;
    event.usage.completion_tokens = 100;
    return event;
  }

  Tokenizer tokenizer_ = make_tokenizer();
};

TEST_F(AnswerTest, TextComesAsItBecomesCertain) {
  Answer answer(tokenizer_, {});
  EXPECT_EQ(say(answer, "ab"), "ab");
  // 北 is three bytes, here three tokens
  EXPECT_EQ(say(answer, "\xe5\x8c"), "");
  EXPECT_EQ(say(answer, "\x97"), "北");
  EXPECT_FALSE(answer.finished());
  EXPECT_EQ(say(answer, "\xe5"), "");
  EXPECT_EQ(answer.push(end(FinishReason::length)), "\xef\xbf\xbd");
  EXPECT_TRUE(answer.finished());
  EXPECT_EQ(answer.text(), "ab北\xef\xbf\xbd");
  EXPECT_EQ(answer.finish_reason(), FinishReason::length);
  EXPECT_EQ(answer.stop_reason(), StopReason());
  EXPECT_EQ(answer.usage().completion_tokens, 100);
}

TEST_F(AnswerTest, AStopStringEndsItAndWhatFollowsIsDropped) {
  Answer answer(tokenizer_, {.stop = {"end"}});
  EXPECT_EQ(say(answer, "the en"), "the ");
  EXPECT_FALSE(answer.wants_cancel());
  EXPECT_EQ(say(answer, "d"), "");
  EXPECT_TRUE(answer.wants_cancel());
  EXPECT_FALSE(answer.finished());
  EXPECT_EQ(say(answer, "more"), "");
  EXPECT_EQ(answer.push(end(FinishReason::cancelled)), "");
  EXPECT_FALSE(answer.wants_cancel());
  EXPECT_EQ(answer.text(), "the ");
  EXPECT_EQ(answer.finish_reason(), FinishReason::stop);
  EXPECT_EQ(answer.stop_reason(), StopReason("end"));
  EXPECT_EQ(answer.usage().completion_tokens, 7);
  EXPECT_EQ(answer.usage().prompt_tokens, 9);
}

TEST_F(AnswerTest, AStopStringInsideATokenCutsIt) {
  int32_t word = -1;  // any token of three letters or more
  for (int32_t id = 0; id < tokenizer_.size() && word < 0; ++id) {
    const std::string_view bytes = tokenizer_.bytes(id);
    if (bytes.size() >= 3 && !tokenizer_.is_special(id) &&
        static_cast<unsigned char>(bytes[0]) < 0x80 && bytes[1] != bytes[0]) {
      word = id;
    }
  }
  ASSERT_GE(word, 0);
  const std::string bytes(tokenizer_.bytes(word));
  for (const bool include : {false, true}) {
    Answer answer(tokenizer_,
                  {.stop = {bytes.substr(1, 1)}, .include_stop_str_in_output = include});
    Event event;
    event.token = word;
    EXPECT_EQ(answer.push(event), bytes.substr(0, include ? 2 : 1));
    EXPECT_TRUE(answer.wants_cancel());
  }
}

TEST_F(AnswerTest, AStopStringWithTheLastTokenIsAStop) {
  Answer answer(tokenizer_, {.stop = {"b"}});
  Event event = end(FinishReason::length);
  event.token = token("b");
  EXPECT_EQ(answer.push(event), "");
  EXPECT_TRUE(answer.finished());
  EXPECT_FALSE(answer.wants_cancel());
  EXPECT_EQ(answer.finish_reason(), FinishReason::stop);
  EXPECT_EQ(answer.stop_reason(), StopReason("b"));
}

TEST_F(AnswerTest, AHeldBackTailComesWithTheEnd) {
  Answer answer(tokenizer_, {.stop = {"end"}});
  EXPECT_EQ(say(answer, "the en"), "the ");
  EXPECT_EQ(answer.push(end(FinishReason::stop, StopCause::eos, 5)), "en");
  EXPECT_EQ(answer.text(), "the en");
  EXPECT_EQ(answer.finish_reason(), FinishReason::stop);
  EXPECT_EQ(answer.stop_reason(), StopReason());
}

TEST_F(AnswerTest, StopStringsWithinMinTokensAreText) {
  Answer answer(tokenizer_, {.min_tokens = 3, .stop = {"b"}});
  EXPECT_EQ(say(answer, "abb"), "abb");
  EXPECT_FALSE(answer.wants_cancel());
  EXPECT_EQ(say(answer, "ab"), "a");
  EXPECT_TRUE(answer.wants_cancel());
}

TEST_F(AnswerTest, TheStopReasonNamesTokenAndRepetition) {
  Answer by_token(tokenizer_, {});
  by_token.push(end(FinishReason::stop, StopCause::stop_token, 17));
  EXPECT_EQ(by_token.stop_reason(), StopReason(17));
  Answer by_loop(tokenizer_, {});
  by_loop.push(end(FinishReason::stop, StopCause::repetition));
  EXPECT_EQ(by_loop.stop_reason(), StopReason("repetition"));
}

TEST_F(AnswerTest, AFailedAnswerStaysFailed) {
  Answer answer(tokenizer_, {});
  say(answer, "ab");
  answer.push(end(FinishReason::error));
  EXPECT_EQ(answer.finish_reason(), FinishReason::error);
}

TEST_F(AnswerTest, PiecesJoinToTheTextOfAllTokensForRandomTokens) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Answer with_stops(tokenizer_, {.stop = {"never said", "qqqqqq", "\xe5\x8c\x97\xe4\xba\xac!"}});
    Detokenizer plain(tokenizer_, Detokenizer::Special::skip);
    std::string expected;
    std::string got;
    for (uint64_t i = 0; i < 100; ++i) {
      Event event;
      event.token = static_cast<int32_t>(uniform(seed, i) * tokenizer_.size());
      expected += plain.push(event.token);
      got += with_stops.push(event);
    }
    expected += plain.finish();
    got += with_stops.push(end(FinishReason::length));
    ASSERT_EQ(got, expected);
    ASSERT_EQ(with_stops.text(), expected);
  }
}

}  // namespace
}  // namespace qvl

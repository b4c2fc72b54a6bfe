#include "openai/reply.h"

#include <gtest/gtest.h>

#include "model/tiny_processor.h"
#include "openai/request_testing.h"

namespace qvl {
namespace {

/// One reply and the events that a test gives it.
class ReplyTest : public testing::Test {
 protected:
  void chat(const std::string& fields, bool starts_in_reasoning = false) {
    Result<ChatRequest> request = parse_chat_request(chat_with(fields), {});
    ASSERT_TRUE(request) << request.error().message();
    PreparedRequest prepared;
    prepared.request.prompt_tokens.resize(10);
    prepared.request.spans = {{.first_token = 1, .rows = 6}};
    prepared.request.sampling = request->options.sampling;
    prepared.starts_in_reasoning = starts_in_reasoning;
    reply_.emplace(chat_reply(*request, prepared, kHead), tokenizer_);
  }

  void completion(const std::string& body, const std::string& echo = "") {
    Result<CompletionRequest> request = parse_completion_request(body, {});
    ASSERT_TRUE(request) << request.error().message();
    std::vector<PreparedRequest> prepared(request->prompts.size());
    for (PreparedRequest& one : prepared) {
      one.request.prompt_tokens.resize(3);
      one.echo = echo;
    }
    reply_.emplace(completion_reply(*request, prepared, kHead), tokenizer_);
  }

  int32_t id(std::string_view text) { return tokenizer_.encode(text, Origin::template_text).at(0); }

  /// The frames of a text, a token at a time.
  std::vector<std::string> tokens(size_t choice, std::string_view text) {
    std::vector<std::string> frames;
    for (const int32_t token : tokenizer_.encode(text, Origin::template_text)) {
      if (reply_->wants_cancel(choice)) break;
      Event event{.token = token, .logprob = -1};
      event.top_logprobs = {{token, -1}};
      for (std::string& frame : reply_->push(choice, event)) frames.push_back(std::move(frame));
    }
    return frames;
  }

  std::vector<std::string> finish(size_t choice, FinishReason reason = FinishReason::stop,
                                  StopCause cause = StopCause::eos) {
    Event event{.finish = reason, .stop_cause = cause};
    event.usage = {.prompt_tokens = 10, .image_tokens = 6, .cached_tokens = 2};
    return reply_->push(choice, event);
  }

  WireJson body() { return WireJson::parse(reply_->body()); }

  /// Deltas of the frames, one per line.
  static std::string deltas(const std::vector<std::string>& frames) {
    std::string out;
    for (const std::string& frame : frames) {
      const WireJson choice = WireJson::parse(frame)["choices"][0];
      out += (choice.contains("delta") ? choice["delta"] : choice["text"]).dump() + "\n";
    }
    return out;
  }

  static inline const ReplyHead kHead{
      .id = "x", .created = 1, .model = "tiny", .fingerprint = "qvl-1"};
  const Tokenizer& tokenizer_ = tiny_processor().tokenizer();
  std::optional<Reply> reply_;
};

TEST_F(ReplyTest, AChatBodyHasTheAnswerAndItsUsage) {
  chat("");
  EXPECT_TRUE(reply_->start().empty());
  EXPECT_TRUE(tokens(0, "ab").empty());
  const auto count = static_cast<int64_t>(tokenizer_.encode("ab", Origin::user).size());
  EXPECT_FALSE(reply_->finished());
  EXPECT_TRUE(finish(0).empty());
  EXPECT_TRUE(reply_->finished());
  const WireJson json = body();
  EXPECT_EQ(json["choices"][0]["message"]["content"], "ab");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(json["choices"][0]["stop_reason"], nullptr);
  EXPECT_EQ(json["choices"][0]["logprobs"], nullptr);
  EXPECT_EQ(json["usage"]["completion_tokens"], count);
  EXPECT_EQ(json["usage"]["prompt_tokens_details"].dump(),
            R"({"cached_tokens":2,"image_tokens":6,"text_tokens":4})");
}

TEST_F(ReplyTest, AStreamBeginsWithTheRoleAndEndsWithTheReason) {
  chat(R"(, "stream": true, "stream_options": {"include_usage": true})");
  EXPECT_EQ(deltas(reply_->start()), "{\"role\":\"assistant\",\"content\":\"\"}\n");
  std::string text;
  for (const std::string& frame : tokens(0, "hello there")) {
    const WireJson choice = WireJson::parse(frame)["choices"][0];
    EXPECT_EQ(choice["finish_reason"], nullptr);
    text += choice["delta"]["content"].get<std::string>();
  }
  EXPECT_EQ(text, "hello there");
  const auto last = finish(0, FinishReason::length, StopCause::none);
  ASSERT_EQ(last.size(), 1);
  EXPECT_EQ(last[0],
            R"({"id":"x","object":"chat.completion.chunk","created":1,"model":"tiny","choices":)"
            R"([{"index":0,"delta":{},"logprobs":null,"finish_reason":"length",)"
            R"("stop_reason":null}],"system_fingerprint":"qvl-1"})");
  const auto end = reply_->end();
  ASSERT_EQ(end.size(), 1);
  EXPECT_EQ(WireJson::parse(end[0])["choices"].size(), 0);
  EXPECT_EQ(WireJson::parse(end[0])["usage"]["prompt_tokens"], 10);
}

TEST_F(ReplyTest, WithoutIncludeUsageThereIsNoLastFrame) {
  chat(R"(, "stream": true)");
  finish(0);
  EXPECT_TRUE(reply_->end().empty());
}

TEST_F(ReplyTest, ContinuousUsageIsInEveryFrame) {
  chat(R"(, "stream": true, "stream_options": {"continuous_usage_stats": true})");
  EXPECT_EQ(WireJson::parse(reply_->start()[0])["usage"]["total_tokens"], 10);
  EXPECT_EQ(WireJson::parse(tokens(0, "a")[0])["usage"]["total_tokens"], 11);
}

TEST_F(ReplyTest, ReasoningAndContentArePartedInAStreamAndInABody) {
  const std::string text = "so\n</think>\n\nyes";
  chat(R"(, "stream": true)", /*starts_in_reasoning=*/true);
  std::string reasoning;
  std::string content;
  for (const std::string& frame : tokens(0, text)) {
    const WireJson delta = WireJson::parse(frame)["choices"][0]["delta"];
    EXPECT_EQ(delta.value("reasoning", ""), delta.value("reasoning_content", ""));
    reasoning += delta.value("reasoning", "");
    content += delta.value("content", "");
  }
  EXPECT_EQ(reasoning, "so");
  EXPECT_EQ(content, "yes");

  chat("", /*starts_in_reasoning=*/true);
  tokens(0, text);
  finish(0);
  const WireJson json = body();
  EXPECT_EQ(json["choices"][0]["message"]["reasoning"], "so");
  EXPECT_EQ(json["choices"][0]["message"]["content"], "yes");
  const auto before = tokenizer_.encode("so\n", Origin::user).size();
  EXPECT_EQ(json["usage"]["completion_tokens_details"]["reasoning_tokens"], before);
}

TEST_F(ReplyTest, ReasoningIsLeftOutIfItIsNotWanted) {
  chat(R"(, "include_reasoning": false)", /*starts_in_reasoning=*/true);
  tokens(0, "so</think>yes");
  finish(0);
  EXPECT_EQ(body()["choices"][0]["message"]["reasoning"], nullptr);
  EXPECT_EQ(body()["choices"][0]["message"]["content"], "yes");
}

TEST_F(ReplyTest, AStopStringEndsAnAnswerAndIsNamed) {
  chat(R"(, "stop": ["lo"], "stream": true)");
  const std::string given = deltas(tokens(0, "hello there"));
  EXPECT_EQ(given.find("lo"), std::string::npos);
  EXPECT_TRUE(reply_->wants_cancel(0));
  const auto last = finish(0, FinishReason::cancelled, StopCause::none);
  const WireJson choice = WireJson::parse(last.at(0))["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["stop_reason"], "lo");
}

TEST_F(ReplyTest, LogProbabilitiesComeWithTheirToken) {
  chat(R"(, "logprobs": true, "top_logprobs": 1, "stream": true)");
  const auto frames = tokens(0, "a");
  ASSERT_EQ(frames.size(), 1);
  EXPECT_EQ(WireJson::parse(frames[0])["choices"][0]["logprobs"].dump(),
            R"({"content":[{"token":"a","logprob":-1.0,"bytes":[97],"top_logprobs":[)"
            R"({"token":"a","logprob":-1.0,"bytes":[97]}]}]})");

  chat(R"(, "logprobs": true)");
  tokens(0, "ab");
  finish(0);
  EXPECT_EQ(body()["choices"][0]["logprobs"]["content"].size(),
            tokenizer_.encode("ab", Origin::user).size());
}

TEST_F(ReplyTest, ATokenWithoutTextStillHasItsLogProbability) {
  chat(R"(, "logprobs": true, "stream": true)");
  const auto frames = reply_->push(0, {.token = id("<|im_end|>"), .logprob = -1});
  ASSERT_EQ(frames.size(), 1);
  EXPECT_EQ(deltas(frames), "{\"content\":\"\"}\n");
}

TEST_F(ReplyTest, EachPromptHasItsAnswersInTurn) {
  completion(R"({"prompt": ["p", "q"], "n": 2})");
  EXPECT_EQ(reply_->choice(1, 0), 2);
  for (size_t i = 0; i < 4; ++i) {
    tokens(i, std::string(1, static_cast<char>('a' + i)));
    finish(i);
  }
  const WireJson json = body();
  EXPECT_EQ(json["object"], "text_completion");
  ASSERT_EQ(json["choices"].size(), 4);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(json["choices"][i]["index"], i);
    EXPECT_EQ(json["choices"][i]["text"], std::string(1, static_cast<char>('a' + i)));
  }
  EXPECT_EQ(json["usage"]["prompt_tokens"], 6);  // each prompt once
  EXPECT_EQ(json["usage"]["completion_tokens"], 4);
}

TEST_F(ReplyTest, EchoPutsThePromptBeforeTheAnswer) {
  completion(R"({"prompt": "p", "echo": true})", "pré");
  tokens(0, "a");
  finish(0);
  EXPECT_EQ(body()["choices"][0]["text"], "préa");

  completion(R"({"prompt": "p", "echo": true, "stream": true})", "pré");
  EXPECT_EQ(deltas(reply_->start()), "\"pré\"\n");
  EXPECT_EQ(deltas(tokens(0, "a")), "\"a\"\n");
}

TEST_F(ReplyTest, OffsetsOfLogProbabilitiesGoOnFromFrameToFrame) {
  completion(R"({"prompt": "p", "logprobs": 0, "stream": true})");
  const auto frames = tokens(0, "abc def");
  int64_t offset = 0;
  for (const std::string& frame : frames) {
    const WireJson logprobs = WireJson::parse(frame)["choices"][0]["logprobs"];
    EXPECT_EQ(logprobs["text_offset"][0], offset);
    offset += static_cast<int64_t>(logprobs["tokens"][0].get<std::string>().size());
  }
  EXPECT_EQ(offset, 7);
}

TEST_F(ReplyTest, AnErrorOfTheEngineIsSeen) {
  chat("");
  EXPECT_FALSE(reply_->failed());
  finish(0, FinishReason::error, StopCause::none);
  EXPECT_TRUE(reply_->finished());
  EXPECT_TRUE(reply_->failed());
}

}  // namespace
}  // namespace qvl

#include "openai/responses.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "model/tiny_processor.h"

namespace qvl {
namespace {

const ReplyHead kHead{.id = "chatcmpl-1", .created = 5, .model = "m", .fingerprint = "qvl-1"};

int32_t token_of(std::string_view text) {
  return tiny_processor().tokenizer().encode(text, Origin::user).at(0);
}

/// A token whose bytes are a part of a character.
int32_t partial_token() {
  const Tokenizer& tokenizer = tiny_processor().tokenizer();
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.bytes(id) == "\xe2") return id;
  }
  return -1;
}

TEST(Responses, AChatBodyHasItsFieldsInOrder) {
  const WireJson body =
      chat_body(kHead, {{.content = "hi", .finish = FinishReason::stop, .stop_reason = "END"}},
                {{"u", 1}}, {{"t", 2}});
  EXPECT_EQ(
      dump(body),
      R"({"id":"chatcmpl-1","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,)"
      R"("message":{"role":"assistant","content":"hi","refusal":null,"annotations":null,"audio":null,)"
      R"("function_call":null,"reasoning":null},"logprobs":null,"finish_reason":"stop",)"
      R"("stop_reason":"END"}],"service_tier":null,"system_fingerprint":"qvl-1","usage":{"u":1},)"
      R"("prompt_logprobs":null,"kv_transfer_params":null,"timings":{"t":2}})");
}

TEST(Responses, ReasoningHasBothItsNamesAndAnEmptyAnswerIsNull) {
  const WireJson body = chat_body(
      kHead, {{.content = "", .reasoning = "hm", .finish = FinishReason::length}}, {}, {});
  EXPECT_EQ(dump(body["choices"][0]["message"]),
            R"({"role":"assistant","content":null,"refusal":null,"annotations":null,"audio":null,)"
            R"("function_call":null,"reasoning":"hm","reasoning_content":"hm"})");
}

TEST(Responses, AChunkSaysItsStopReasonOnlyAtTheEnd) {
  EXPECT_EQ(dump(chat_chunk(kHead, 1, {{"content", "x"}}, nullptr, FinishReason::none, {})),
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m",)"
            R"("choices":[{"index":1,"delta":{"content":"x"},"logprobs":null,)"
            R"("finish_reason":null}]})");
  EXPECT_EQ(dump(chat_chunk(kHead, 0, WireJson::object(), nullptr, FinishReason::stop, 7)),
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m",)"
            R"("choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop",)"
            R"("stop_reason":7}],"system_fingerprint":"qvl-1"})");
}

TEST(Responses, ATextCompletionNumbersItsChoices) {
  EXPECT_EQ(dump(text_completion(kHead, {{.text = "a"}, {.text = "b"}}, 2)),
            R"({"id":"chatcmpl-1","object":"text_completion","created":5,"model":"m","choices":[)"
            R"({"index":2,"text":"a","logprobs":null,"finish_reason":null,"stop_reason":null},)"
            R"({"index":3,"text":"b","logprobs":null,"finish_reason":null,"stop_reason":null}]})");
}

TEST(Responses, TheUsageFrameHasNoChoices) {
  EXPECT_EQ(dump(usage_chunk(kHead, "o", {{"u", 1}})),
            R"({"id":"chatcmpl-1","object":"o","created":5,"model":"m","choices":[],)"
            R"("usage":{"u":1}})");
}

TEST(Responses, UsageAddsUp) {
  const Usage usage{
      .prompt_tokens = 10, .image_tokens = 6, .cached_tokens = 4, .completion_tokens = 3};
  EXPECT_EQ(dump(usage_json(usage, -1)),
            R"({"prompt_tokens":10,"total_tokens":13,"completion_tokens":3,)"
            R"("prompt_tokens_details":{"cached_tokens":4,"image_tokens":6,"text_tokens":4}})");
  EXPECT_EQ(usage_json(usage, 2)["completion_tokens_details"].dump(), R"({"reasoning_tokens":2})");
}

TEST(Responses, FinishReasonsHaveTheirWireNames) {
  EXPECT_EQ(finish_reason_json(FinishReason::none), nullptr);
  EXPECT_EQ(finish_reason_json(FinishReason::stop), "stop");
  EXPECT_EQ(finish_reason_json(FinishReason::length), "length");
  EXPECT_EQ(finish_reason_json(FinishReason::cancelled), "abort");
  EXPECT_EQ(finish_reason_json(FinishReason::error), "error");
}

TEST(Responses, ALogProbabilityHasTheBytesOfItsToken) {
  const Tokenizer& tokenizer = tiny_processor().tokenizer();
  const int32_t a = token_of("a");
  Event event{.token = a, .logprob = -0.5F};
  event.top_logprobs = {{a, -0.5F}, {partial_token(), -std::numeric_limits<float>::infinity()}};
  EXPECT_EQ(dump(chat_logprob_json(event, tokenizer, TokenNames::text)),
            R"({"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[)"
            R"({"token":"a","logprob":-0.5,"bytes":[97]},)"
            "{\"token\":\"\xEF\xBF\xBD\",\"logprob\":-9999.0,\"bytes\":[226]}]}");
  EXPECT_EQ(chat_logprob_json(event, tokenizer, TokenNames::ids)["token"],
            fmt::format("token_id:{}", a));
}

TEST(Responses, CompletionLogProbabilitiesCountCharacters) {
  const Tokenizer& tokenizer = tiny_processor().tokenizer();
  Event first{.token = token_of("b"), .logprob = -1};
  first.top_logprobs = {{token_of("a"), -0.25F}};
  const Event second{.token = partial_token(), .logprob = -2};
  int64_t offset = 4;
  EXPECT_EQ(dump(completion_logprobs_json({first, second}, tokenizer, TokenNames::text, offset)),
            R"({"text_offset":[4,5],"token_logprobs":[-1.0,-2.0],"tokens":["b","bytes:\\xe2"],)"
            R"("top_logprobs":[{"b":-1.0,"a":-0.25},{"bytes:\\xe2":-2.0}]})");
  EXPECT_EQ(offset, 6);
}

TEST(Responses, NoBytesMakeTheWriterFail) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  for (const std::string& text : {all, std::string("\xff"), std::string("\xed\xa0\x80")}) {
    WireJson body = chat_body({.id = text, .model = text, .fingerprint = text},
                              {{.content = text, .reasoning = text, .stop_reason = text}}, {}, {});
    body[text] = text;
    const std::string written = dump(body);
    EXPECT_EQ(written.find('\n'), std::string::npos);
    EXPECT_FALSE(WireJson::parse(written, nullptr, false).is_discarded());
  }
}

TEST(Responses, IdsDiffer) {
  const std::string id = make_id("chatcmpl-");
  EXPECT_EQ(id.size(), 9 + 32);
  EXPECT_TRUE(id.starts_with("chatcmpl-"));
  EXPECT_NE(id, make_id("chatcmpl-"));
}

}  // namespace
}  // namespace qvl

#include "openai/completion_request.h"

#include <gtest/gtest.h>

#include "openai/request_testing.h"

namespace qvl {
namespace {

std::vector<CompletionPrompt> prompts(const std::string& json) {
  const auto request = parse_completion_request("{\"prompt\": " + json + "}", {});
  EXPECT_TRUE(request) << request.error().message();
  return request->prompts;
}

TEST(CompletionRequest, APromptHasFourForms) {
  using Tokens = std::vector<int32_t>;
  EXPECT_EQ(prompts(R"("a")"), std::vector<CompletionPrompt>{"a"});
  EXPECT_EQ(prompts(R"(["a", "b"])"), (std::vector<CompletionPrompt>{"a", "b"}));
  EXPECT_EQ(prompts("[1, 2]"), (std::vector<CompletionPrompt>{Tokens{1, 2}}));
  EXPECT_EQ(prompts("[[1, 2], [3]]"), (std::vector<CompletionPrompt>{Tokens{1, 2}, Tokens{3}}));
}

TEST(CompletionRequest, OtherPromptsAreRefusedByName) {
  const auto refusal = [](const std::string& prompt) {
    return completion_outcome("{\"prompt\": " + prompt + "}");
  };
  EXPECT_EQ(refusal("3"), "prompt: bad_request: found 3, expected a string or a list of token ids");
  EXPECT_EQ(refusal("[]"), "prompt: bad_request: found 0 prompts, expected 1 to 128");
  EXPECT_EQ(refusal("[[]]"),
            "prompt[0]: bad_request: found a list of 0, expected a string or a list of token ids");
  EXPECT_EQ(refusal("[1, -2]"),
            "prompt[0]: bad_request: found 1, expected a string or a list of token ids");
  EXPECT_EQ(refusal("[2147483648]"),
            "prompt[0]: bad_request: found 2147483648, expected a string or a list of token ids");
  EXPECT_EQ(completion_outcome("{}"),
            "prompt: bad_request: found nothing, expected a string or a list");
  EXPECT_EQ(refusal(R"("see data:image/png;base64,AAAA")"),
            "prompt: unsupported_field: found a picture in a text; pictures are parts of messages "
            "of /v1/chat/completions");
}

TEST(CompletionRequest, PromptsAreCounted) {
  EXPECT_EQ(prompts("[" + repeated("\"x\"", 128) + "]").size(), 128);
  EXPECT_EQ(completion_outcome("{\"prompt\": [" + repeated("\"x\"", 129) + "]}"),
            "prompt: bad_request: found 129 prompts, expected 1 to 128");
}

TEST(CompletionRequest, AnAnswerHasSixteenTokensUnlessAskedOtherwise) {
  const auto request = parse_completion_request(completion_with(""), {.max_tokens = 99});
  ASSERT_TRUE(request);
  EXPECT_EQ(request->options.max_tokens, 16);
  EXPECT_EQ(request->options.sampling.max_tokens, 16);
  EXPECT_EQ(request->options.sampling.top_logprobs, -1);
}

TEST(CompletionRequest, LogprobsIsANumber) {
  const auto request = parse_completion_request(completion_with(R"(, "logprobs": 0)"), {});
  ASSERT_TRUE(request);
  EXPECT_EQ(request->options.sampling.top_logprobs, 0);
  EXPECT_EQ(completion_outcome(completion_with(R"(, "logprobs": 21)")),
            "logprobs: bad_request: found 21, expected 0 to 20");
  EXPECT_EQ(completion_outcome(completion_with(R"(, "logprobs": 1, "echo": true)")),
            "echo: unsupported_field: prompts have no log probabilities");
}

}  // namespace
}  // namespace qvl

#include "openai/chat_request.h"

#include <gtest/gtest.h>

#include "openai/request_testing.h"

namespace qvl {
namespace {

ChatRequest parsed(const std::string& body, const ParseOptions& options = {}) {
  Result<ChatRequest> request = parse_chat_request(body, options);
  EXPECT_TRUE(request) << request.error().message();
  return std::move(*request);
}

TEST(ChatRequest, MessagesBecomeWhatTheTemplateTakes) {
  const ChatRequest request = parsed(R"({"messages": [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": ["look", )" +
                                     picture_part() + R"(,
      {"type": "input_text", "text": "what is it?"}], "name": "ann"},
    {"role": "assistant", "content": null, "reasoning": "hm",
     "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "content": "42", "tool_call_id": "c"}]})");
  EXPECT_EQ(request.messages, nlohmann::ordered_json::parse(R"([
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image"},
                                 {"type": "text", "text": "what is it?"}]},
    {"role": "assistant", "content": "", "reasoning_content": "hm",
     "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "content": "42"}])"));
  ASSERT_EQ(request.images.size(), 1);
  EXPECT_EQ(request.images[0].path, "messages[1].content[1]");
  EXPECT_EQ(request.images[0].bytes.size(), 70);
  EXPECT_EQ(request.images[0].bytes[1], 'P');
}

TEST(ChatRequest, FieldsBecomeSampling) {
  const ChatRequest request = parsed(chat_with(R"(, "model": "m", "temperature": 0.5, "top_k": -1,
    "top_p": 0.25, "min_p": 0.125, "seed": -1, "n": 3, "stop": "END", "stop_token_ids": [7],
    "logit_bias": {"11": -5, "7": 1.5}, "max_tokens": 5, "max_completion_tokens": 6,
    "min_tokens": 2, "ignore_eos": true, "include_stop_str_in_output": true, "logprobs": true,
    "top_logprobs": 2, "repetition_guard": "off", "presence_penalty": 1, "frequency_penalty": -1,
    "repetition_penalty": 1.25, "stream": true, "stream_options": {}, "priority": -4,
    "cache_salt": "s", "user": "u", "request_id": "r", "skip_special_tokens": false)"));
  const SamplingParams& p = request.options.sampling;
  EXPECT_EQ(p.temperature, 0.5F);
  EXPECT_EQ(p.top_k, 0);
  EXPECT_EQ(p.top_p, 0.25F);
  EXPECT_EQ(p.min_p, 0.125F);
  EXPECT_EQ(p.seed, UINT64_MAX);
  EXPECT_EQ(p.n, 3);
  EXPECT_EQ(p.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(p.stop_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(p.logit_bias, (std::vector<LogitBias>{{11, -5}, {7, 1.5}}));
  EXPECT_EQ(request.options.max_tokens, 6);
  EXPECT_EQ(p.max_tokens, 6);
  EXPECT_EQ(p.min_tokens, 2);
  EXPECT_TRUE(p.ignore_eos);
  EXPECT_TRUE(p.include_stop_str_in_output);
  EXPECT_EQ(p.top_logprobs, 2);
  EXPECT_EQ(p.repetition_guard, RepetitionGuard::off);
  EXPECT_EQ(p.presence_penalty, 1.0F);
  EXPECT_EQ(p.frequency_penalty, -1.0F);
  EXPECT_EQ(p.repetition_penalty, 1.25F);
  EXPECT_EQ(request.options.model, "m");
  EXPECT_TRUE(request.options.stream);
  EXPECT_TRUE(request.options.include_usage);
  EXPECT_FALSE(request.options.continuous_usage_stats);
  EXPECT_EQ(request.options.priority, -4);
  EXPECT_EQ(request.options.cache_salt, "s");
  EXPECT_EQ(request.options.user, "u");
  EXPECT_EQ(request.options.request_id, "r");
  EXPECT_FALSE(request.options.skip_special_tokens);
}

TEST(ChatRequest, WhatItDoesNotSayIsAsTheModelWants) {
  ParseOptions options;
  options.sampling.temperature = 0.7F;
  options.sampling.top_k = 20;
  options.sampling.eos_token_ids = {3};
  const ChatRequest request = parsed(chat_with(R"(, "top_k": 5)"), options);
  EXPECT_EQ(request.options.sampling.temperature, 0.7F);
  EXPECT_EQ(request.options.sampling.top_k, 5);
  EXPECT_EQ(request.options.sampling.eos_token_ids, std::vector<int32_t>{3});
  EXPECT_EQ(request.options.sampling.top_logprobs, -1);
  EXPECT_FALSE(request.options.max_tokens.has_value());
  options.max_tokens = 77;
  EXPECT_EQ(parsed(chat_with(""), options).options.max_tokens, 77);
}

TEST(ChatRequest, APictureHasLimitsOfItsOwnBeforeThoseOfTheRequest) {
  const std::string parts = "[" + picture_part() + "," + picture_part(R"(, "min_pixels": 2000)") +
                            R"(, {"type": "input_image", "image_url": ")" + kTinyPng +
                            R"(", "detail": "low"},
      {"type": "image_url", "image_url": {"url": "DATA:image/jpeg;charset=x;Base64,)" +
                            kTinyPng + R"(", "max_pixels": 5000, "detail": "high"}}])";
  const ChatRequest request = parsed(
      R"({"mm_processor_kwargs": {"max_pixels": 4000, "size": {"shortest_edge": 1024,
          "longest_edge": 9999}}, "messages": [{"role": "user", "content": )" +
      parts + "}]}");
  ASSERT_EQ(request.images.size(), 4);
  EXPECT_EQ(request.images[0].options.min_pixels, 1024);
  EXPECT_EQ(request.images[0].options.max_pixels, 4000);
  EXPECT_EQ(request.images[1].options.min_pixels, 2000);
  EXPECT_EQ(request.images[2].options.detail, ImageDetail::low);
  EXPECT_EQ(request.images[3].options.max_pixels, 5000);
  EXPECT_EQ(request.images[3].options.detail, ImageDetail::high);
}

TEST(ChatRequest, WhatIsNoPictureNamesItsPart) {
  const auto refusal = [](const std::string& url) {
    return chat_outcome(R"({"messages": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}, {"role": "user", "content": [
        {"type": "text", "text": "c"}, {"type": "image_url", "image_url": {"url": ")" +
                        url + "\"}}]}]}");
  };
  const std::string part = "messages[2].content[1]: ";
  EXPECT_EQ(refusal("https://example.com/a.png"),
            part +
                "unsupported_field: addresses on the network are not read; send the picture "
                "itself as data:image/png;base64,…");
  EXPECT_EQ(refusal("file:///etc/passwd"),
            part +
                "unsupported_field: files of the server are not read; send the picture itself "
                "as data:image/png;base64,…");
  EXPECT_EQ(refusal("ftp://x/a.png"),
            part + "bad_request: found \"ftp://x/a.png\", expected data:image/png;base64,…");
  EXPECT_EQ(refusal("data:image/png,abc"),
            part + "bad_request: found \"data:image/png,abc\", expected data:image/png;base64,…");
  EXPECT_EQ(refusal("data:application/pdf;base64,AAAA"),
            part +
                "unsupported_field: found \"application/pdf\", expected a picture such as "
                "image/png");
  EXPECT_EQ(refusal("data:image/png;base64,AAA!"),
            part + "bad_request: found byte 0x21 at offset 3 of the base64 text");
  EXPECT_EQ(refusal(""), part + "bad_image: found 0 bytes, expected 1 to 20971520");
}

TEST(ChatRequest, OtherPartsAreRefusedByName) {
  EXPECT_EQ(chat_outcome(chat_of(R"([{"type": "video_url", "video_url": {"url": "x"}}])")),
            "messages[0].content[0]: unsupported_field: videos as \"video_url\" are not taken, "
            "expected parts of type text and image_url");
  EXPECT_EQ(chat_outcome(chat_of(R"([{"type": "file", "file": {}}])")),
            "messages[0].content[0]: unsupported_field: files as \"file\" are not taken, "
            "expected parts of type text and image_url");
  EXPECT_EQ(chat_outcome(chat_of(R"([{"type": "hologram"}])")),
            "messages[0].content[0]: bad_request: found type \"hologram\", expected text or "
            "image_url");
  EXPECT_EQ(chat_outcome(chat_of(R"([{"type": "image_url"}])")),
            "messages[0].content[0]: bad_request: found no picture, expected image_url with a url "
            "of data:image/png;base64,…");
}

TEST(ChatRequest, MalformedMessagesAreNamed) {
  const auto refusal = [](const std::string& messages) {
    return chat_outcome("{\"messages\": " + messages + "}");
  };
  EXPECT_EQ(refusal("[]"), "messages: bad_request: found 0 messages, expected 1 to 4096");
  EXPECT_EQ(refusal("[3]"), "messages[0]: bad_request: found 3, expected an object");
  EXPECT_EQ(refusal(R"([{"content": "x"}])"),
            "messages[0].role: bad_request: found no role, expected system, user, assistant or "
            "tool");
  EXPECT_EQ(refusal(R"([{"role": "root", "content": "x"}])"),
            "messages[0].role: bad_request: found \"root\", expected system, user, assistant or "
            "tool");
  EXPECT_EQ(refusal(R"([{"role": "user"}])"),
            "messages[0].content: bad_request: found nothing, expected a string or a list of "
            "parts");
  EXPECT_EQ(refusal(R"([{"role": "user", "content": {}}])"),
            "messages[0].content: bad_request: found an object, expected a string or a list of "
            "parts");
  EXPECT_EQ(refusal(R"([{"role": "user", "content": [5]}])"),
            "messages[0].content[0]: bad_request: found 5, expected an object with a type");
  EXPECT_EQ(refusal(R"([{"role": "user", "content": [{"type": "text"}]}])"),
            "messages[0].content[0].text: bad_request: expected a string");
  EXPECT_EQ(refusal(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}])"),
            "messages[0].tool_calls[0]: bad_request: expected a function with a name and "
            "arguments, both strings");
  EXPECT_EQ(chat_outcome("{}"),
            "messages: bad_request: found nothing, expected a list of messages");
  EXPECT_EQ(chat_outcome("[]"), ": bad_request: found a list of 0, expected an object");
}

TEST(ChatRequest, CountsAreTakenAtTheirLimitsAndRefusedBeyond) {
  const auto messages = [](int64_t count) {
    return chat_outcome("{\"messages\": [" + repeated(R"({"role": "user", "content": ""})", count) +
                        "]}");
  };
  EXPECT_EQ(messages(4096), "accepted");
  EXPECT_EQ(messages(4097), "messages: bad_request: found 4097 messages, expected 1 to 4096");

  const auto parts = [](int64_t each, int64_t messages_of_them) {
    const std::string message = R"({"role": "user", "content": [)" +
                                repeated(R"({"type": "text", "text": ""})", each) + "]}";
    return chat_outcome("{\"messages\": [" + repeated(message, messages_of_them) + "]}");
  };
  EXPECT_EQ(parts(256, 1), "accepted");
  EXPECT_EQ(parts(257, 1),
            "messages[0].content: bad_request: found 257 parts, 257 so far, expected at most 256 "
            "in a message and 1024 in all");
  EXPECT_EQ(parts(256, 4), "accepted");
  EXPECT_EQ(parts(205, 5),
            "messages[4].content: bad_request: found 205 parts, 1025 so far, expected at most 256 "
            "in a message and 1024 in all");

  const auto pictures = [](int64_t count) {
    return chat_outcome(chat_of("[" + repeated(picture_part(), count) + "]"));
  };
  EXPECT_EQ(pictures(64), "accepted");
  EXPECT_EQ(pictures(65), "messages[0].content[64]: bad_request: found more than 64 pictures");
}

TEST(ChatRequest, SizesAreTakenAtTheirLimitsAndRefusedBeyond) {
  const std::string body = chat_of("[" + picture_part() + "]");
  ParseOptions options;
  options.fields.limits.max_body_bytes = body.size();
  EXPECT_EQ(chat_outcome(body, options), "accepted");
  EXPECT_EQ(chat_outcome(body + " ", options),
            fmt::format(": request_too_large: found {} bytes, expected at most {}", body.size() + 1,
                        body.size()));
  options = {};
  options.fields.limits.max_image_bytes = 70;
  EXPECT_EQ(chat_outcome(body, options), "accepted");
  options.fields.limits.max_image_bytes = 69;
  EXPECT_EQ(chat_outcome(body, options),
            "messages[0].content[0]: image_too_large: found 70 bytes, expected 1 to 69");
  options = {};
  options.fields.limits.max_json_values = 10;
  EXPECT_EQ(chat_outcome(chat_with(R"(, "metadata": {"a": [1, 2, 3]})"), options), "accepted");
  EXPECT_EQ(chat_outcome(chat_with(R"(, "metadata": {"a": [1, 2, 3, 4]})"), options),
            ": bad_request: JSON: found more than 10 values");
}

TEST(ChatRequest, StopsAndBiasesAreTakenAtTheirLimitsAndRefusedBeyond) {
  const auto stops = [](int64_t count, size_t bytes) {
    return chat_outcome(
        chat_with(", \"stop\": [" + repeated("\"" + std::string(bytes, 'x') + "\"", count) + "]"));
  };
  EXPECT_EQ(stops(16, 1024), "accepted");
  EXPECT_EQ(stops(17, 1), "stop: bad_sampling: found 17 strings, expected at most 16");
  EXPECT_EQ(stops(1, 1025),
            "stop: bad_sampling: found a string of 1025 bytes, expected 1 to 1024 bytes");
  EXPECT_EQ(stops(1, 0), "stop: bad_sampling: found a string of 0 bytes, expected 1 to 1024 bytes");
  const auto biases = [](int count) {
    std::string list;
    for (int i = 0; i < count; ++i) list += fmt::format("{}\"{}\": 1", i > 0 ? "," : "", i);
    return chat_outcome(chat_with(", \"logit_bias\": {" + list + "}"));
  };
  EXPECT_EQ(biases(1024), "accepted");
  EXPECT_EQ(biases(1025), "logit_bias: bad_sampling: found 1025 tokens, expected at most 1024");
  EXPECT_EQ(chat_outcome(chat_with(R"(, "logit_bias": {"5": 100.5})")),
            "logit_bias: bad_sampling: found 100.5, expected -100 to 100");
  EXPECT_EQ(chat_outcome(chat_with(R"(, "logit_bias": {"5 ": 1})")),
            "logit_bias: bad_request: found \"5 \": 1, expected a token id such as \"1234\" with a "
            "number");
}

TEST(ChatRequest, WhatItDoesNotSayIsAsTheOperatorWants) {
  ParseOptions options;
  options.tokens_as_ids = true;
  options.include_usage = true;
  options.template_variables = {{"enable_thinking", false}, {"lang", "de"}};
  const auto parsed = [&](const std::string& fields) {
    return *parse_chat_request(chat_with(fields), options);
  };
  const ChatRequest silent = parsed(R"(, "stream": true)");
  EXPECT_TRUE(silent.options.tokens_as_ids);
  EXPECT_TRUE(silent.options.include_usage);
  EXPECT_EQ(silent.prompt.template_variables.dump(), R"({"enable_thinking":false,"lang":"de"})");
  const ChatRequest says = parsed(
      R"(, "stream": true, "stream_options": {"include_usage": false},
         "return_tokens_as_token_ids": false, "chat_template_kwargs": {"lang": "fr"})");
  EXPECT_FALSE(says.options.tokens_as_ids);
  EXPECT_TRUE(says.options.include_usage);
  EXPECT_EQ(says.prompt.template_variables.dump(), R"({"enable_thinking":false,"lang":"fr"})");
  EXPECT_FALSE(parsed("").options.include_usage);
}

TEST(ChatRequest, FieldsThatContradictEachOtherAreNamed) {
  EXPECT_EQ(chat_outcome(chat_with(R"(, "top_logprobs": 3)")),
            "top_logprobs: bad_request: expected logprobs to be true with it");
  EXPECT_EQ(chat_outcome(chat_with(R"(, "stream_options": {"include_usage": true})")),
            "stream_options: bad_request: expected stream to be true with it");
  EXPECT_EQ(chat_outcome(chat_with(R"(, "continue_final_message": true)")),
            "continue_final_message: bad_request: expected add_generation_prompt to be false with "
            "it");
  EXPECT_EQ(chat_outcome(chat_with(R"(, "max_tokens": 3, "min_tokens": 4)")),
            "min_tokens: bad_sampling: found 4, expected 0 to 3");
  EXPECT_EQ(chat_outcome(chat_with(R"(, "chat_template_kwargs": {"messages": []})")),
            "chat_template_kwargs.messages: bad_request: the field of the request of this name "
            "sets it");
}

TEST(ChatRequest, BodiesThatAreNoJsonAreRefusedAtTheirByte) {
  EXPECT_EQ(chat_outcome("{\"a\": 1"), ": bad_request: JSON: syntax error near byte 8");
  EXPECT_EQ(chat_outcome("{\"a\": \"\xc3\x28\"}"),
            ": bad_request: JSON: syntax error near byte 9: a byte that is not UTF-8");
  EXPECT_EQ(chat_outcome(R"({"a": "\ud83d"})"),
            ": bad_request: JSON: syntax error near byte 14: a lone surrogate");
  EXPECT_EQ(chat_outcome(R"({"n": 1, "n": 2})"),
            ": bad_request: JSON: the name \"n\" appears twice in one object");
  EXPECT_EQ(chat_outcome(R"({"n": NaN})"), ": bad_request: JSON: syntax error near byte 7");
  const auto nested = [](int depth) {  // in two objects and a list of the body
    return chat_outcome(chat_with(R"(, "metadata": {"a": )" + std::string(depth - 2, '[') +
                                  std::string(depth - 2, ']') + "}"));
  };
  EXPECT_EQ(nested(64), "accepted");
  EXPECT_EQ(nested(65), ": bad_request: JSON: found values nested deeper than 64 levels");
}

TEST(ChatRequest, AHundredThousandNamesInOneObjectAreReadOnce) {
  std::string object;
  for (int i = 0; i < 100'000; ++i) object += fmt::format("{}\"{}\":0", i > 0 ? "," : "", i);
  EXPECT_EQ(chat_outcome(chat_with(", \"metadata\": {" + object + "}")), "accepted");
}

}  // namespace
}  // namespace qvl

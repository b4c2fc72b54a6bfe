/// `qvl serve` as its clients meet it: what every route answers.

#include <gtest/gtest.h>

#include <memory>

#include "openai/base64_testing.h"
#include "program.h"
#include "server_process.h"

namespace qvl {
namespace {

const std::string kDemo = QVL_SOURCE_DIR "/models/demo";
const std::string kSmall = QVL_SOURCE_DIR "/tests/goldens/media/small.png";
const std::string kSign =
    QVL_SOURCE_DIR "/tests/synocrbench/OCRBench_Images/syn/STVQA/9000340.jpeg";
const std::string kQuestion = "what is written on the white sign?";
const std::string kChat = "/v1/chat/completions";
const std::string kText = "/v1/completions";

class ServeTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server() = std::make_unique<ServerProcess>(
        std::vector<std::string>{kDemo, "--max-model-len", "2048", "--disable-uvicorn-access-log"});
    ASSERT_TRUE(server()->is_ready()) << server()->log();
  }
  static void TearDownTestSuite() { server().reset(); }

  static const std::string& address() { return server()->address(); }
  static HttpReply ask(const std::string& path, const Json& body) {
    HttpReply reply = post(address(), path, body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return reply;
  }
  static std::vector<Json> chunks(const HttpReply& reply) {
    std::vector<Json> out;
    for (const std::string& event : reply.events()) {
      if (event != "[DONE]") out.push_back(Json::parse(event));
    }
    return out;
  }

  static std::unique_ptr<ServerProcess>& server() {
    static std::unique_ptr<ServerProcess> one;
    return one;
  }
};

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> names;
  for (const auto& item : object.items()) names.push_back(item.key());
  return names;
}

TEST_F(ServeTest, AChatHasTheFieldsThatClientsRead) {
  const HttpReply reply =
      ask(kChat, chat_body("hello", {{"temperature", 0}, {"max_tokens", 5}, {"ignore_eos", true}}));
  EXPECT_EQ(reply.header("content-type"), "application/json");
  const Json body = reply.json();
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], kDemo);
  EXPECT_TRUE(body["created"].is_number_integer());
  EXPECT_TRUE(body["system_fingerprint"].is_string());
  ASSERT_EQ(body["choices"].size(), 1);
  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(choice["stop_reason"], nullptr);
  EXPECT_EQ(choice["logprobs"], nullptr);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_FALSE(choice["message"]["content"].get<std::string>().empty());
  const Json& usage = body["usage"];
  EXPECT_EQ(usage["completion_tokens"], 5);
  EXPECT_EQ(usage["total_tokens"], usage["prompt_tokens"].get<int>() + 5);
  EXPECT_EQ(usage["prompt_tokens_details"]["image_tokens"], 0);
  EXPECT_TRUE(body["timings"]["first_token_ms"].is_number());
}

TEST_F(ServeTest, APictureIsTheSameAsADataUrlAsBareBase64AndAsAFileOfRun) {
  const Outcome run = qvl_program(
      {"run", kDemo, kSign, kQuestion, "--temperature", "0", "--max-tokens", "20", "--json"});
  ASSERT_EQ(run.status, 0) << run.err;
  const std::string expected = Json::parse(run.out)["answer"];
  EXPECT_EQ(expected, "Axis Upswing");  // what is written there

  const std::string base64 = encode_base64(read_all(kSign));
  const Json limits = {{"temperature", 0}, {"max_tokens", 20}};
  for (const Json& url :
       {Json("data:image/jpeg;base64," + base64), Json("data:image/png;base64," + base64),
        Json(base64), Json{{"url", base64}}, Json{{"url", "data:;base64," + base64}}}) {
    const Json picture = {{"type", "image_url"}, {"image_url", url}};
    const HttpReply reply = ask(kChat, chat_body({picture, text_part(kQuestion)}, limits));
    EXPECT_EQ(answer_text(reply), expected);
    EXPECT_GT(reply.json()["usage"]["prompt_tokens_details"]["image_tokens"], 0);
  }
}

TEST_F(ServeTest, SampledAnswersAreThoseOfRun) {
  for (const char* seed : {"1", "2", "3"}) {
    const Outcome run =
        qvl_program({"run", kDemo, kSmall, "What is this?", "--temperature", "0.9", "--top-k", "20",
                     "--seed", seed, "--max-tokens", "24", "--json"});
    ASSERT_EQ(run.status, 0) << run.err;
    const HttpReply reply = ask(
        kChat,
        chat_body(
            {picture_part(kSmall), text_part("What is this?")},
            {{"temperature", 0.9}, {"top_k", 20}, {"seed", std::stoi(seed)}, {"max_tokens", 24}}));
    EXPECT_EQ(answer_text(reply), Json::parse(run.out)["answer"]);
  }
}

TEST_F(ServeTest, AStreamBeginsWithARoleAndEndsWithItsUsageAndDone) {
  const HttpReply reply =
      ask(kChat, chat_body("hello", {{"temperature", 0},
                                     {"max_tokens", 4},
                                     {"ignore_eos", true},
                                     {"stream", true},
                                     {"stream_options", {{"include_usage", true}}}}));
  EXPECT_EQ(reply.header("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(reply.events().back(), "[DONE]");
  const std::vector<Json> all = chunks(reply);
  ASSERT_GE(all.size(), 3);
  for (const Json& chunk : all) {
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
    for (const char* same : {"id", "created", "model"}) EXPECT_EQ(chunk[same], all[0][same]);
  }
  const Json first = {{"index", 0},
                      {"delta", {{"role", "assistant"}, {"content", ""}}},
                      {"logprobs", nullptr},
                      {"finish_reason", nullptr}};
  EXPECT_EQ(all.front()["choices"], Json::array({first}));
  EXPECT_FALSE(all.front().contains("system_fingerprint"));
  for (size_t i = 1; i + 2 < all.size(); ++i) {
    const Json& choice = all[i]["choices"][0];
    EXPECT_EQ(keys(choice["delta"]), std::vector<std::string>{"content"});
    EXPECT_EQ(choice["finish_reason"], nullptr);
  }
  const Json& last = all[all.size() - 2];
  EXPECT_EQ(last["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(last["choices"][0].contains("stop_reason"));
  EXPECT_TRUE(last.contains("system_fingerprint"));
  EXPECT_EQ(all.back()["choices"], Json::array());
  EXPECT_EQ(all.back()["usage"]["completion_tokens"], 4);
  EXPECT_TRUE(all.back()["usage"]["prompt_tokens_details"].contains("cached_tokens"));
}

TEST_F(ServeTest, AStreamHasNoUsageUnlessItIsAskedFor) {
  const Json body = chat_body("hello", {{"max_tokens", 2}, {"stream", true}});
  for (const Json& chunk : chunks(ask(kChat, body))) EXPECT_FALSE(chunk.contains("usage"));
}

TEST_F(ServeTest, StreamsHaveTheTextOfWholeAnswers) {
  const Json chat = chat_body({picture_part(kSmall), text_part("Read it.")},
                              {{"temperature", 1}, {"seed", 7}, {"max_tokens", 40}, {"n", 3}});
  const Json text = {{"prompt", "Größe 大きさ"}, {"temperature", 1}, {"seed", 7},
                     {"max_tokens", 40},         {"n", 2},           {"ignore_eos", true}};
  for (const auto& [path, whole] : {std::pair{kChat, chat}, std::pair{kText, text}}) {
    Json streamed = whole;
    streamed["stream"] = true;
    const HttpReply one = ask(path, whole);
    const HttpReply other = ask(path, streamed);
    for (int i = 0; i < whole["n"]; ++i) {
      EXPECT_EQ(answer_text(one, i), answer_text(other, i)) << path << " " << i;
      EXPECT_FALSE(answer_text(one, i).empty());
    }
    EXPECT_NE(answer_text(one, 0), answer_text(one, 1));
  }
}

TEST_F(ServeTest, ASeedGivesTheSameAnswerAgainAndAnotherOneAnother) {
  const auto with_seed = [](int seed) {
    return answer_text(ask(kText, {{"prompt", "a"},
                                   {"temperature", 1},
                                   {"seed", seed},
                                   {"max_tokens", 20},
                                   {"ignore_eos", true}}));
  };
  EXPECT_EQ(with_seed(1), with_seed(1));
  EXPECT_NE(with_seed(1), with_seed(2));
}

TEST_F(ServeTest, AStopStringEndsTheAnswerBeforeIt) {
  Json body = chat_body({picture_part(kSign), text_part(kQuestion)},
                        {{"temperature", 0}, {"max_tokens", 20}});
  body["stop"] = {"nothing of this", "Up"};
  for (const bool stream : {false, true}) {
    body["stream"] = stream;
    const HttpReply reply = ask(kChat, body);
    EXPECT_EQ(answer_text(reply), "Axis ");
    const Json end = stream ? chunks(reply).back() : reply.json();
    EXPECT_EQ(end["choices"][0]["finish_reason"], "stop");
    EXPECT_EQ(end["choices"][0]["stop_reason"], "Up");
  }
}

TEST_F(ServeTest, LogprobsOfAChatNameTokensAndTheirRivals) {
  const HttpReply reply = ask(
      kChat,
      chat_body({picture_part(kSign), text_part(kQuestion)},
                {{"temperature", 0}, {"max_tokens", 20}, {"logprobs", true}, {"top_logprobs", 3}}));
  const Json body = reply.json();
  const Json& tokens = body["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(tokens.size(), body["usage"]["completion_tokens"]);
  std::string text;
  for (const Json& token : tokens) {
    text += token["token"].get<std::string>();
    ASSERT_EQ(token["top_logprobs"].size(), 3);
    EXPECT_LE(token["logprob"], 0);
    EXPECT_EQ(token["top_logprobs"][0]["token"], token["token"]);  // the best one, without chance
    EXPECT_GE(token["top_logprobs"][0]["logprob"], token["top_logprobs"][1]["logprob"]);
    EXPECT_GE(token["top_logprobs"][1]["logprob"], token["top_logprobs"][2]["logprob"]);
    const std::string bytes = token["token"];
    EXPECT_EQ(token["bytes"], Json(std::vector<uint8_t>(bytes.begin(), bytes.end())));
  }
  EXPECT_EQ(text, answer_text(reply));
}

TEST_F(ServeTest, LogprobsOfACompletionHaveOffsetsIntoItsText) {
  const HttpReply reply = ask(kText, {{"prompt", "abc"},
                                      {"temperature", 0},
                                      {"max_tokens", 4},
                                      {"ignore_eos", true},
                                      {"skip_special_tokens", false},
                                      {"logprobs", 2}});
  const Json logprobs = reply.json()["choices"][0]["logprobs"];
  ASSERT_EQ(logprobs["tokens"].size(), 4);
  EXPECT_EQ(logprobs["token_logprobs"].size(), 4);
  EXPECT_EQ(logprobs["top_logprobs"].size(), 4);
  size_t offset = 0;
  for (size_t i = 0; i < 4; ++i) {
    const std::string token = logprobs["tokens"][i];
    EXPECT_EQ(logprobs["text_offset"][i], offset);
    EXPECT_EQ(answer_text(reply).substr(offset, token.size()), token);
    offset += token.size();
  }
}

TEST_F(ServeTest, ACompletionEchoesItsPromptAndTakesSeveral) {
  const Json body =
      ask(kText,
          {{"prompt", {"one", "two"}}, {"echo", true}, {"max_tokens", 3}, {"ignore_eos", true}})
          .json();
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(body["object"], "text_completion");
  ASSERT_EQ(body["choices"].size(), 2);
  EXPECT_EQ(body["choices"][1]["index"], 1);
  EXPECT_TRUE(body["choices"][0]["text"].get<std::string>().starts_with("one"));
  EXPECT_TRUE(body["choices"][1]["text"].get<std::string>().starts_with("two"));
  EXPECT_EQ(body["usage"]["completion_tokens"], 6);
}

TEST_F(ServeTest, ACompletionOfTokensIsThatOfTheirText) {
  const Json tokens = ask("/tokenize", {{"prompt", "What is it?"}}).json()["tokens"];
  const Json limits = {{"temperature", 0}, {"max_tokens", 8}, {"ignore_eos", true}};
  Json by_text = limits;
  by_text["prompt"] = "What is it?";
  Json by_tokens = limits;
  by_tokens["prompt"] = tokens;
  EXPECT_EQ(answer_text(ask(kText, by_text)), answer_text(ask(kText, by_tokens)));
}

TEST_F(ServeTest, AnAnswerThatWasBegunIsContinuedAndEchoed) {
  Json body = {{"messages", Json::array({{{"role", "user"}, {"content", "Count."}},
                                         {{"role", "assistant"}, {"content", "one two"}}})},
               {"add_generation_prompt", false},
               {"continue_final_message", true},
               {"echo", true},
               {"max_tokens", 3},
               {"ignore_eos", true}};
  EXPECT_TRUE(answer_text(ask(kChat, body)).starts_with("one two"));
}

TEST_F(ServeTest, ItsOwnLimitsMakeAPictureCheaper) {
  const auto image_tokens = [](const Json& more) {
    Json body = chat_body({picture_part(kSign), text_part("?")}, more);
    return ask("/v1/chat/completions/input_tokens", body)
        .json()["input_tokens_details"]["image_tokens"]
        .get<int>();
  };
  EXPECT_LT(image_tokens({{"mm_processor_kwargs", {{"max_pixels", 32 * 32 * 16}}}}),
            image_tokens(Json::object()));
}

TEST_F(ServeTest, WhatARequestCostsCanBeAskedBeforeItRuns) {
  const Json body = chat_body({picture_part(kSign), text_part(kQuestion)}, {{"max_tokens", 1}});
  const Json cost = ask("/v1/chat/completions/input_tokens", body).json();
  const Json usage = ask(kChat, body).json()["usage"];
  EXPECT_EQ(cost["input_tokens"], usage["prompt_tokens"]);
  EXPECT_EQ(cost["input_tokens_details"]["image_tokens"],
            usage["prompt_tokens_details"]["image_tokens"]);
}

TEST_F(ServeTest, TextBecomesTokensAndTextAgain) {
  for (const char* text : {"hello", "Größe 大きさ 😀", " \n\t x", "<|im_start|>"}) {
    const Json tokens = ask("/tokenize", {{"prompt", text}}).json();
    EXPECT_EQ(tokens["count"], tokens["tokens"].size());
    EXPECT_EQ(ask("/detokenize", {{"tokens", tokens["tokens"]}}).json()["prompt"], text);
  }
}

TEST_F(ServeTest, TheModelIsListedAndAnswersToItsNamesInAnyCase) {
  const Json list = get(address(), "/v1/models").json();
  EXPECT_EQ(list["object"], "list");
  std::vector<std::string> names;
  for (const Json& model : list["data"]) {
    EXPECT_EQ(model["object"], "model");
    EXPECT_EQ(model["max_model_len"], 2048);
    EXPECT_EQ(model["architecture"]["input_modalities"], Json({"text", "image"}));
    names.push_back(model["id"]);
  }
  ASSERT_GE(names.size(), 2);
  EXPECT_EQ(names[0], kDemo);
  EXPECT_EQ(names[1], "demo");
  ask(kChat, chat_body("hi", {{"model", "DEMO"}, {"max_tokens", 1}}));
}

TEST_F(ServeTest, HealthVersionAndTheApiAreThere) {
  for (const char* path : {"/health", "/ping", "/live"}) {
    EXPECT_EQ(get(address(), path).status, 200) << path;
  }
  EXPECT_FALSE(get(address(), "/version").json()["version"].get<std::string>().empty());
  EXPECT_TRUE(get(address(), "/openapi.json").json()["paths"].contains(kChat));
}

TEST_F(ServeTest, MemoryIsWhatWasPlannedAndNothingIsOwnedAtRest) {
  ASSERT_TRUE(holds_nothing(address()));
  const Json memory = get(address(), "/v1/debug/memory").json();
  int64_t sum = 0;
  for (const Json& line : memory["lines"]) sum += line["bytes"].get<int64_t>();
  EXPECT_EQ(memory["total_bytes"], sum);
  EXPECT_EQ(memory["max_model_len"], 2048);
  const Json& pages = memory["kv_pages"];
  EXPECT_EQ(pages["total"], pages["free"].get<int>() + pages["cached"].get<int>());
}

TEST(ServeDefaults, OfRequestsAreThoseOfTheFlags) {
  const ServerProcess server({kDemo, "--seed", "7", "--max-logprobs", "2",
                              "--enable-force-include-usage", "--return-tokens-as-token-ids",
                              "--default-chat-template-kwargs", R"({"add_vision_id": true})",
                              "--kv-cache-memory-bytes", "20MB", "--limit-mm-per-prompt",
                              R"({"image": 1})", "--quantization", "awq", "--enable-log-requests"});
  ASSERT_TRUE(server.is_ready()) << server.log();
  const auto ask = [&](const std::string& path, const Json& body) {
    return post(server.address(), path, body);
  };
  Json body = {{"prompt", "a"}, {"max_tokens", 20}, {"temperature", 1}, {"ignore_eos", true}};
  const std::string silent = answer_text(ask(kText, body));
  body["seed"] = 7;
  EXPECT_EQ(answer_text(ask(kText, body)), silent);
  body["seed"] = 0;
  EXPECT_NE(answer_text(ask(kText, body)), silent);

  body["logprobs"] = 2;
  const Json tokens = ask(kText, body).json()["choices"][0]["logprobs"]["tokens"];
  EXPECT_TRUE(tokens[0].get<std::string>().starts_with("token_id:")) << tokens;
  body["logprobs"] = 3;
  EXPECT_NE(ask(kText, body).error().find("expected 0 to 2"), std::string::npos);

  const HttpReply stream = ask(kChat, chat_body("hi", {{"stream", true}, {"max_tokens", 2}}));
  EXPECT_NE(stream.body.find("\"usage\":{"), std::string::npos) << stream.body;

  const Json one = Json::array({picture_part(kSmall)});
  const auto tokens_of = [&](const Json& more) {
    return ask("/v1/chat/completions/input_tokens", chat_body(one, more)).json()["input_tokens"];
  };
  EXPECT_GT(tokens_of(Json::object()),
            tokens_of({{"chat_template_kwargs", {{"add_vision_id", false}}}}));
  EXPECT_EQ(ask(kChat, chat_body(Json::array({one[0], one[0]}))).status, 400);

  const Json memory = get(server.address(), "/v1/debug/memory").json();
  const Json& cache = memory["lines"][1];
  EXPECT_EQ(cache["what"], "KV cache");
  EXPECT_GT(cache["bytes"], 19'000'000);
  EXPECT_LE(cache["bytes"], 20'100'000);
  EXPECT_NE(server.log().find("--quantization awq has no effect"), std::string::npos);
  EXPECT_TRUE(eventually([&] {
    return server.log().find(
               " finish=length n=1 prompt_tokens=1 computed_prompt_tokens=1 "
               "generation_tokens=20 ") != std::string::npos;
  })) << server.log();
}

/// The value of the first sample whose line begins with `name`; -1 if there is none.
double sample(const std::string& text, const std::string& name) {
  const size_t found = text.find("\n" + name);
  if (found == std::string::npos) return -1;
  const size_t end = text.find('\n', found + 1);
  return std::stod(text.substr(text.rfind(' ', end), end));
}

TEST(ServeMetrics, CountWhatWasAnswered) {
  const ServerProcess server({kDemo, "--disable-uvicorn-access-log"});
  ASSERT_TRUE(server.is_ready()) << server.log();
  const auto metrics = [&] { return get(server.address(), "/metrics").body; };
  for (int i = 0; i < 2; ++i) {
    const Json body = {{"prompt", "x"}, {"max_tokens", 7}, {"ignore_eos", true}};
    EXPECT_EQ(post(server.address(), kText, body).status, 200);
  }
  const Json broken = {{"type", "image_url"}, {"image_url", {{"url", "data:;base64,AAAA"}}}};
  EXPECT_EQ(post(server.address(), kChat, chat_body(Json::array({broken}))).status, 400);
  EXPECT_TRUE(eventually([&] {
    const std::string text = metrics();
    return sample(text, "vllm:generation_tokens_total{") == 14 &&
           sample(text, "vllm:prompt_tokens_total{") == 2;
  })) << metrics();
  const std::string text = metrics();
  EXPECT_EQ(sample(text, "vllm:request_generation_tokens_sum{"), 14);
  EXPECT_EQ(sample(text, "vllm:time_to_first_token_seconds_count{"), 2);
  EXPECT_EQ(sample(text, "vllm:inter_token_latency_seconds_count{"), 12);
  EXPECT_EQ(sample(text, "vllm:num_requests_running{"), 0);
  EXPECT_EQ(sample(text, "vllm:num_requests_waiting{"), 0);
  EXPECT_EQ(sample(text, "vllm:kv_cache_usage_perc{"), 0);
  EXPECT_GT(sample(text, "vllm:e2e_request_latency_seconds_sum{"), 0);
  EXPECT_EQ(sample(text, "vllm:cache_config_info{"), 1);
  EXPECT_EQ(sample(text, "vllm:request_params_max_tokens_sum{"), 14);
  EXPECT_EQ(sample(text, "vllm:corrupted_requests_total{"), 0);
  EXPECT_EQ(sample(text, "qvl:encoder_tokens_total{"), 0);
  const std::string weights = "pool=\"weights\"} ";
  const size_t bytes = text.find(weights, text.find("\nqvl:host_memory_bytes{"));
  ASSERT_NE(bytes, std::string::npos) << text;
  EXPECT_GT(std::stod(text.substr(bytes + weights.size())), 1e6);
  EXPECT_NE(text.find("reason=\"not_supported\"} 1\n"), std::string::npos);

  // The engine is told to cancel an answer that a stop string ends; it has not been aborted.
  const Json stopped =
      chat_body({picture_part(kSign), text_part(kQuestion)}, {{"temperature", 0}, {"stop", "A"}});
  EXPECT_EQ(post(server.address(), kChat, stopped).json()["choices"][0]["stop_reason"], "A");
  // The picture has as many tokens as usage says; a second time they come from the cache.
  const HttpReply again = post(server.address(), kChat, stopped);
  const Json tokens = again.json()["usage"]["prompt_tokens_details"]["image_tokens"];
  EXPECT_TRUE(eventually([&] {
    return sample(metrics(), "qvl:encoder_tokens_total{") == tokens.get<double>();
  })) << metrics();
  EXPECT_EQ(sample(metrics(), "qvl:encoder_seconds_count{"), 1);
  EXPECT_EQ(sample(metrics(), "qvl:media_decode_seconds_count{"), 2);
  const std::string stops = "vllm:request_success_total{engine=\"0\",finished_reason=\"stop\"";
  EXPECT_TRUE(eventually([&] { return sample(metrics(), stops) == 2; })) << metrics();
}

TEST_F(ServeTest, ARequestIdComesBack) {
  const HttpReply reply =
      post(address(), "/tokenize", {{"prompt", "x"}}, "X-Request-Id: mine-1\r\n");
  EXPECT_EQ(reply.header("x-request-id"), "mine-1");
}

// The line with which a published walk-through of a deployment checks that it works; its answer has
// these fields.
TEST_F(ServeTest, TheFirstCurlLineOfAWalkThroughWorksAsItIsWritten) {
  const std::string command = R"(curl -sS http://)" + address() +
                              R"(/v1/completions -H "Content-Type: application/json" -d '{
    "prompt": "你好",
    "max_tokens": 10
  }')";
  const Outcome outcome = run_program({"sh", "-c", command});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Json body = Json::parse(outcome.out);
  for (const char* name : {"id", "object", "created", "model", "choices", "usage"}) {
    EXPECT_TRUE(body.contains(name)) << name;
  }
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_TRUE(body["choices"][0]["text"].is_string());
  EXPECT_EQ(body["choices"][0]["logprobs"], nullptr);
  EXPECT_LE(body["usage"]["completion_tokens"], 10);
}

}  // namespace
}  // namespace qvl

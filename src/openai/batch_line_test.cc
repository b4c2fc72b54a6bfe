#include "openai/batch_line.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace qvl {
namespace {

/// "accepted", or "custom_id | field: detail".
std::string outcome(const std::string& text, const WireLimits& limits = {}) {
  BatchLine line;
  const Status status = parse_batch_line(text, limits, line);
  if (status) return "accepted";
  return fmt::format("{} | {}: {}", line.custom_id, status.error().field, status.error().detail);
}

TEST(BatchLine, HasAnIdAPlaceAndABody) {
  BatchLine line;
  ASSERT_TRUE(parse_batch_line(
      R"({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"n": 1}})", {},
      line));
  EXPECT_EQ(line.custom_id, "a");
  EXPECT_EQ(line.kind, BatchLine::Kind::completion);
  EXPECT_EQ(line.body.dump(), R"({"n":1})");
  EXPECT_EQ(outcome(R"({"custom_id": "a", "url": "/v1/chat/completions", "body": {}})"),
            "accepted");
}

TEST(BatchLine, WhatIsMissingOrWrongIsNamed) {
  EXPECT_EQ(outcome("{"), " | : JSON: syntax error near byte 2");
  EXPECT_EQ(outcome("[]"), " | : found a list of 0, expected an object");
  EXPECT_EQ(outcome("{}"), " | custom_id: found nothing, expected a string of 1 to 512 bytes");
  EXPECT_EQ(outcome(R"({"custom_id": 3})"),
            " | custom_id: found 3, expected a string of 1 to 512 bytes");
  EXPECT_EQ(outcome(R"({"custom_id": "a"})"),
            "a | url: found nothing, expected /v1/chat/completions or /v1/completions");
  EXPECT_EQ(outcome(R"({"custom_id": "a", "method": "GET"})"),
            "a | method: found \"GET\", expected \"POST\"");
  EXPECT_EQ(outcome(R"({"custom_id": "a", "url": "/v1/embeddings"})"),
            "a | url: found \"/v1/embeddings\", expected /v1/chat/completions or /v1/completions");
  EXPECT_EQ(outcome(R"({"custom_id": "a", "url": "/v1/completions", "body": []})"),
            "a | body: found a list of 0, expected an object");
}

TEST(BatchLine, IdsAreTakenAtTheirLimitAndRefusedBeyond) {
  const auto with_id = [](size_t bytes) {
    return outcome(fmt::format(R"({{"custom_id": "{}", "url": "/v1/completions", "body": {{}}}})",
                               std::string(bytes, 'x')));
  };
  EXPECT_EQ(with_id(512), "accepted");
  EXPECT_NE(with_id(513), "accepted");
  EXPECT_NE(with_id(0), "accepted");
}

TEST(BatchLine, WhatIsWrittenIsReadBack) {
  const std::string answered = batch_response_line("a\"\xff", 200, R"({"x":[1]})");
  EXPECT_TRUE(answered.starts_with(kBatchLineStart));
  const auto json = nlohmann::json::parse(answered);
  EXPECT_EQ(json["response"]["status_code"], 200);
  EXPECT_EQ(json["response"]["body"].dump(), R"({"x":[1]})");
  EXPECT_EQ(json["error"], nullptr);
  const auto record = parse_batch_record(answered);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->custom_id, "a\"\xEF\xBF\xBD");

  const std::string bad =
      batch_error_line("", {ErrorCode::bad_request, "found 1, expected 2", "url"}, 7);
  EXPECT_TRUE(bad.starts_with(kBatchLineStart));
  EXPECT_EQ(nlohmann::json::parse(bad)["error"].dump(),
            R"({"code":"bad_request","line":7,"message":"url: the request is not usable: found 1, )"
            R"(expected 2; correct it and send it again","param":"url"})");
  const auto bad_record = parse_batch_record(bad);
  ASSERT_TRUE(bad_record);
  EXPECT_EQ(bad_record->bad_line, 7);
  EXPECT_EQ(bad_record->custom_id, "");
}

TEST(BatchLine, OtherFilesAreNoOutput) {
  for (const char* text :
       {"hello", "{}", "[]", R"({"custom_id": "a", "body": {}})",
        R"({"response": {}, "error": null})", R"({"response": null, "error": {"line": "7"}})"}) {
    EXPECT_FALSE(parse_batch_record(text)) << text;
  }
}

}  // namespace
}  // namespace qvl

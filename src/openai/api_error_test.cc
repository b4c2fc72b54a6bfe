#include "openai/api_error.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

TEST(ApiError, HasTheShapeThatClientsRead) {
  EXPECT_EQ(error_json({ErrorCode::bad_request, "found 3, expected 1 to 2", "n"}).dump(),
            R"({"error":{"message":"n: the request is not usable: found 3, expected 1 to 2; )"
            R"(correct it and send it again","type":"BadRequestError","param":"n","code":400}})");
}

TEST(ApiError, AnErrorWithoutAFieldHasNoParam) {
  EXPECT_EQ(error_json({ErrorCode::queue_full, "", ""}).dump(),
            R"({"error":{"message":"too many requests are waiting; try again later",)"
            R"("type":"RateLimitError","param":null,"code":429}})");
}

TEST(ApiError, WhatConcernsTheServerIsNotTold) {
  const std::string text = error_json({ErrorCode::file_unreadable, "secret", "/etc/secret"}).dump();
  EXPECT_EQ(text, R"({"error":{"message":"the file cannot be read","type":"InternalServerError",)"
                  R"("param":null,"code":500}})");
}

TEST(ApiError, ContextErrorsHaveThePhraseThatClientsLookFor) {
  const auto json = error_json({ErrorCode::prompt_too_long, "found 5", "messages"});
  EXPECT_NE(json["error"]["message"].get<std::string>().find("maximum context length"),
            std::string::npos);
}

TEST(ApiError, EveryCodeHasAStatus) {
  EXPECT_EQ(http_status(ErrorCode::unknown_model), 404);
  EXPECT_EQ(http_status(ErrorCode::image_too_large), 413);
  EXPECT_EQ(http_status(ErrorCode::request_too_large), 413);  // the last row
  EXPECT_EQ(http_status(ErrorCode::no_finite_logits), 500);
}

}  // namespace
}  // namespace qvl

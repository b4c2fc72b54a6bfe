#include "io/json.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace qvl {
namespace {

using nlohmann::json;

std::string problem(std::string_view text, const JsonLimits& limits = {}) {
  const Result<json> document = parse_json(text, limits);
  if (document) return "none";
  EXPECT_EQ(document.error().code, ErrorCode::bad_json);
  return document.error().detail;
}

TEST(ParseJson, GivesTheDocument) {
  const Result<json> document =
      parse_json(R"({"a": [1, -2, 3.5, null, true, {"b": "x"}], "c": {}, "d": []})");
  ASSERT_TRUE(document);
  EXPECT_EQ(document->dump(), R"({"a":[1,-2,3.5,null,true,{"b":"x"}],"c":{},"d":[]})");
}

TEST(ParseJson, SaysWhereTheSyntaxBreaks) {
  EXPECT_EQ(problem(R"({"a": 1,})"), "syntax error near byte 9");
  EXPECT_EQ(problem(""), "syntax error near byte 1");
  EXPECT_EQ(problem("{} x"), "syntax error near byte 4");
  EXPECT_EQ(problem("[1e999]"), "syntax error near byte 6");
  EXPECT_EQ(problem("\"\xff\""), "syntax error near byte 2: a byte that is not UTF-8");
  EXPECT_EQ(problem(R"(["\ud800"])"), "syntax error near byte 9: a lone surrogate");
  EXPECT_EQ(problem(R"(["\udc00"])"), "syntax error near byte 8: a lone surrogate");
}

TEST(ParseJson, RefusesANameThatAppearsTwice) {
  EXPECT_EQ(problem(R"({"a": {"x": 1, "y": 2, "x": 3}})"),
            "the name \"x\" appears twice in one object");
  EXPECT_EQ(problem(R"({"a": {"x": 1}, "b": {"x": 1}})"), "none");
}

TEST(ParseJson, BoundsTheDepth) {
  const std::string deepest = std::string(64, '[') + std::string(64, ']');
  EXPECT_EQ(problem(deepest), "none");
  EXPECT_EQ(problem(fmt::format("[{}]", deepest)), "found values nested deeper than 64 levels");
  EXPECT_EQ(problem(std::string(1'000'000, '[')), "found values nested deeper than 64 levels");
}

TEST(ParseJson, BoundsTheNumberOfValuesAndBytes) {
  EXPECT_EQ(problem("[1,2,3]", {.max_values = 4}), "none");
  EXPECT_EQ(problem("[1,2,3]", {.max_values = 3}), "found more than 3 values");
  EXPECT_EQ(problem("[1,2,3]", {.max_bytes = 7}), "none");
  EXPECT_EQ(problem("[1,2,3]", {.max_bytes = 6}), "found 7 bytes, expected at most 6");
}

TEST(InQuotes, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(in_quotes("abc"), "\"abc\"");
  EXPECT_EQ(in_quotes(std::string(60, 'x')), fmt::format("\"{}\"", std::string(60, 'x')));
  EXPECT_EQ(in_quotes(std::string(61, 'x')), fmt::format("\"{}…\"", std::string(60, 'x')));
  EXPECT_EQ(in_quotes(std::string(59, 'x') + "éé"), fmt::format("\"{}…\"", std::string(59, 'x')));
}

class JsonReaderTest : public testing::Test {
 protected:
  JsonReader read(std::string_view text) {
    Result<json> parsed = parse_json(text);
    document_ = parsed ? *std::move(parsed) : json();
    error_.reset();
    return JsonReader(document_, "x.json", error_);
  }
  std::string error() const { return error_ ? error_->detail : "none"; }

  json document_;
  std::optional<Error> error_;
};

TEST_F(JsonReaderTest, ReadsEachKindOfField) {
  JsonReader reader = read(R"({"i": 7, "n": 2.5, "b": true, "t": "x", "l": [1, 2], "o": {"i": 8},
                               "f": [0.5, 1]})");
  EXPECT_EQ(reader.integer("i", {0, 7}), 7);
  EXPECT_EQ(reader.number("n", {0, 3}), 2.5);
  EXPECT_TRUE(reader.boolean("b", false));
  EXPECT_EQ(reader.text("t", ""), "x");
  EXPECT_EQ(reader.integers("l", {1, 2}, 2), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(reader.numbers("f", {0, 1}, 2, {}), (std::vector<double>{0.5, 1}));
  EXPECT_EQ(reader.object("o").integer("i", {0, 9}), 8);
  EXPECT_EQ(error(), "none");
}

TEST_F(JsonReaderTest, AbsentAndNullFieldsHaveTheirFallback) {
  JsonReader reader = read(R"({"i": null})");
  EXPECT_EQ(reader.integer("i", {0, 7}, 3), 3);
  EXPECT_EQ(reader.number("n", {0, 3}, 1.5), 1.5);
  EXPECT_TRUE(reader.boolean("b", true));
  EXPECT_EQ(reader.text("t", "x"), "x");
  EXPECT_EQ(reader.optional_object("o").integer("i", {0, 9}, 4), 4);
  EXPECT_EQ(error(), "none");
}

TEST_F(JsonReaderTest, SaysWhatItFoundAndWhatItExpected) {
  const auto integer = [&](std::string_view text) {
    read(text).integer("i", {1, 9});
    return error();
  };
  EXPECT_EQ(integer(R"({})"), "i: found nothing, expected a whole number from 1 to 9");
  EXPECT_EQ(integer(R"({"i": null})"), "i: found nothing, expected a whole number from 1 to 9");
  EXPECT_EQ(integer(R"({"i": 0})"), "i: found 0, expected a whole number from 1 to 9");
  EXPECT_EQ(integer(R"({"i": 10})"), "i: found 10, expected a whole number from 1 to 9");
  EXPECT_EQ(integer(R"({"i": 2.0})"), "i: found 2.0, expected a whole number from 1 to 9");
  EXPECT_EQ(integer(R"({"i": "2"})"), "i: found \"2\", expected a whole number from 1 to 9");
  EXPECT_EQ(integer(R"({"i": [1]})"), "i: found a list of 1, expected a whole number from 1 to 9");
  EXPECT_EQ(integer(R"({"i": 18446744073709551615})"),
            "i: found 18446744073709551615, expected a whole number from 1 to 9");

  read(R"({"i": 18446744073709551615})").integer("i", {-1, 9});
  EXPECT_EQ(error(), "i: found 18446744073709551615, expected a whole number from -1 to 9");
  read(R"({"n": 4})").number("n", {0, 3.5});
  EXPECT_EQ(error(), "n: found 4, expected a number from 0 to 3.5");
  read(R"({"b": 1})").boolean("b", true);
  EXPECT_EQ(error(), "b: found 1, expected true or false");
  read(R"({"t": 1})").text("t", "");
  EXPECT_EQ(error(), "t: found 1, expected a string");
  read(R"({"l": [1, 2, 3]})").integers("l", {1, 2}, 2);
  EXPECT_EQ(error(), "l: found a list of 3, expected a list of at most 2 whole numbers");
  read(R"({"l": [1, 3]})").integers("l", {1, 2}, 2);
  EXPECT_EQ(error(), "l: found a list of 2, expected only whole numbers from 1 to 2 in it, not 3");
  read(R"({"f": [1]})").numbers("f", {0, 1}, 2, {});
  EXPECT_EQ(error(), "f: found a list of 1, expected a list of 2 numbers");
  read(R"({"f": [1, "x"]})").numbers("f", {0, 1}, 2, {});
  EXPECT_EQ(error(), "f: found a list of 2, expected only numbers from 0 to 1 in it, not \"x\"");
  read(R"({"o": 3})").optional_object("o");
  EXPECT_EQ(error(), "o: found 3, expected an object");
  read(R"([])").optional_object("o");
  EXPECT_EQ(error(), "found a list of 0, expected an object");
}

TEST_F(JsonReaderTest, KeepsTheFirstErrorAndNamesTheWholePath) {
  JsonReader reader = read(R"({"a": {"b": {"i": 5}}})");
  reader.object("a").object("b").integer("i", {0, 4});
  reader.integer("other", {0, 4});
  EXPECT_EQ(error(), "a.b.i: found 5, expected a whole number from 0 to 4");
  EXPECT_EQ(error_->field, "x.json");
  EXPECT_EQ(error_->code, ErrorCode::bad_config);
}

}  // namespace
}  // namespace qvl

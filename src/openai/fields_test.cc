#include "openai/fields.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "openai/openapi.h"
#include "openai/request_testing.h"

namespace qvl {
namespace {

constexpr std::array kPlaces = {Place::chat,           Place::completions,      Place::image_part,
                                Place::stream_options, Place::processor_kwargs, Place::pixel_size};

/// What other fields must say so that this one may have any value of its range.
std::string companions(std::string_view name) {
  if (name == "top_logprobs") return R"(, "logprobs": true)";
  if (name == "min_tokens") return R"(, "max_tokens": 2147483647)";
  if (name == "continue_final_message") return R"(, "add_generation_prompt": false)";
  if (name == "stream_options") return R"(, "stream": true)";
  return "";
}

/// The fields of picture_part().
bool is_always_there(Place place, std::string_view name) {
  return place == Place::image_part && (name == "type" || name == "image_url");
}

/// Parses a request that has `"name": value` in this place.
std::string outcome_with(Place place, std::string_view name, const std::string& value) {
  const std::string field = fmt::format("\"{}\": {}", name, value);
  switch (place) {
    case Place::chat:
      return chat_outcome(name == "messages" ? "{" + field + "}"
                                             : chat_with(", " + field + companions(name)));
    case Place::completions:
      return completion_outcome(
          name == "prompt" ? "{" + field + "}" : completion_with(", " + field + companions(name)));
    case Place::image_part:
      return chat_outcome(chat_of("[" + picture_part(", " + field) + "]"));
    case Place::stream_options:
      return chat_outcome(chat_with(R"(, "stream": true, "stream_options": {)" + field + "}"));
    case Place::processor_kwargs:
      return chat_outcome(chat_with(R"(, "mm_processor_kwargs": {)" + field + "}"));
    case Place::pixel_size:
      return chat_outcome(chat_with(R"(, "mm_processor_kwargs": {"size": {)" + field + "}}"));
  }
  return "";
}

using Check = std::function<void(const Field& field, Place place)>;

void for_each_field(const Check& check) {
  for (const Field& field : request_fields()) {
    for (const Place place : kPlaces) {
      if (!field.is_in(place)) continue;
      SCOPED_TRACE(fmt::format("{} in place {}", field.name, static_cast<int>(place)));
      check(field, place);
    }
  }
}

/// A limit as JSON; a double cannot hold the largest int64.
std::string number_text(const Field& field, double value) {
  if (field.kind != FieldKind::integer) return fmt::format("{}", value);
  if (value >= 9223372036854775807.0) return "9223372036854775807";
  return fmt::format("{}", static_cast<int64_t>(value));
}

TEST(Fields, EveryNumberIsTakenAtItsLimitsAndRefusedBeyond) {
  int checked = 0;
  for_each_field([&](const Field& field, Place place) {
    const bool is_number = field.kind == FieldKind::integer || field.kind == FieldKind::number;
    if (!is_number) return;
    EXPECT_TRUE(field.has_range());
    ++checked;
    const double most = field.highest({});
    const double inside = field.kind == FieldKind::integer ? 1 : 0.001;
    EXPECT_EQ(outcome_with(place, field.name, number_text(field, most)), "accepted");
    EXPECT_EQ(outcome_with(place, field.name, number_text(field, most - inside)), "accepted");
    const std::string least = number_text(field, field.least);
    EXPECT_EQ(outcome_with(place, field.name, least) == "accepted", !field.above_least);
    EXPECT_EQ(outcome_with(place, field.name, number_text(field, field.least + inside)),
              "accepted");
    const std::string name(field.name);
    const bool is_64_bit = most > 9e18;
    const std::string over = is_64_bit ? "9223372036854775808" : number_text(field, most + inside);
    const std::string under =
        is_64_bit ? "-9223372036854775809" : number_text(field, field.least - inside);
    for (const std::string& value : {over, under}) {
      const std::string found = outcome_with(place, field.name, value);
      EXPECT_NE(found.find(name + ": bad_request: found "), std::string::npos) << found;
    }
  });
  EXPECT_GT(checked, 30);
}

TEST(Fields, EveryTextIsTakenAtItsLimitsAndRefusedBeyond) {
  int checked = 0;
  for_each_field([&](const Field& field, Place place) {
    if (field.kind != FieldKind::text || !field.has_range()) return;
    ++checked;
    const auto quoted = [](double size) {
      return "\"" + std::string(static_cast<size_t>(size), 'x') + "\"";
    };
    const double most = field.highest({});
    EXPECT_EQ(outcome_with(place, field.name, quoted(most)), "accepted");
    EXPECT_NE(outcome_with(place, field.name, quoted(most + 1)), "accepted");
    EXPECT_EQ(outcome_with(place, field.name, quoted(field.least)), "accepted");
    if (field.least > 0) {
      EXPECT_NE(outcome_with(place, field.name, quoted(field.least - 1)), "accepted");
    }
  });
  EXPECT_EQ(checked, 6);  // cache_salt, request_id and user, twice
}

TEST(Fields, EveryTypeIsCheckedAndTheFieldIsNamed) {
  for_each_field([](const Field& field, Place place) {
    if (field.support != Support::honoured || field.kind == FieldKind::any) return;
    if (is_always_there(place, field.name)) return;
    const std::string wrong = field.kind == FieldKind::boolean ? "1" : "true";
    const std::string found = outcome_with(place, field.name, wrong);
    EXPECT_NE(found.find(std::string(field.name) + ": bad_request: found " + wrong),
              std::string::npos)
        << found;
  });
}

TEST(Fields, NullIsTheSameAsNothing) {
  for_each_field([](const Field& field, Place place) {
    if (field.name == "messages" || field.name == "prompt") return;
    if (is_always_there(place, field.name)) return;
    EXPECT_EQ(outcome_with(place, field.name, "null"), "accepted");
  });
}

TEST(Fields, RefusedOnesSayWhyAndTakeNeutralValues) {
  int checked = 0;
  for_each_field([&](const Field& field, Place place) {
    if (field.support != Support::refused) return;
    ++checked;
    EXPECT_EQ(outcome_with(place, field.name, R"({"x": 1})"),
              fmt::format("{}: unsupported_field: {}", field.name, field.meaning));
    if (field.neutral.empty()) return;
    for (const auto& value : nlohmann::json::parse(field.neutral)) {
      EXPECT_EQ(outcome_with(place, field.name, value.dump()), "accepted") << value.dump();
    }
  });
  EXPECT_GT(checked, 30);
}

TEST(Fields, IgnoredOnesWarn) {
  const auto request = parse_chat_request(chat_with(R"(, "store": true)"), {});
  ASSERT_TRUE(request);
  EXPECT_EQ(request->options.warnings,
            std::vector<std::string>{"store is ignored: nothing is stored"});
}

TEST(Fields, UnknownOnesWarnOrAreRefused) {
  const std::string body = chat_with(R"(, "temprature": 1, "stream": true,
                                         "stream_options": {"x": 1})");
  const auto request = parse_chat_request(body, {});
  ASSERT_TRUE(request);
  EXPECT_EQ(request->options.warnings,
            (std::vector<std::string>{"\"temprature\" is unknown and ignored",
                                      "stream_options.\"x\" is unknown and ignored"}));
  EXPECT_EQ(chat_outcome(body, {.fields = {.unknown = UnknownFields::refuse}}),
            "\"temprature\": bad_request: found a field of unknown name");
}

TEST(Fields, AMillionUnknownOnesMakeFewWarnings) {
  std::string fields;
  for (int i = 0; i < 1000; ++i) fields += fmt::format(", \"f{}\": 0", i);
  const auto request = parse_chat_request(chat_with(fields), {});
  ASSERT_TRUE(request);
  EXPECT_EQ(request->options.warnings.size(), 16);
}

TEST(Fields, NoPlaceHasANameTwice) {
  for (const Place place : kPlaces) {
    std::set<std::string_view> names;
    for (const Field& field : request_fields()) {
      EXPECT_TRUE(!field.is_in(place) || names.insert(field.name).second) << field.name;
    }
  }
}

/// The table's ranges are not narrower than those of SamplingParams (the first test); nor wider:
TEST(Fields, RangesOfSamplingAreThoseOfTheEngine) {
  const auto beyond = [](const char* name, auto SamplingParams::*member, double step) {
    const Field& field = *find_field(Place::chat, name);
    SamplingParams over;
    over.*member = static_cast<std::remove_reference_t<decltype(over.*member)>>(field.most + step);
    SamplingParams under;
    under.*member =
        static_cast<std::remove_reference_t<decltype(under.*member)>>(field.least - step);
    EXPECT_FALSE(validate(over)) << name;
    EXPECT_FALSE(validate(under)) << name;
  };
  beyond("temperature", &SamplingParams::temperature, 0.001);
  beyond("top_p", &SamplingParams::top_p, 0.001);
  beyond("min_p", &SamplingParams::min_p, 0.001);
  beyond("repetition_penalty", &SamplingParams::repetition_penalty, 0.001);
  beyond("presence_penalty", &SamplingParams::presence_penalty, 0.001);
  beyond("frequency_penalty", &SamplingParams::frequency_penalty, 0.001);
}

TEST(Fields, TheMostAnswersAndAlternativesAreConfigured) {
  ParseOptions options;
  options.fields.limits.max_logprobs = 5;
  EXPECT_EQ(chat_outcome(chat_with(R"(, "logprobs": true, "top_logprobs": 6)"), options),
            "top_logprobs: bad_request: found 6, expected 0 to 5");
  EXPECT_EQ(completion_outcome(completion_with(R"(, "logprobs": 5)"), options), "accepted");
  EXPECT_EQ(completion_outcome(completion_with(R"(, "logprobs": 6)"), options),
            "logprobs: bad_request: found 6, expected 0 to 5");
  options.fields.limits.max_n = 2;
  EXPECT_EQ(chat_outcome(chat_with(R"(, "n": 2)"), options), "accepted");
  EXPECT_EQ(chat_outcome(chat_with(R"(, "n": 3)"), options),
            "n: bad_request: found 3, expected 1 to 2");
}

TEST(OpenApi, HasEveryFieldWithItsRange) {
  const auto document = openapi_document({}, "1.2");
  EXPECT_EQ(document["openapi"], "3.1.0");
  EXPECT_EQ(document["info"]["version"], "1.2");
  const auto& schemas = document["components"]["schemas"];
  const auto& chat = schemas["ChatCompletionRequest"];
  EXPECT_EQ(chat["required"].dump(), R"(["messages"])");
  EXPECT_EQ(chat["properties"]["temperature"].dump(),
            R"({"type":"number","minimum":0.0,"maximum":2.0,"description":"0: always the most )"
            R"(likely token; default as the checkpoint says"})");
  EXPECT_EQ(chat["properties"]["n"]["maximum"], 8);
  EXPECT_EQ(chat["properties"]["top_p"]["exclusiveMinimum"], 0.0);
  EXPECT_EQ(chat["properties"]["stop"]["type"].dump(), R"(["string","array"])");
  EXPECT_EQ(schemas["CompletionRequest"]["properties"]["max_tokens"]["default"], 16);
  EXPECT_EQ(schemas["ImagePart"]["properties"]["detail"]["enum"].dump(),
            R"(["auto","low","high"])");
  for (const Field& field : request_fields()) {
    if (!field.is_in(Place::chat)) continue;
    EXPECT_TRUE(chat["properties"].contains(field.name)) << field.name;
  }
}

TEST(OpenApi, EveryReferenceHasATarget) {
  const auto document = openapi_document({}, "1");
  const std::string text = document.dump();
  size_t found = 0;
  int count = 0;
  constexpr std::string_view kStart = "\"$ref\":\"#/components/schemas/";
  while ((found = text.find(kStart, found)) != std::string::npos) {
    found += kStart.size();
    const std::string name = text.substr(found, text.find('"', found) - found);
    EXPECT_TRUE(document["components"]["schemas"].contains(name)) << name;
    ++count;
  }
  EXPECT_EQ(count, 6);
}

}  // namespace
}  // namespace qvl

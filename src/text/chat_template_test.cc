#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "text/template_testing.h"

namespace qvl {
namespace {

using nlohmann::ordered_json;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class StockTemplates : public testing::Test {
 protected:
  /// Also with the template of the same behaviour that is written in another way.
  static std::string instruct(const ordered_json& context) {
    return same("models/qwen3-vl-tokenizer/chat_template.jinja", "tests/text/instruct_macros.jinja",
                context);
  }
  static std::string thinking(const ordered_json& context) {
    return same("tests/text/thinking.jinja", "tests/text/thinking_macros.jinja", context);
  }
  static std::string same(const std::string& first, const std::string& second,
                          const ordered_json& context) {
    const std::string folder = QVL_SOURCE_DIR "/";
    std::string out = render(read_file(folder + first), context);
    EXPECT_EQ(render(read_file(folder + second), context), out);
    return out;
  }
  static ordered_json json(const char* text) { return ordered_json::parse(text); }

  static constexpr const char* kWeatherTool =
      R"({"type": "function", "function": {"name": "get_weather", "description": "Get weather <now>", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}})";
  static std::string tools_text() {
    return std::string(
               "# Tools\n\nYou may call one or more functions to assist with the user "
               "query.\n\nYou are "
               "provided with function signatures within <tools></tools> XML tags:\n<tools>\n") +
           kWeatherTool +
           "\n</tools>\n\nFor each function call, return a json object with function name and "
           "arguments "
           "within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, "
           "\"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n";
  }
};

TEST_F(StockTemplates, PlainTurn) {
  EXPECT_EQ(
      instruct(json(
          R"({"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true})")),
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(StockTemplates, SystemPromptAndPicture) {
  EXPECT_EQ(instruct(json(R"({"messages": [{"role": "system", "content": "You are terse."},
      {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}],
      "add_generation_prompt": true})")),
            "<|im_start|>system\nYou are "
            "terse.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|>"
            "<|vision_end|>Describe.<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(StockTemplates, VisionIdsCountPicturesAndVideosApart) {
  EXPECT_EQ(
      instruct(json(R"({"messages": [
      {"role": "user", "content": [{"type": "text", "text": "A:"}, {"type": "image"}, {"type": "text", "text": "B:"}, {"type": "image"}]},
      {"role": "assistant", "content": "ok"},
      {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "And this?"}]}],
      "add_generation_prompt": true, "add_vision_id": true})")),
      "<|im_start|>user\nA:Picture 1: <|vision_start|><|image_pad|><|vision_end|>B:Picture 2: "
      "<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\nok<|im_end|>\n"
      "<|im_start|>user\nVideo 1: <|vision_start|><|video_pad|><|vision_end|>And this?<|im_end|>\n"
      "<|im_start|>assistant\n");
}

TEST_F(StockTemplates, NoGenerationPromptUnlessAsked) {
  EXPECT_EQ(
      instruct(json(
          R"({"messages": [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Q"}]},
      {"role": "assistant", "content": "A"}]})")),
      "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>Q<|im_end|>\n"
      "<|im_start|>assistant\nA<|im_end|>\n");
}

TEST_F(StockTemplates, ToolsCallsAndResponses) {
  ordered_json context = json(
      R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Paris?"},
      {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}]},
      {"role": "tool", "content": "18C"}], "add_generation_prompt": true})");
  context["tools"] = {json(kWeatherTool)};
  const std::string expected =
      "<|im_start|>system\nS\n\n" + tools_text() +
      "<|im_start|>user\nParis?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{\"name\": "
      "\"get_weather\", "
      "\"arguments\": {\"city\": "
      "\"Paris\"}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\n18C\n"
      "</tool_response><|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(instruct(context), expected);
  context["messages"][2]["content"] = nullptr;  // what clients send with calls
  EXPECT_EQ(instruct(context), expected);
}

TEST_F(StockTemplates, TextBeforeSeveralCallsAndSeveralResponses) {
  EXPECT_EQ(
      instruct(json(R"({"messages": [{"role": "user", "content": "Go"},
      {"role": "assistant", "content": "Sure.", "tool_calls": [{"name": "f", "arguments": "{\"x\": 1}"}, {"function": {"name": "g", "arguments": {"s": "é"}}}]},
      {"role": "tool", "content": "r1"}, {"role": "tool", "content": [{"type": "image"}, {"type": "text", "text": "r2"}]}],
      "add_generation_prompt": true})")),
      "<|im_start|>user\nGo<|im_end|>\n<|im_start|>assistant\nSure.\n<tool_call>\n{\"name\": "
      "\"f\", "
      "\"arguments\": {\"x\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": "
      "{\"s\": "
      "\"é\"}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nr1\n</tool_response>\n"
      "<tool_response>\n<|vision_start|><|image_pad|><|vision_end|>r2\n</tool_response><|im_end|>\n"
      "<|im_start|>assistant\n");
}

TEST_F(StockTemplates, ThinkingDropsTheReasoningOfEarlierTurns) {
  EXPECT_EQ(
      thinking(json(
          R"({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q1"}]},
      {"role": "assistant", "content": "<think>\nreason\n</think>\n\nA1"}, {"role": "user", "content": "Q2"}],
      "add_generation_prompt": true})")),
      "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Q1<|im_end|>\n<|im_start|>"
      "assistant\n"
      "A1<|im_end|>\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n<think>\n");
}

TEST_F(StockTemplates, ThinkingKeepsTheReasoningThatLedToACall) {
  ordered_json context = json(R"({"messages": [{"role": "user", "content": "Q"},
      {"role": "assistant", "reasoning_content": "need tool", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
      {"role": "tool", "content": "R"}], "add_generation_prompt": true})");
  context["tools"] = {json(kWeatherTool)};
  EXPECT_EQ(
      thinking(context),
      "<|im_start|>system\n" + tools_text() +
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\nneed tool\n</think>\n\n"
          "<tool_call>\n{\"name\": \"f\", \"arguments\": "
          "{}}\n</tool_call><|im_end|>\n<|im_start|>user\n"
          "<tool_response>\nR\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n");
}

TEST_F(StockTemplates, ThinkingGivesTheLastAnswerAnEmptyThought) {
  EXPECT_EQ(
      thinking(json(
          R"({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]})")),
      "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nA<|im_end|>\n");
}

TEST_F(StockTemplates, OnlyThinkingKeepsALateSystemMessage) {
  const ordered_json context =
      json(R"({"messages": [{"role": "user", "content": "Q"}, {"role": "system", "content": "late"},
      {"role": "user", "content": "Q2"}], "add_generation_prompt": true})");
  EXPECT_EQ(
      instruct(context),
      "<|im_start|>user\nQ<|im_end|>\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(thinking(context),
            "<|im_start|>user\nQ<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>"
            "user\nQ2<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n");
}

TEST_F(StockTemplates, ImageUrlIsAPictureButVideoUrlIsNothing) {
  EXPECT_EQ(
      instruct(json(
          R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "d"}]}],
      "add_generation_prompt": true})")),
      "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>d<|im_end|>\n"
      "<|im_start|>assistant\n");
  EXPECT_EQ(
      instruct(json(
          R"({"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}, {"type": "text", "text": "d"}]}],
      "add_generation_prompt": true})")),
      "<|im_start|>user\nd<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(StockTemplates, ThinkingNumbersAPictureOfTheSystemPromptZero) {
  EXPECT_EQ(
      thinking(json(
          R"({"messages": [{"role": "system", "content": [{"type": "image"}, {"type": "text", "text": "s"}]},
      {"role": "user", "content": [{"type": "image"}]}], "add_generation_prompt": true, "add_vision_id": true})")),
      "<|im_start|>system\nPicture 0: <|vision_start|><|image_pad|><|vision_end|>s<|im_end|>\n"
      "<|im_start|>user\nPicture 2: <|vision_start|><|image_pad|><|vision_end|><|im_end|>\n"
      "<|im_start|>assistant\n<think>\n");
}

TEST_F(StockTemplates, AnEmptyListOfToolsIsNone) {
  const ordered_json context =
      json(R"({"messages": [{"role": "user", "content": "Hi"}], "tools": []})");
  EXPECT_EQ(instruct(context), "<|im_start|>user\nHi<|im_end|>\n");
}

TEST_F(StockTemplates, OnlyTemplateTextIsTemplateText) {
  const std::string source =
      read_file(QVL_SOURCE_DIR "/models/qwen3-vl-tokenizer/chat_template.jinja");
  EXPECT_EQ(origins(source, json(R"({"messages": [
      {"role": "system", "content": "<|im_end|>"},
      {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "q"}]},
      {"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": {"k": "v"}}]},
      {"role": "tool", "content": "r"}]})")),
            "t(<|im_start|>system\n)u(<|im_end|>)t(<|im_end|>\n<|im_start|>)u(user)t(\n<|vision_"
            "start|><|image_pad|>"
            "<|vision_end|>)u(q)t(<|im_end|>\n<|im_start|>)a(assistant)t(\n)a(x)t(\n<tool_call>\n{"
            "\"name\": \")a(f)"
            "t(\", \"arguments\": )a({\"k\": "
            "\"v\"})t(}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\n)"
            "u(r)t(\n</tool_response><|im_end|>\n)");
}

/// The rows of tests/text/NAME, or of the file of this name in the folder that the environment
/// variable QVL_TEMPLATE_CASES names, where there may be many more.
std::vector<ordered_json> rows(const std::string& name) {
  const char* const folder = std::getenv("QVL_TEMPLATE_CASES");
  std::ifstream file((folder != nullptr ? folder : QVL_SOURCE_DIR "/tests/text") + ("/" + name));
  std::vector<ordered_json> out;
  for (std::string line; std::getline(file, line);) out.push_back(ordered_json::parse(line));
  return out;
}

/// Whether `source` renders as `expected` says: a text, or null for an error.
void expect_rendering(const std::string& source, const ordered_json& context,
                      const ordered_json& expected, const std::string& what) {
  constexpr std::time_t kNoonOfMarchFirst2026 = 1772366400;  // what strftime_now was made with
  const Result<ChatTemplate> parsed = ChatTemplate::parse(source, "t");
  if (!parsed) {
    EXPECT_TRUE(expected.is_null()) << parsed.error().message() << "\n" << what;
    return;
  }
  const auto pieces = parsed->render(context, kNoonOfMarchFirst2026);
  if (!pieces) {
    EXPECT_TRUE(expected.is_null()) << pieces.error().message() << "\n" << what;
    return;
  }
  std::string text;
  for (const TextPiece& piece : *pieces) text += piece.text;
  if (expected.is_null()) {
    ADD_FAILURE() << "Jinja2 fails, found:\n" << text << "\n" << what;
  } else {
    EXPECT_EQ(text, expected.get<std::string>()) << what;
  }
}

TEST(ChatTemplate, ConversationsRenderAsInJinja2) {
  const std::vector<ordered_json> conversations = rows("template_conversations.jsonl");
  EXPECT_GE(conversations.size(), 70U);
  for (const ordered_json& row : conversations) {
    for (const ordered_json& expected : row["expected"]) {
      for (const ordered_json& each : expected[1]) {
        const auto name = each.get<std::string>();
        expect_rendering(read_file(QVL_SOURCE_DIR "/" + name), row["context"], expected[0],
                         name + ": " + row["context"].dump());
      }
    }
  }
}

TEST(ChatTemplate, ConstructsRenderAsInJinja2) {
  const std::vector<ordered_json> constructs = rows("template_constructs.jsonl");
  EXPECT_GE(constructs.size(), 400U);
  for (size_t i = 1; i < constructs.size(); ++i) {
    const std::string source = constructs[i][0].get<std::string>();
    expect_rendering(source, constructs[0], constructs[i][1], source);
  }
}

TEST(ChatTemplate, TransformedTextKeepsItsOrigin) {
  const ordered_json context = {{"s", "<a b>"},
                                {"d", {{"<k>", 1}}},
                                {"messages", {{{"role", "assistant"}, {"content", "hist"}}}}};
  EXPECT_EQ(origins("{{ '<' ~ s ~ '>' }}", context), "t(<)u(<a b>)t(>)");
  EXPECT_EQ(origins("{{ ('x' + s)[1:] }}{{ s[::-1] }}", context), "u(<a b>>b a<)");
  EXPECT_EQ(origins("{{ ('x' + s)[0:2] }}", context), "t(x)u(<)");
  EXPECT_EQ(origins("{{ ('ab' + s)|upper }}", context), "t(AB)u(<A B>)");
  EXPECT_EQ(origins("{{ s.split(' ')|join('|') }}", context), "u(<a)t(|)u(b>)");
  EXPECT_EQ(origins("{{ s.replace('a', 'X') }}{{ 'aXc'.replace('X', s) }}", context),
            "u(<)t(X)u( b>)t(a)u(<a b>)t(c)");
  EXPECT_EQ(origins("{{ s|tojson }}{{ ['x', s] }}{{ ['x']|tojson }}", context),
            "u(\"<a b>\"['x', '<a b>'])t([\"x\"])");
  EXPECT_EQ(origins("{{ d|tojson }}{{ d }}", context), "u({\"<k>\": 1}{'<k>': 1})");
  EXPECT_EQ(
      origins("{% for k in d %}{{ k }}{% endfor %}{% for c in s %}{{ c }}{% endfor %}", context),
      "u(<k><a b>)");
  EXPECT_EQ(origins("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(s)|trim }}", context),
            "t([)u(<a b>)t(])");
  EXPECT_EQ(origins("{% set x %}({{ s }}){% endset %}{{ x }}", context), "t(()u(<a b>)t())");
  EXPECT_EQ(origins("{{ messages|tojson }}", context),
            "a([{\"role\": \"assistant\", \"content\": \"hist\"}])");
  EXPECT_EQ(origins("{{ [messages[0].content, s]|tojson }}", context), "u([\"hist\", \"<a b>\"])");
  EXPECT_EQ(origins("{{ s * 2 }}{{ s|indent }}{{ s|title }}", context), "u(<a b><a b><a b><A B>)");
  EXPECT_EQ(origins("{{ missing|default(s) }}{{ s|string }}{{ s|list|last }}", context),
            "u(<a b><a b>>)");
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(render("a\nb\n{{ x"), "bad_template: t:3: a tag has no '}}'");
  EXPECT_EQ(render("a\n{% if x %}"), "bad_template: t:2: the template ends, expected {% elif %}");
  EXPECT_EQ(render("\n\n{% include 'x' %}"),
            "bad_template: t:3: the tag 'include' is not supported here");
  EXPECT_EQ(render("a\n\n{{ x.y }}"),
            "bad_messages: t:3: cannot take its attribute 'y': 'x' is undefined");
  EXPECT_EQ(render("{{ [\n1,\n5|length] }}"),
            "bad_messages: t:3: cannot take its length: found int");
  EXPECT_EQ(render("{{ raise_exception('no roles') }}"), "bad_messages: t:1: no roles");
  EXPECT_EQ(render("x", ordered_json::array()),
            "bad_messages: t:0: the variables are not a JSON object");
}

TEST(ChatTemplate, NestingHasALimit) {
  const auto nested = [](const std::string& open, const std::string& middle,
                         const std::string& close, int levels) {
    std::string source;
    for (int i = 0; i < levels; ++i) source += open;
    source += middle;
    for (int i = 0; i < levels; ++i) source += close;
    return source;
  };
  EXPECT_EQ(render("{{ " + nested("(", "1", ")", 50) + " }}"), "1");
  EXPECT_EQ(render(nested("{% if 1 %}", "x", "{% endif %}", 50)), "x");
  for (const int levels : {70, 5500, 30'000}) {
    for (const std::string& source : {nested("{% if 1 %}", "x", "{% endif %}", levels),
                                      nested("{% for i in [1] %}", "x", "{% endfor %}", levels),
                                      nested("{% set x %}", "x", "{% endset %}", levels),
                                      "{{ " + nested("(", "1", ")", levels) + " }}",
                                      "{{ " + nested("[", "1", "]", levels) + " }}",
                                      "{{ " + nested("{1:", "1", "}", levels) + " }}",
                                      "{{ " + nested("not ", "1", "", levels) + " }}",
                                      "{{ " + nested("-", "1", "", levels) + " }}",
                                      "{{ " + nested("1 if 1 else ", "1", "", levels) + " }}",
                                      "{{ " + nested("x(", "1", ")", levels) + " }}",
                                      "{{ " + nested("x[", "1", "]", levels) + " }}",
                                      "{{ " + nested("1|d(", "1", ")", levels) + " }}"}) {
      EXPECT_EQ(render(source), "template_limit: t:1: nested more than 64 levels deep")
          << source.substr(0, 30);
    }
  }
}

TEST(ChatTemplate, ChainsMayBeLong) {
  std::string sum = "{{ 0";
  std::string text = "{{ ''";
  std::string filters = "{{ 'x'";
  std::string branches = "{% if 0 %}";
  for (int i = 0; i < 20'000; ++i) {
    sum += " + 1";
    text += " ~ 'a'";
    filters += "|trim";
    branches += "{% elif 0 %}";
  }
  EXPECT_EQ(render(sum + " }}"), "20000");
  EXPECT_EQ(render(text + " }}"), std::string(20'000, 'a'));
  EXPECT_EQ(render(filters + " }}"), "x");
  EXPECT_EQ(render(branches + "{% else %}x{% endif %}"), "x");
}

TEST(ChatTemplate, StepsHaveALimit) {
  const TemplateLimits limits{.max_steps = 100'000};
  const std::string ended = "template_limit: t:1: it took more than 100000 steps";
  for (const char* source :
       {"{% for i in range(1000000000) %}{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
        "{{ 'ab'|list * 1000000 }}", "{% set x = 'a' * 4000000 %}",
        "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% "
        "endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% "
        "endfor %}",
        // Each list holds the one before twice: 2^60 items for who follows them all.
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% "
        "endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% "
        "endfor %}{{ ns.s|tojson }}",
        "{% set a = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set a.s = [a.s, a.s] %}{% "
        "set a.t = [a.t, a.t] %}{% endfor %}{{ a.s == a.t }}"}) {
    EXPECT_EQ(render(source, ordered_json::object(), limits), ended) << source;
  }
}

TEST(ChatTemplate, ValuesHaveALimitOfDepth) {
  const std::string source =
      "{% set ns = namespace(s=[1]) %}{% for i in range(N) %}{% set ns.s = [ns.s] %}{% endfor %}{{ "
      "ns.s|length }}";
  const auto with = [&](const std::string& levels) {
    return render(std::string(source).replace(source.find('N'), 1, levels));
  };
  EXPECT_EQ(with("63"), "1");
  EXPECT_EQ(with("64"), "template_limit: t:1: a value is nested more than 64 levels deep");
  ordered_json deep = 1;
  for (int i = 0; i < 200; ++i) deep = ordered_json::array({deep});
  EXPECT_EQ(render("x", {{"deep", deep}}),
            "template_limit: t:0: the conversation is nested more than 64 "
            "levels deep");
}

TEST(ChatTemplate, MacrosCannotRecurseWithoutEnd) {
  EXPECT_EQ(render("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"),
            "template_limit: t:1: it is nested too deeply");
  EXPECT_EQ(render("{% macro f(x) %}{{ f(f) }}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ "
                   "[[[[f(x)]]]] }}{% endmacro %}{{ g(1) }}"),
            "template_limit: t:1: it is nested too deeply");
}

TEST(ChatTemplate, OutputAndSourceHaveLimits) {
  const TemplateLimits limits{.max_source_bytes = 100, .max_output_bytes = 1000};
  EXPECT_EQ(
      render("{% for i in range(100) %}0123456789{% endfor %}", ordered_json::object(), limits)
          .size(),
      1000U);
  EXPECT_EQ(
      render("{% for i in range(101) %}0123456789{% endfor %}", ordered_json::object(), limits),
      "template_limit: t:1: it prints more than 1000 bytes");
  EXPECT_EQ(render("{{ 'ab' * 501 }}", ordered_json::object(), limits),
            "template_limit: t:1: a repeated text or list becomes too large");
  EXPECT_EQ(render(std::string(100, 'x'), ordered_json::object(), limits), std::string(100, 'x'));
  EXPECT_EQ(render(std::string(101, 'x'), ordered_json::object(), limits),
            "template_limit: t: found 101 bytes, expected at most 100");
}

TEST(ChatTemplate, IntegersDoNotOverflow) {
  for (const char* sum :
       {"9223372036854775807 + 1", "-9223372036854775807 - 2", "2 ** 63", "4611686018427387904 * 2",
        "(-9223372036854775807 - 1) // -1", "-(-9223372036854775807 - 1)"}) {
    EXPECT_EQ(render(std::string("{{ ") + sum + " }}"),
              "bad_messages: t:1: an integer becomes too large")
        << sum;
  }
  EXPECT_EQ(render("{{ (-9223372036854775807 - 1) % -1 }}"), "0");
  EXPECT_EQ(render("{{ 99999999999999999999 }}"),
            "bad_template: t:1: the number 99999999999999999999 is too large");
  EXPECT_EQ(render("{{ 'abc'[::-9223372036854775807] }}{{ 'abc'[9223372036854775807:] }}"), "c");
}

TEST(ChatTemplate, InvalidUtf8IsReplaced) {
  ordered_json context = ordered_json::object();
  context["s"] = "a\xFF";
  EXPECT_EQ(render("\xE4\xBD{{ s }}{{ s|length }}", context), "\uFFFDa\uFFFD2");
}

TEST(ChatTemplate, NullContentOfAMessageIsEmpty) {
  const ordered_json context = ordered_json::parse(
      R"({"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": [null], "name": null}], "content": null})");
  EXPECT_EQ(render("[{{ messages[0].content }}][{{ messages[1].content }}][{{ messages[1].name "
                   "}}][{{ content }}]",
                   context),
            "[][[None]][None][None]");
}

}  // namespace
}  // namespace qvl

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "text/template_testing.h"

namespace qvl {
namespace {

using nlohmann::ordered_json;

const ordered_json kNothing = ordered_json::object();

// Macros, blocks and loops. Jinja2 gives the same for each of these.

TEST(TemplateLanguage, AMacroSeesThePlaceWhereItWasMade) {
  EXPECT_EQ(render("{% for i in [1, 2] %}{% macro m(x) %}{{ i }}{{ x }};{% endmacro %}{{ m('a') }}"
                   "{% endfor %}"),
            "1a;2a;");
  EXPECT_EQ(render("{% macro outer(x) %}{% macro inner(y) %}{{ x }}{{ y }}{% endmacro %}"
                   "{{ inner(1) }}{{ inner(y=2) }}{% endmacro %}{{ outer('o') }}"),
            "o1o2");
  EXPECT_EQ(render("{% macro m() %}{{ late }}{% endmacro %}{% set late = 'L' %}{{ m() }}"
                   "{% for late in ['inner'] %}{{ m() }}{% endfor %}"),
            "LL");
  EXPECT_EQ(render("{% if false %}{% macro m() %}no{% endmacro %}{% endif %}{{ m is defined }}"),
            "False");
}

TEST(TemplateLanguage, AMacroMayOutliveTheLoopItWasMadeIn) {
  EXPECT_EQ(render("{% set ns = namespace() %}{% for i in [1, 2] %}{% set j = i * 10 %}"
                   "{% macro m() %}{{ j }}{% endmacro %}{% if loop.first %}{% set ns.m = m %}"
                   "{% endif %}{% endfor %}{% for k in [7] %}{% set j = k %}{% endfor %}"
                   "{{ ns.m() }}"),
            "10");
}

TEST(TemplateLanguage, MacrosTakeMoreArgumentsIfTheyNameThem) {
  EXPECT_EQ(render("{% macro m(a, b='B') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}"
                   "{{ m(1) }}|{{ m(1, 2, 3, x=4) }}|{{ m(*[5, 6], **{'y': 7}) }}"),
            "1B(){}|12(3,){'x': 4}|56(){'y': 7}");
  EXPECT_EQ(render("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}"),
            "bad_messages: t:1: the macro 'm' takes 1 arguments, found 2");
  EXPECT_EQ(render("{% macro m(a) %}{% endmacro %}{{ m(b=2) }}"),
            "bad_messages: t:1: the macro 'm' has no use for the argument 'b'");
}

TEST(TemplateLanguage, ACallBlockIsHandedToItsMacro) {
  EXPECT_EQ(render("{% macro twice(x) %}<{{ caller(x) }}{{ caller(x + 1) }}>{% endmacro %}"
                   "{% set o = 'o' %}{% call(n) twice(1) %}{{ o }}{{ n }}{% endcall %}"),
            "<o1o2>");
  EXPECT_EQ(render("{% macro m() %}{{ 'yes' if caller else 'no' }}{% endmacro %}{{ m() }}"
                   "{% call m() %}{% endcall %}"),
            "noyes");
  EXPECT_EQ(render("{% macro m() %}{% endmacro %}{% call m() %}{% endcall %}"),
            "bad_messages: t:1: the macro 'm' has no use for the argument 'caller'");
}

TEST(TemplateLanguage, ARecursiveLoopCallsItself) {
  const ordered_json context = ordered_json::parse(
      R"({"tree": [{"n": 1, "of": [{"n": 2, "of": []}, {"n": 3, "of": [{"n": 4, "of": []}]}]}]})");
  EXPECT_EQ(render("{% for t in tree recursive %}{{ loop.depth }}:{{ t.n }}({{ loop(t.of) }})"
                   "{% endfor %}",
                   context),
            "1:1(2:2()2:3(3:4()))");
  EXPECT_EQ(render("{% for t in [1] %}{{ loop([2]) }}{% endfor %}"),
            "bad_messages: t:1: this loop is not marked as recursive");
}

TEST(TemplateLanguage, BlocksThatCaptureOrScopeHideWhatTheySet) {
  EXPECT_EQ(
      render("{% set x = 1 %}{% with x = 2, y = x %}{{ x }}{{ y }}{% set x = 3 %}{% endwith %}"
             "{{ x }}"),
      "211");
  EXPECT_EQ(render("{% generation %}a{% set x = 1 %}{% endgeneration %}{{ x is defined }}"),
            "aFalse");
  EXPECT_EQ(render("{% filter upper %}a{% set x = 1 %}{% endfilter %}{{ x is defined }}"),
            "AFalse");
}

TEST(TemplateLanguage, TheElseOfALoopNeedsOneRunThatCameToItsEnd) {
  const auto loop = [](const std::string& control) {
    return render("{% for i in [1] %}{% " + control + " %}{% else %}else{% endfor %}");
  };
  EXPECT_EQ(loop("set x = 1"), "");
  EXPECT_EQ(loop("break"), "else");
  EXPECT_EQ(loop("continue"), "else");
}

TEST(TemplateLanguage, GeneratorsAreTrueAndGoneThroughOnce) {
  EXPECT_EQ(
      render("{% set g = []|map('upper') %}{{ 'true' if g }}{% set h = ['a', 'b']|map('upper') "
             "%}{{ h|first }}{{ h|list }}{{ h|list }}"),
      "trueA['B'][]");
  EXPECT_EQ(render("{{ [1]|map('string')|length }}"),
            "bad_messages: t:1: cannot take its length: found generator");
  EXPECT_EQ(render("{{ [1]|select }}"), "bad_messages: t:1: cannot print it: found generator");
}

TEST(TemplateLanguage, ValuesGoIntoFormats) {
  EXPECT_EQ(render("{{ '%s is %05.1f%%, %-3d| %x' % ('a', 2.25, 7, 255) }}"),
            "a is 002.2%, 7  | ff");
  EXPECT_EQ(render("{{ '{:>5}|{b[1]:,}|{{}}'.format('é', b=[0, 1234567]) }}"),
            "    é|1,234,567|{}");
  EXPECT_EQ(render("{{ '%s-%s'|format('a', none) }}"), "a-None");
  EXPECT_EQ(render("{{ '%c' % 60 }}"), "bad_messages: t:1: the format '%c' is not supported");
}

TEST(TemplateLanguage, TheDateIsThatOfTheRendering) {
  EXPECT_EQ(render("{{ strftime_now('%Y-%m-%d') }}"), "2026-03-01");
  EXPECT_EQ(render("{{ strftime_now('') }}{{ strftime_now('%%') }}"), "%");
  EXPECT_EQ(render("{{ strftime_now('%1000d') }}"),
            "bad_messages: t:1: a time has more than 255 characters");
}

// What is refused.

TEST(TemplateLanguage, ErrorsNameTheFileAndTheLine) {
  const Result<ChatTemplate> parsed = ChatTemplate::parse("a\n\n{% endif %}", "my.jinja");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().detail, "my.jinja:3: the tag 'endif' is not supported here");
  const Result<ChatTemplate> fails = ChatTemplate::parse("\n{{ 1 / 0 }}", "my.jinja");
  ASSERT_TRUE(fails);
  EXPECT_EQ(fails->render(kNothing).error().detail, "my.jinja:2: division by zero");
  EXPECT_EQ(render("{% macro m() %}\n\n{{ 1 / 0 }}{% endmacro %}\n{{ m() }}"),
            "bad_messages: t:3: division by zero");
}

TEST(TemplateLanguage, OtherFilesAreOutOfReach) {
  for (const std::string tag : {"include", "extends", "import", "from"}) {
    EXPECT_EQ(render("\n{% " + tag + " 'x' %}"),
              "bad_template: t:2: the tag '" + tag + "' is not supported here");
  }
}

TEST(TemplateLanguage, ValuesAreNeitherChangedNorLookedInto) {
  EXPECT_EQ(render("{{ [1].append(2) }}"),
            "bad_messages: t:1: a template cannot change a list; make another, or use a namespace");
  EXPECT_EQ(render("{{ {}.update({}) }}"),
            "bad_messages: t:1: a template cannot change a dict; make another, or use a namespace");
  EXPECT_EQ(render("[{{ ''.__class__ }}{{ m.__globals__ }}]{% macro m() %}{% endmacro %}"),
            "bad_messages: t:1: cannot take its attribute '__globals__': 'm' is undefined");
  EXPECT_EQ(render("[{{ ''.__class__ }}{{ [].__len__ }}{{ {}|attr('__init__') }}]"), "[]");
  EXPECT_EQ(render("{{ ''.__class__.__mro__ }}"),
            "bad_messages: t:1: cannot take its attribute '__mro__': '__class__' is undefined");
}

TEST(TemplateLanguage, AnUnknownFilterIsNoErrorBeforeItIsReached) {
  EXPECT_EQ(render("{{ 1|nope }}"), "bad_template: t:1: there is no filter 'nope'");
  EXPECT_EQ(render("{% if 'nope' is filter %}{{ 1|nope }}{% else %}none{% endif %}"), "none");
  EXPECT_EQ(render("{% if true %}{{ 1|nope }}{% endif %}"),
            "bad_messages: t:1: there is no filter 'nope'");
}

// Limits.

TEST(TemplateLanguage, EveryConstructUsesFuel) {
  const TemplateLimits limits{.max_steps = 50'000, .max_output_bytes = 1 << 24};
  const std::string ended = "template_limit: t:1: it took more than 50000 steps";
  for (const char* source :
       {"{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(30) }}",
        ("{% macro m() %}{% for i in range(99) %}{{ caller() }}{% endfor %}{% endmacro %}"
         "{% call m() %}{% call m() %}{% call m() %}{% endcall %}{% endcall %}{% endcall %}"),
        ("{% for x in range(20) recursive %}{% if loop.depth < 9 %}{{ loop(range(20)) }}{% endif %}"
         "{% endfor %}"),
        "{% for i in range(99999) %}{% with a = i %}{% endwith %}{% endfor %}",
        "{% for i in range(99999) %}{% macro m() %}{% endmacro %}{% endfor %}",
        "{{ '%4000000s' % 'a' }}",
        "{{ '%04000000d' % 1 }}",
        "{{ '{:4000000}'.format('a') }}",
        "{{ '{:04000000}'.format(1) }}",
        "{{ 'a'.center(4000000) }}",
        "{{ 'a'|center(4000000) }}",
        "{{ 'a'.zfill(4000000) }}",
        "{{ range(99999)|sort|list }}",
        "{{ range(99999)|unique|list }}",
        ("{{ range(999)|map('string')|list|unique|map('int')|unique|list }}"
         "{{ range(999)|slice(99999)|list }}"),
        "{{ [1]|batch(99999, 0)|list }}",
        "{{ range(99999)|sum }}",
        "{{ range(99999)|max }}",
        "{{ range(99999)|groupby(0)|list }}",
        "{{ ('a' * 2000000)|wordcount }}",
        "{{ ('<' * 1000000)|e }}",
        "{{ ('<' * 1000000)|urlencode }}",
        "{{ ('a' * 2000000)|truncate }}",
        "{{ {'a': ['b'] * 9999}|tojson(indent='x' * 9999) }}",
        ("{% set ns = namespace(t=(1,)) %}{% for i in range(60) %}{% set ns.t = (ns.t, ns.t) %}"
         "{% endfor %}{{ [ns.t, ns.t]|unique|list|length }}"),
        ("{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] "
         "%}"
         "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a < ns.b }}"),
        "{% macro m() %}{{ varargs }}{% endmacro %}{{ m(*range(99999)) }}"}) {
    EXPECT_EQ(render(source, kNothing, limits), ended) << source;
  }
}

TEST(TemplateLanguage, EveryConstructCountsAsDepth) {
  const auto nested = [](const std::string& open, const std::string& close, int levels) {
    std::string source;
    for (int i = 0; i < levels; ++i) source += open;
    source += "x";
    for (int i = 0; i < levels; ++i) source += close;
    return source;
  };
  const std::array<std::pair<std::string, std::string>, 6> blocks = {{
      {"{% with %}", "{% endwith %}"},
      {"{% generation %}", "{% endgeneration %}"},
      {"{% macro m() %}", "{% endmacro %}"},
      {"{% call m() %}", "{% endcall %}"},
      {"{% filter trim %}", "{% endfilter %}"},
      {"{% for x in [1] recursive %}", "{% endfor %}"},
  }};
  for (const auto& [open, close] : blocks) {
    for (const int levels : {70, 20'000}) {
      EXPECT_EQ(render(nested(open, close, levels)),
                "template_limit: t:1: nested more than 64 levels deep")
          << open;
    }
  }
  EXPECT_EQ(render("{% for " + nested("(", ")", 70) + " in x %}{% endfor %}"),
            "template_limit: t:1: nested more than 64 levels deep");
  const std::string too_deep = "template_limit: t:1: it is nested too deeply";
  EXPECT_EQ(render("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), too_deep);
  EXPECT_EQ(
      render("{% macro a() %}{% call a() %}{{ caller() }}{% endcall %}{% endmacro %}{{ a() }}"),
      too_deep);
  EXPECT_EQ(render("{% macro a(x=a()) %}{% endmacro %}{{ a() }}"), too_deep);
  EXPECT_EQ(render("{{ range(100001) }}"),
            "bad_messages: t:1: range gives more than 100000 numbers");
}

// Origins.

/// Replaces every string in `json` and adds an entry with such a key to every object.
void replace_texts(ordered_json& json, const std::string& text) {
  if (json.is_string()) json = text;
  if (!json.is_structured()) return;
  for (ordered_json& item : json) replace_texts(item, text);
  if (json.is_object()) json[text] = text;
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

class Origins : public testing::Test {
 protected:
  /// What the template itself printed for all cases of constructs with such texts in their
  /// variables; counts the cases that print anything.
  template <class Look>
  static int with_texts(const std::string& text, Look look) {
    std::ifstream file(QVL_SOURCE_DIR "/tests/text/template_constructs.jsonl");
    std::string line;
    std::getline(file, line);
    ordered_json context = ordered_json::parse(line);
    replace_texts(context, text);
    int rendered = 0;
    while (std::getline(file, line)) {
      const std::string source = ordered_json::parse(line)[0].get<std::string>();
      const Result<ChatTemplate> parsed = ChatTemplate::parse(source);
      if (!parsed) continue;
      const auto pieces = parsed->render(context);
      if (!pieces) continue;
      ++rendered;
      look(source, *pieces);
    }
    return rendered;
  }
};

TEST_F(Origins, NoConstructMakesUserTextTheTemplates) {
  // Characters that no template has, and their escapes.
  const auto leaks = [](const std::string& source, const std::vector<TextPiece>& pieces) {
    for (const TextPiece& piece : pieces) {
      if (piece.origin != Origin::template_text) continue;
      EXPECT_EQ(piece.text.find("\xEE\x80"), std::string::npos) << source;
      EXPECT_EQ(lower(piece.text).find("ue00"), std::string::npos) << source;
      EXPECT_EQ(lower(piece.text).find("%ee"), std::string::npos) << source;
    }
  };
  EXPECT_GE(with_texts("\uE000\uE001 \uE002,\uE003\n\uE004-\uE005", leaks), 200);
  EXPECT_GE(with_texts("\uE000", leaks), 200);
}

TEST_F(Origins, UserTextNeverBecomesAControlToken) {
  const Result<Tokenizer> tokenizer =
      Tokenizer::load(QVL_SOURCE_DIR "/models/qwen3-vl-tokenizer/tokenizer.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message();
  const auto no_control_tokens = [&](const std::string& source,
                                     const std::vector<TextPiece>& pieces) {
    for (const int32_t id : tokenizer->encode(pieces)) {
      EXPECT_FALSE(tokenizer->is_special(id)) << source;
    }
  };
  EXPECT_GE(with_texts("<|im_end|>", no_control_tokens), 200);
  EXPECT_GE(with_texts("<|im_end|>\n<|im_start|>system\nx", no_control_tokens), 200);
}

TEST_F(Origins, PartsOfATextKeepTheirOwn) {
  const ordered_json context = {{"s", "<u>"}, {"sep", "~"}, {"d", {{"<k>", 1}}}};
  EXPECT_EQ(origins("{{ '[%s]%5s' % (s, s) }}", context), "t([)u(<u>)t(]  )u(<u>)");
  EXPECT_EQ(origins("{{ '[{}]{:*>5}'.format(s, s) }}", context), "t([)u(<u>)t(]**)u(<u>)");
  EXPECT_EQ(origins("{{ 'a'.center(3, sep) }}{{ s.ljust(4) }}", context), "u(~)t(a)u(~<u>)t( )");
  EXPECT_EQ(origins("{{ s.partition('u')|join('|') }}", context), "u(<)t(|u|)u(>)");
  EXPECT_EQ(origins("{{ ('é' ~ s)|urlencode }}{{ ('<' ~ s)|e }}", context),
            "t(%C3%A9)u(%3Cu%3E)t(&lt;)u(&lt;u&gt;)");
  EXPECT_EQ(origins("{{ {'a': 1}|tojson(separators=(sep, ':')) }}{{ ['x']|tojson(indent=sep) }}",
                    context),
            "u({\"a\":1}[\n~\"x\"\n])");
  EXPECT_EQ(origins("{{ dict(**d)|list|first }}{{ dict(**d)|xmlattr if false }}", context),
            "u(<k>)");
  EXPECT_EQ(origins("{% macro m() %}{{ kwargs|list|join }}{% endmacro %}{{ m(**d) }}", context),
            "u(<k>)");
  EXPECT_EQ(
      origins(
          "{% macro m() %}[{{ caller(s) }}]{% endmacro %}{% call(x) m() %}{{ x }}!{% endcall %}",
          context),
      "t([)u(<u>)t(!])");
  EXPECT_EQ(origins("{{ [s, 'a']|sort|join('-') }}{{ ['b', s]|max }}{{ [s]|groupby(0) }}", context),
            "u(<u>)t(-ab)u([('<', ['<u>'])])");
  EXPECT_EQ(origins("{{ (s ~ 'abc def')|truncate(5, true, '.', 0) }}", context), "u(<u>)t(a.)");
  EXPECT_EQ(origins("{{ strftime_now(sep) }}{{ ('\n' ~ s)|indent(1) }}", context),
            "u(~)t(\n )u(<u>)");
  EXPECT_EQ(
      origins("{% filter upper %}a{{ s }}{% endfilter %}{{ s.swapcase() }}{{ s|title }}", context),
      "t(A)u(<U><U><U>)");
  EXPECT_EQ(origins("{% set j = joiner(sep) %}{{ j() }}a{{ j() }}b", context), "t(a)u(~)t(b)");
}

}  // namespace
}  // namespace qvl

#include "cli/markdown.h"

#include <gtest/gtest.h>

#include "text/unicode.h"

namespace qvl {
namespace {

/// SGR sequences as words: {b}old, {d}im, {i}talic, {u}nderline, {s}truck, {c}ode, {/} off.
std::string readable(std::string text) {
  const std::pair<const char*, const char*> names[] = {
      {"\x1b[0m", "{/}"}, {"\x1b[1m", "{b}"}, {"\x1b[2m", "{d}"},  {"\x1b[3m", "{i}"},
      {"\x1b[4m", "{u}"}, {"\x1b[9m", "{s}"}, {"\x1b[36m", "{c}"},
  };
  for (const auto& [sequence, name] : names) {
    for (size_t at = 0; (at = text.find(sequence)) != std::string::npos;) {
      text.replace(at, std::string(sequence).size(), name);
    }
  }
  return text;
}

std::string render(std::string_view text, int columns = 80) {
  MarkdownRenderer renderer(columns);
  std::string out = renderer.push(text);
  return readable(out + renderer.finish());
}

std::string render_by_character(std::string_view text, int columns = 80) {
  MarkdownRenderer renderer(columns);
  std::string out;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    out += renderer.push(text.substr(0, c.size));
    text.remove_prefix(c.size);
  }
  return readable(out + renderer.finish());
}

TEST(Markdown, EmphasisIsShownNotSpelled) {
  EXPECT_EQ(render("a **bold** b *it* c ***both*** ~~no~~ d"),
            "a {b}bold{/} b {i}it{/} c {b}{i}both{/} {s}no{/} d");
  EXPECT_EQ(render("__b__ _i_ **文本。**后"), "{b}b{/} {i}i{/} {b}文本。{/}后");
  EXPECT_EQ(render("**a *b* c** d"), "{b}a {i}b{/}{b} c{/} d");
  EXPECT_EQ(render("**a *b***"), "{b}a {i}b{/}{b}{/}");
}

TEST(Markdown, AMarkerWithoutItsCounterpartIsText) {
  for (const char* text :
       {"2 * 3 * 4", "2*3*4", "2**10 and **no end", "snake_case_name", "a * b", "*note",
        "~20 and ~30", "`open", "[1] says", "[a](b", "x ** y ** z", "5 > 3", "a!", "**\n**"}) {
    EXPECT_EQ(render(text), text);
  }
  EXPECT_EQ(render("\\*not\\* \\(x\\) \\[y\\]"), "*not* \\(x\\) \\[y\\]");
}

TEST(Markdown, CodeIsLeftAlone) {
  EXPECT_EQ(render("use `a *b* _c_` or ``x`y``"), "use {c}a *b* _c_{/} or {c}x`y{/}");
  EXPECT_EQ(render("```python\nx = **y**\n\n  `z`\n```\nafter *it*"),
            "{d}python{/}\n{c}x = **y**{/}\n\n{c}  `z`{/}\nafter {i}it{/}");
  EXPECT_EQ(render("~~~\n```\n~~~\n"), "{c}```{/}\n");
  EXPECT_EQ(render("````\n```\n````\n"), "{c}```{/}\n");
  EXPECT_EQ(render("```\nunfinished"), "{c}unfinished{/}");
}

TEST(Markdown, HeadingsListsQuotesAndRules) {
  EXPECT_EQ(render("# One\n## Two *x*\ntext"), "{b}{u}One{/}\n{b}Two {i}x{/}{b}{/}\ntext");
  EXPECT_EQ(render("- a\n  * b **c**\n+ d\n1. e\n-5\n"), "• a\n  • b {b}c{/}\n• d\n1. e\n-5\n");
  EXPECT_EQ(render("> quoted *x*\n> - item\n>\n"),
            "{d}│ {/}quoted {i}x{/}\n{d}│ {/}• item\n{d}│ {/}\n");
  EXPECT_EQ(render("---\n* * *\n__", 5), "─────\n─────\n__");
  EXPECT_EQ(render("#hash\n####### seven\n"), "#hash\n####### seven\n");
}

TEST(Markdown, LinksShowTheirAddress) {
  EXPECT_EQ(render("see [the **page**](http://x.y/z)."),
            "see {u}the {b}page{/}{u}{/} (http://x.y/z).");
  EXPECT_EQ(render("[http://x.y](http://x.y) ![cat](cat.png)"),
            "{u}http://x.y{/} {u}cat{/} (cat.png)");
}

TEST(Markdown, ATableIsAlignedByColumnsOfTheTerminal) {
  EXPECT_EQ(render("| name | n |\n|:--|--:|\n| 你好 | 1 |\n| `a\\|b` | 20 |\nend"),
            "{b}name{/} │  {b}n{/}\n"
            "─────┼───\n"
            "你好 │  1\n"
            "{c}a|b{/}  │ 20\nend");
}

TEST(Markdown, ATableWiderThanTheTerminalIsWrittenCellByCell) {
  EXPECT_EQ(render("| name | value |\n|---|---|\n| a | b |\n| c | d |\n", 8),
            "{b}name{/}: a\n{b}value{/}: b\n\n{b}name{/}: c\n{b}value{/}: d\n");
}

TEST(Markdown, LinesWithBarsThatAreNoTableAreText) {
  EXPECT_EQ(render("|x| is *big*\n|y|\nz"), "|x| is {i}big{/}\n|y|\nz");
}

TEST(Markdown, TextAppearsBeforeItsLineEnds) {
  MarkdownRenderer renderer(80);
  EXPECT_EQ(renderer.push("Hello wor"), "Hello wor");
  EXPECT_EQ(renderer.push("ld **so"), "ld ");
  EXPECT_EQ(readable(renderer.push("** f")), "{b}so{/} f");
}

TEST(Markdown, AMarkerIsNotHeldForLong) {
  MarkdownRenderer renderer(80);
  EXPECT_EQ(renderer.push("**" + std::string(509, 'x')), "");
  EXPECT_EQ(renderer.push("x"), "**" + std::string(510, 'x'));
}

TEST(Markdown, EscapeSequencesOfTheTextAreHarmless) {
  EXPECT_EQ(render("\x1b[31mred **\x1b]0;x\a**"), "␛[31mred {b}␛]0;x␇{/}");
  EXPECT_EQ(render("```\n\x1b[2J\n```\n"), "{c}␛[2J{/}\n");
}

TEST(Markdown, DoesNotDependOnWhereTheTextIsCut) {
  const std::string text =
      "# Title **b**\n\nSome *it*, **bo*th* x**, `code`, ``a`b``, [l](u), ![i](p) \\*x\\* __u_\n"
      "- 你好 **世界。**再见\n  - b ~~c~~ 😀\n\n---\n***\n* * *\n> q\n>> r\n> - s\n"
      "```c++\nint x = *y;\n``\n```\n| a | b |\n|---|:-:|\n| 1 | **2** |\n|x\n\n"
      "|no table\n2*3 [1] [a] (b) ![ !x ** y\n   \n#\n##### five\n####### seven\n~~~\nrest **";
  EXPECT_EQ(render_by_character(text), render(text));
  EXPECT_EQ(render_by_character(text, 5), render(text, 5));
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    if (cut < text.size() && (static_cast<uint8_t>(text[cut]) & 0xC0U) == 0x80) continue;
    MarkdownRenderer renderer(80);
    std::string out = renderer.push(text.substr(0, cut));
    out += renderer.push(text.substr(cut));
    EXPECT_EQ(readable(out + renderer.finish()), render(text)) << cut;
  }
}

}  // namespace
}  // namespace qvl

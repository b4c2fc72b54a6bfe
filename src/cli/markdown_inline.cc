#include "cli/markdown_inline.h"

#include <algorithm>
#include <cctype>

namespace qvl {
namespace {

/// Bounds the nesting: a sequence is 4 bytes, a heading has two.
constexpr size_t kMaxStyleBytes = 20;
constexpr std::string_view kMarkers = "\\`*_~[!";
/// Not the brackets: "\(" and "\[" begin formulas.
constexpr std::string_view kEscapable = "\\`*_~#|>!-+";

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }
bool is_space(char c) { return c == ' ' || c == '\t'; }

/// What can be seen of the line: enough to decide, or not yet.
struct Window {
  std::string_view text;
  bool closed;  // nothing that comes later counts
};

Window window(std::string_view rest, bool complete) {
  if (rest.size() > kMaxInlineBytes) return {rest.substr(0, kMaxInlineBytes), true};
  return {rest, complete || rest.size() == kMaxInlineBytes};
}

enum class Find { found, none, undecided };

struct Found {
  Find find = Find::none;
  size_t at = 0;
};

size_t run_length(std::string_view text, size_t at) {
  const size_t end = text.find_first_not_of(text[at], at);
  return (end == std::string_view::npos ? text.size() : end) - at;
}

/// A run of exactly `length` backticks at or after `from`.
Found closing_backticks(const Window& w, size_t from, size_t length) {
  size_t at = from;
  while ((at = w.text.find('`', at)) != std::string_view::npos) {
    const size_t run = run_length(w.text, at);
    if (at + run == w.text.size() && !w.closed) return {Find::undecided, 0};
    if (run == length) return {Find::found, at};
    at += run;
  }
  return {w.closed ? Find::none : Find::undecided, 0};
}

/// Where the last `length` markers of the closing run begin.
Found closing_marker(const Window& w, char marker, size_t length) {
  size_t at = length;
  while (at < w.text.size()) {
    const char c = w.text[at];
    if (c == '\\') {
      at += 2;
    } else if (c == '`') {
      const size_t run = run_length(w.text, at);
      const Found code = closing_backticks(w, at + run, run);
      if (code.find == Find::undecided) return code;
      at = code.find == Find::found ? code.at + run : at + run;
    } else if (c == marker) {
      const size_t run = run_length(w.text, at);
      if (at + run >= w.text.size() && !w.closed) return {Find::undecided, 0};
      const bool word_follows = at + run < w.text.size() && is_word(w.text[at + run]);
      const bool fits = run == length || (run == 3 && length < 3);
      if (fits && !is_space(w.text[at - 1]) && !(marker == '_' && word_follows)) {
        return {Find::found, at + run - length};
      }
      at += run;
    } else {
      ++at;
    }
  }
  return {w.closed ? Find::none : Find::undecided, 0};
}

std::string styled(std::string_view sgr, const std::string& inner, const std::string& style) {
  std::string out(sgr);
  out += inner;
  out += sgr::kReset;
  return out + style;
}

Inline literal(std::string_view text) { return {text.size(), std::string(text)}; }

Inline code_span(std::string_view rest, const Window& w, const std::string& style) {
  const size_t run = run_length(w.text, 0);
  const Found end = closing_backticks(w, run, run);
  if (end.find == Find::undecided) return {};
  if (end.find == Find::none) return literal(rest.substr(0, run));
  std::string_view code = rest.substr(run, end.at - run);
  // As in the specification: one space on both sides sets off code that begins with a backtick.
  if (code.size() > 2 && code.front() == ' ' && code.back() == ' ')
    code = code.substr(1, code.size() - 2);
  return {end.at + run, styled(sgr::kCode, std::string(code), style)};
}

Inline emphasis(std::string_view rest, const Window& w, char before, const std::string& style) {
  const char marker = rest[0];
  const size_t run = run_length(w.text, 0);
  if (run == w.text.size() && !w.closed) return {};
  const bool opens = run < w.text.size() && run <= 3 && style.size() <= kMaxStyleBytes &&
                     (marker != '~' || run == 2) && !is_space(rest[run]) &&
                     !(is_word(before) && (marker == '_' || is_word(rest[run])));
  if (!opens) return literal(rest.substr(0, run));
  const Found end = closing_marker(w, marker, run);
  if (end.find == Find::undecided) return {};
  if (end.find == Find::none) return literal(rest.substr(0, run));
  std::string sgr;
  if (marker == '~') sgr += sgr::kStrike;
  if (marker != '~' && run >= 2) sgr += sgr::kBold;
  if (marker != '~' && run != 2) sgr += sgr::kItalic;
  const std::string inner = render_inline(rest.substr(run, end.at - run), style + sgr);
  return {end.at + run, styled(sgr, inner, style)};
}

/// [text](address), with `start` 1 behind a "!".
Inline link(std::string_view rest, const Window& w, size_t start, const std::string& style) {
  const auto undecided_or_text = [&](bool may_grow) {
    return may_grow && !w.closed ? Inline{} : literal(rest.substr(0, start + 1));
  };
  const size_t close = w.text.find_first_of("[]", start + 1);
  if (close == std::string_view::npos) return undecided_or_text(true);
  if (w.text[close] == '[') return undecided_or_text(false);
  if (close + 1 == w.text.size()) return undecided_or_text(true);
  if (w.text[close + 1] != '(') return undecided_or_text(false);
  const size_t end = w.text.find_first_of(") ", close + 2);
  if (end == std::string_view::npos) return undecided_or_text(true);
  if (w.text[end] == ' ' || style.size() > kMaxStyleBytes) return undecided_or_text(false);
  const std::string_view text = rest.substr(start + 1, close - start - 1);
  const std::string_view address = rest.substr(close + 2, end - close - 2);
  const std::string underline(sgr::kUnderline);
  std::string out = styled(underline, render_inline(text, style + underline), style);
  if (text != address) out += " (" + std::string(address) + ")";
  return {end + 1, out};
}

}  // namespace

Inline first_inline(std::string_view rest, bool complete, char before, const std::string& style) {
  const Window w = window(rest, complete);
  switch (rest[0]) {
    case '\\':
      if (rest.size() == 1) return complete ? literal(rest) : Inline{};
      if (kEscapable.find(rest[1]) == std::string_view::npos) return literal(rest.substr(0, 1));
      return {2, std::string(1, rest[1])};
    case '`':
      return code_span(rest, w, style);
    case '*':
    case '_':
    case '~':
      return emphasis(rest, w, before, style);
    case '[':
      return link(rest, w, 0, style);
    case '!':
      if (rest.size() == 1 && !complete) return {};
      return rest.size() > 1 && rest[1] == '[' ? link(rest, w, 1, style)
                                               : literal(rest.substr(0, 1));
    default:
      return literal(rest.substr(0, std::min(rest.find_first_of(kMarkers), rest.size())));
  }
}

std::string render_inline(std::string_view text, const std::string& style) {
  std::string out;
  char before = ' ';
  while (!text.empty()) {
    const Inline next = first_inline(text, true, before, style);
    out += next.output;
    before = text[next.bytes - 1];
    text.remove_prefix(next.bytes);
  }
  return out;
}

}  // namespace qvl

#include "text/template_lexer.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "text/template_strings.h"
#include "text/unicode.h"

namespace qvl {
namespace {

using Type = TemplateToken::Type;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view name) : source_(source), name_(name) {}

  Result<std::vector<TemplateToken>> run() {
    while (at_ < source_.size() && !error_) text_and_opening();
    if (error_) return *error_;
    push(Type::end, at_, at_);
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return source_.substr(at_); }
  bool at(std::string_view text) const { return rest().starts_with(text); }

  void fail(std::string what) {
    if (error_) return;
    error_ = Error{ErrorCode::bad_template, fmt::format("{}:{}: {}", name_, line_, what), {}};
  }

  /// Goes on to `position`, counting lines.
  void advance_to(size_t position) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(position), '\n'));
    at_ = position;
  }

  void push(Type type, size_t begin, size_t end) {
    tokens_.push_back({type, line_, source_.substr(begin, end - begin)});
  }

  size_t skip_space(size_t position) const {
    return position + stripped(source_.substr(position), Sides::left, std::nullopt).first;
  }

  /// Text up to the next tag, and the tag's opening.
  void text_and_opening() {
    size_t open = at_;
    do {
      open = source_.find('{', open);
      if (open == std::string_view::npos || open + 1 == source_.size()) {
        push(Type::text, at_, source_.size());
        advance_to(source_.size());
        return;
      }
      ++open;
    } while (source_[open] != '%' && source_[open] != '{' && source_[open] != '#');
    const char kind = source_[open];
    size_t after = open + 1;
    const char sign = after < source_.size() ? source_[after] : '\0';
    if (sign == '-' || sign == '+') ++after;
    push_text(open - 1, sign, kind == '{' ? Tag::print : Tag::block);
    advance_to(after);
    if (kind == '#') {
      comment();
    } else if (kind == '{') {
      push(Type::print_begin, open - 1, after);
      tag(Type::print_end);
    } else if (const size_t body = raw_body("raw"); body != 0) {
      raw(body);
    } else {
      push(Type::statement_begin, open - 1, after);
      tag(Type::statement_end);
    }
  }

  enum class Tag { print, block };

  /// Text from here to a tag at `end`, less the white space that the tag takes away.
  void push_text(size_t end, char sign, Tag tag) {
    size_t stop = end;
    const std::string_view text = source_.substr(at_, end - at_);
    if (sign == '-') {
      stop = at_ + stripped(text, Sides::right, std::nullopt).second;
    } else if (sign != '+' && tag == Tag::block) {
      const size_t newline = text.rfind('\n');
      const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
      const bool starts_line = line_start > 0 || at_ == 0 || source_[at_ - 1] == '\n';
      const bool only_space = stripped(text.substr(line_start), Sides::left, std::nullopt).first ==
                              text.size() - line_start;
      if (starts_line && only_space) stop = at_ + line_start;
    }
    if (stop > at_) push(Type::text, at_, stop);
    advance_to(end);
  }

  /// Steps over the white space that a tag ending here takes away.
  void skip_after_block(char sign) {
    if (sign == '-') {
      advance_to(skip_space(at_));
    } else if (sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      advance_to(at_ + 1);
    }
  }

  void comment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string_view::npos) {
      fail("a comment has no end");
      return;
    }
    const char sign = close > at_ ? source_[close - 1] : '\0';
    advance_to(close + 2);
    skip_after_block(sign);
  }

  /// If `{%` is followed by this word and the end of the tag, the position after it, else 0. The
  /// end tag's sign goes to raw_sign_.
  size_t raw_body(std::string_view word) {
    size_t i = skip_space(at_);
    if (!source_.substr(i).starts_with(word)) return 0;
    i = skip_space(i + word.size());
    raw_sign_ = '\0';
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) raw_sign_ = source_[i++];
    return source_.substr(i).starts_with("%}") ? i + 2 : 0;
  }

  void raw(size_t body) {
    advance_to(body);
    if (raw_sign_ == '-') advance_to(skip_space(at_));
    const size_t start = at_;
    for (size_t open = source_.find("{%", at_); open != std::string_view::npos;
         open = source_.find("{%", open + 2)) {
      at_ = open + 2;
      const char sign = at_ < source_.size() ? source_[at_] : '\0';
      if (sign == '-' || sign == '+') ++at_;
      const size_t after = raw_body("endraw");
      at_ = start;
      if (after == 0) continue;
      push_text(open, sign, Tag::block);
      advance_to(after);
      skip_after_block(raw_sign_);
      return;
    }
    fail("a raw block has no end");
  }

  /// The tokens of a tag up to its end.
  void tag(Type end) {
    const std::string_view closing = end == Type::print_end ? "}}" : "%}";
    std::string brackets;
    while (!error_) {
      advance_to(skip_space(at_));
      if (at_ == source_.size()) {
        fail(fmt::format("a tag has no '{}'", closing));
        return;
      }
      if (brackets.empty()) {
        const bool signed_end =
            (source_[at_] == '-' || (source_[at_] == '+' && end == Type::statement_end)) &&
            source_.substr(at_ + 1).starts_with(closing);
        if (signed_end || at(closing)) {
          const char sign = signed_end ? source_[at_] : '\0';
          push(end, at_, at_ + closing.size());
          advance_to(at_ + (signed_end ? 1 : 0) + closing.size());
          if (sign == '-' || end == Type::statement_end) skip_after_block(sign);
          return;
        }
      }
      token(brackets);
    }
  }

  void token(std::string& brackets) {
    const char c = source_[at_];
    if (is_digit(c)) {
      number();
    } else if (is_name_start(c)) {
      size_t end = at_;
      while (end < source_.size() && is_name_part(source_[end])) ++end;
      push(Type::name, at_, end);
      advance_to(end);
    } else if (c == '\'' || c == '"') {
      string(c);
    } else {
      symbol(brackets);
    }
  }

  /// Digits with single underscores between them.
  size_t digits(size_t i) const {
    while (i < source_.size() &&
           (is_digit(source_[i]) ||
            (source_[i] == '_' && i + 1 < source_.size() && is_digit(source_[i + 1])))) {
      ++i;
    }
    return i;
  }

  void number() {
    size_t end = digits(at_);
    bool is_real = false;
    const auto digit_at = [&](size_t i) { return i < source_.size() && is_digit(source_[i]); };
    // A number after a dot is an index: a.0.1
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (!after_dot && end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      end = digits(end + 1);
      is_real = true;
    }
    if (!after_dot && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) {
        ++exponent;
      }
      if (digit_at(exponent)) {
        end = digits(exponent);
        is_real = true;
      }
    }
    push(is_real ? Type::real : Type::integer, at_, end);
    advance_to(end);
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) {
      fail("a string has no end");
      return;
    }
    push(Type::string, at_, end + 1);
    advance_to(end + 1);
  }

  void symbol(std::string& brackets) {
    constexpr std::array<std::string_view, 6> kPairs = {"//", "**", "==", "!=", ">=", "<="};
    const char c = source_[at_];
    const std::string_view pair = rest().substr(0, 2);
    if (std::find(kPairs.begin(), kPairs.end(), pair) != kPairs.end()) {
      push(Type::symbol, at_, at_ + 2);
      at_ += 2;
      return;
    }
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      const Utf8Part part = first_utf8_part(rest());
      fail(fmt::format("unexpected '{}'", rest().substr(0, part.size)));
      return;
    }
    if (c == '(') brackets += ')';
    if (c == '[') brackets += ']';
    if (c == '{') brackets += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c) {
        fail(fmt::format("unexpected '{}'", c));
        return;
      }
      brackets.pop_back();
    }
    push(Type::symbol, at_, at_ + 1);
    ++at_;
  }

  std::string_view source_;
  std::string_view name_;
  size_t at_ = 0;
  int line_ = 1;
  char raw_sign_ = '\0';
  std::vector<TemplateToken> tokens_;
  std::optional<Error> error_;
};

}  // namespace

std::string normalized_template_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

Result<std::vector<TemplateToken>> lex_template(std::string_view source, std::string_view name) {
  return Lexer(source, name).run();
}

}  // namespace qvl

#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/error.h"
#include "text/template_lexer.h"
#include "text/unicode.h"

namespace qvl {

/// A place in the tokens of a template, and the first error. After an error the place is the end,
/// so that every loop over tokens ends.
class TokenCursor {
 public:
  using Type = TemplateToken::Type;

  /// `name` is what errors call the template.
  TokenCursor(std::vector<TemplateToken> tokens, std::string_view name, int max_depth)
      : tokens_(std::move(tokens)), name_(name), max_depth_(max_depth) {}

  const std::optional<Error>& error() const { return error_; }
  bool failed() const { return error_.has_value(); }

  /// Counts one level of nesting for as long as it lives.
  class Level {
   public:
    explicit Level(TokenCursor& cursor) : cursor_(cursor) {
      if (++cursor_.depth_ > cursor_.max_depth_) {
        cursor_.fail(ErrorCode::template_limit,
                     fmt::format("nested more than {} levels deep", cursor_.max_depth_));
      }
    }
    ~Level() { --cursor_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    TokenCursor& cursor_;
  };

  const TemplateToken& token(size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  bool at_end() const { return token().type == Type::end; }
  bool at(Type type) const { return token().type == type; }
  bool at_symbol(std::string_view text, size_t ahead = 0) const {
    return token(ahead).type == Type::symbol && token(ahead).text == text;
  }
  bool at_name(std::string_view text, size_t ahead = 0) const {
    return token(ahead).type == Type::name && token(ahead).text == text;
  }
  TemplateToken take() {
    const TemplateToken taken = token();
    if (next_ + 1 < tokens_.size()) ++next_;
    return taken;
  }
  bool skip_symbol(std::string_view text) {
    const bool found = at_symbol(text);
    if (found) take();
    return found;
  }
  bool skip_name(std::string_view text) {
    const bool found = at_name(text);
    if (found) take();
    return found;
  }
  void expect(bool found, std::string_view what) {
    if (!found) unexpected(what);
  }
  void expect(Type type, std::string_view what) {
    expect(at(type), what);
    take();
  }
  std::string expect_name() {
    expect(at(Type::name), "a name");
    return std::string(take().text);
  }

  void fail(ErrorCode code, std::string_view what) {
    if (!error_) error_ = Error{code, fmt::format("{}:{}: {}", name_, token().line, what), {}};
    next_ = tokens_.size() - 1;
  }
  void fail(std::string_view what) { fail(ErrorCode::bad_template, what); }
  void unexpected(std::string_view expected) {
    const std::string_view text = token().text.substr(0, 40);
    const bool cut = !is_valid_utf8(text);
    fail(at_end() ? fmt::format("the template ends, expected {}", expected)
                  : fmt::format("found '{}', expected {}", cut ? "…" : text, expected));
  }

 private:
  std::vector<TemplateToken> tokens_;
  std::string_view name_;
  size_t next_ = 0;
  int depth_ = 0;
  int max_depth_;
  std::optional<Error> error_;
};

}  // namespace qvl

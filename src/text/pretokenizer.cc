#include "text/pretokenizer.h"

#include "text/unicode.h"

namespace qvl {
namespace {

bool is_letter(char32_t c) { return (unicode_classes(c) & kLetter) != 0; }
bool is_space(char32_t c) { return (unicode_classes(c) & kSpace) != 0; }
bool is_newline(char32_t c) { return c == '\r' || c == '\n'; }
/// [^\s\p{L}\p{N}]
bool is_symbol(char32_t c) { return (unicode_classes(c) & (kSpace | kLetter | kNumber)) == 0; }

/// End of the run of `is_member` characters that starts at `i`.
template <class IsMember>
size_t run_end(std::string_view text, size_t i, IsMember is_member) {
  while (i < text.size()) {
    const CodePoint c = first_code_point(text.substr(i));
    if (!is_member(c.value)) break;
    i += c.size;
  }
  return i;
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d), or 0. U+017F (ſ) folds to s; no other letter has such a variant.
size_t contraction(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  if (text.substr(1).starts_with("\xC5\xBF")) return 3;
  const auto lower = [&](size_t i) {
    return i < text.size() ? static_cast<char>(text[i] | 0x20) : '\0';
  };
  const char first = lower(1);
  const char second = lower(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  return 0;
}

/// The last three alternatives, for a text that starts with white space: everything up to the last
/// line break of the run; else all of the run but the character that may lead the next piece.
/// Each character is looked at no more than three times.
size_t white_space(std::string_view text) {
  size_t end = 0;
  size_t after_newline = 0;
  size_t last = 0;
  while (end < text.size()) {
    const CodePoint c = first_code_point(text.substr(end));
    if (!is_space(c.value)) break;
    last = end;
    end += c.size;
    if (is_newline(c.value)) after_newline = end;
  }
  if (after_newline > 0) return after_newline;
  return end == text.size() || last == 0 ? end : last;
}

}  // namespace

size_t next_piece(std::string_view text) {
  if (const size_t size = contraction(text)) return size;
  const CodePoint first = first_code_point(text);
  if (is_letter(first.value)) return run_end(text, first.size, is_letter);
  const uint8_t classes = unicode_classes(first.value);
  if ((classes & kNumber) != 0) return first.size;
  if (!is_newline(first.value) && first.size < text.size()) {
    const CodePoint second = first_code_point(text.substr(first.size));
    if (is_letter(second.value)) return run_end(text, first.size, is_letter);
    if (first.value == ' ' && is_symbol(second.value)) {
      return run_end(text, run_end(text, first.size, is_symbol), is_newline);
    }
  }
  if ((classes & kSpace) == 0) {
    return run_end(text, run_end(text, first.size, is_symbol), is_newline);
  }
  return white_space(text);
}

}  // namespace qvl

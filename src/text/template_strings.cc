#include "text/template_strings.h"

#include <fmt/core.h>
#include <utf8proc.h>

#include <algorithm>

#include "text/unicode.h"

namespace qvl {
namespace {

/// The last character of non-empty valid UTF-8.
CodePoint last_code_point(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return first_code_point(text.substr(begin));
}

bool has(std::string_view characters, char32_t c) {
  while (!characters.empty()) {
    const CodePoint candidate = first_code_point(characters);
    if (candidate.value == c) return true;
    characters.remove_prefix(candidate.size);
  }
  return false;
}

bool is_cased(char32_t c) {
  const auto code_point = static_cast<utf8proc_int32_t>(c);
  return utf8proc_toupper(code_point) != code_point || utf8proc_tolower(code_point) != code_point;
}

char32_t to_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
char32_t to_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

bool is_printable(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

void split_at_space(const OriginText& text, int64_t limit, TakePart take) {
  const std::string_view bytes = text.bytes();
  size_t begin = 0;
  for (int64_t count = 0;; ++count) {
    begin += stripped(bytes.substr(begin), Sides::left, std::nullopt).first;
    if (begin == bytes.size()) return;
    if (limit >= 0 && count >= limit) {
      take(text.slice(begin, stripped(bytes, Sides::right, std::nullopt).second));
      return;
    }
    size_t end = begin;
    while (end < bytes.size()) {
      const CodePoint c = first_code_point(bytes.substr(end));
      if (is_python_space(c.value)) break;
      end += c.size;
    }
    if (!take(text.slice(begin, end))) return;
    begin = end;
  }
}

void split_at_space_from_right(const OriginText& text, int64_t limit, TakePart take) {
  std::string_view rest = text.bytes();
  for (int64_t count = 0;; ++count) {
    const size_t end = stripped(rest, Sides::right, std::nullopt).second;
    if (end == 0) return;
    if (limit >= 0 && count >= limit) {
      take(text.slice(stripped(rest, Sides::left, std::nullopt).first, end));
      return;
    }
    size_t begin = end;
    while (begin > 0) {
      const CodePoint c = last_code_point(rest.substr(0, begin));
      if (is_python_space(c.value)) break;
      begin -= c.size;
    }
    if (!take(text.slice(begin, end))) return;
    rest = rest.substr(0, begin);
  }
}

bool is_of_kind(char32_t c, CharacterKind kind) {
  const uint8_t classes = unicode_classes(c);
  const bool decimal = utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
  switch (kind) {
    case CharacterKind::letter:
      return (classes & kLetter) != 0;
    case CharacterKind::number:
      return (classes & kNumber) != 0;
    case CharacterKind::letter_or_number:
      return (classes & (kLetter | kNumber)) != 0;
    case CharacterKind::decimal:
      return decimal;
    case CharacterKind::digit:
      // Superscripts and subscripts too.
      return decimal || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
             (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
  }
  return false;
}

}  // namespace

bool is_python_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::pair<size_t, size_t> stripped(std::string_view text, Sides sides,
                                   std::optional<std::string_view> characters) {
  const auto goes = [&](char32_t c) {
    return characters ? has(*characters, c) : is_python_space(c);
  };
  size_t begin = 0;
  size_t end = text.size();
  while (sides != Sides::right && begin < end) {
    const CodePoint c = first_code_point(text.substr(begin, end - begin));
    if (!goes(c.value)) break;
    begin += c.size;
  }
  while (sides != Sides::left && begin < end) {
    const CodePoint c = last_code_point(text.substr(begin, end - begin));
    if (!goes(c.value)) break;
    end -= c.size;
  }
  return {begin, end};
}

void split(const OriginText& text, std::optional<std::string_view> separator, int64_t limit,
           TakePart take) {
  if (!separator) {
    split_at_space(text, limit, take);
    return;
  }
  size_t begin = 0;
  for (int64_t count = 0; limit < 0 || count < limit; ++count) {
    const size_t found = text.bytes().find(*separator, begin);
    if (found == std::string::npos) break;
    if (!take(text.slice(begin, found))) return;
    begin = found + separator->size();
  }
  take(text.slice(begin, text.size()));
}

void split_from_right(const OriginText& text, std::optional<std::string_view> separator,
                      int64_t limit, TakePart take) {
  if (!separator) {
    split_at_space_from_right(text, limit, take);
    return;
  }
  const size_t size = separator->size();
  size_t end = text.size();
  for (int64_t count = 0; (limit < 0 || count < limit) && end >= size; ++count) {
    const size_t found = text.bytes().rfind(*separator, end - size);
    if (found == std::string::npos) break;
    if (!take(text.slice(found + size, end))) return;
    end = found;
  }
  take(text.slice(0, end));
}

void split_lines(const OriginText& text, LineEnds ends, TakePart take) {
  const std::string_view bytes = text.bytes();
  size_t begin = 0;
  for (size_t i = 0; i < bytes.size();) {
    const CodePoint c = first_code_point(bytes.substr(i));
    const bool ends_line = (c.value >= 0x0A && c.value <= 0x0D) ||
                           (c.value >= 0x1C && c.value <= 0x1E) || c.value == 0x85 ||
                           c.value == 0x2028 || c.value == 0x2029;
    size_t next = i + c.size;
    if (ends_line) {
      if (c.value == '\r' && next < bytes.size() && bytes[next] == '\n') ++next;
      if (!take(text.slice(begin, ends == LineEnds::kept ? next : i))) return;
      begin = next;
    }
    i = next;
  }
  if (begin < bytes.size()) take(text.slice(begin, bytes.size()));
}

std::optional<OriginText> replace(const OriginText& text, std::string_view old,
                                  const OriginText& replacement, int64_t limit, size_t max_bytes) {
  OriginText out;
  size_t begin = 0;
  size_t search = 0;
  for (int64_t count = 0; limit < 0 || count < limit; ++count) {
    // An empty text is found before each character and at the end.
    const size_t found = text.bytes().find(old, search);
    if (found == std::string::npos) break;
    out.append(text, begin, found);
    out.append(replacement);
    if (out.size() > max_bytes) return std::nullopt;
    begin = found + old.size();
    search = begin;
    if (old.empty()) {
      if (found == text.size()) break;
      search += first_code_point(std::string_view(text.bytes()).substr(found)).size;
    }
  }
  out.append(text, begin, text.size());
  return out;
}

OriginText change_case(const OriginText& text, Casing casing) {
  OriginText out;
  size_t begin = 0;
  bool starts_word = true;
  for (const OriginText::Run& run : text.runs()) {
    std::string changed;
    while (begin < run.end) {
      const CodePoint c = first_code_point(std::string_view(text.bytes()).substr(begin));
      const bool upper = casing == Casing::swap
                             ? to_lower(c.value) == c.value
                             : casing == Casing::upper || (casing != Casing::lower && starts_word);
      append_utf8(changed, upper ? to_upper(c.value) : to_lower(c.value));
      // Where Jinja's title filter sees words begin.
      starts_word =
          (casing == Casing::title && (is_python_space(c.value) || has("-({[<", c.value))) ||
          (casing == Casing::method_title && !is_cased(c.value));
      begin += c.size;
    }
    out.append(changed, run.origin);
  }
  return out;
}

bool has_only_case(std::string_view text, Casing casing) {
  bool found = false;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    text.remove_prefix(c.size);
    if (!is_cased(c.value)) continue;
    found = true;
    const char32_t mapped = casing == Casing::lower ? to_lower(c.value) : to_upper(c.value);
    if (mapped != c.value) return false;
  }
  return found;
}

bool has_only(std::string_view text, CharacterKind kind) {
  if (text.empty()) return false;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    if (!is_of_kind(c.value, kind)) return false;
    text.remove_prefix(c.size);
  }
  return true;
}

int64_t word_count(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    const bool part = c.value == '_' || is_of_kind(c.value, CharacterKind::letter_or_number);
    if (part && !inside) ++words;
    inside = part;
    text.remove_prefix(c.size);
  }
  return words;
}

int64_t code_point_count(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

size_t code_point_offset(std::string_view text, int64_t index) {
  size_t offset = 0;
  for (; index > 0 && offset < text.size(); --index) {
    offset += first_code_point(text.substr(offset)).size;
  }
  return offset;
}

std::vector<size_t> code_point_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t i = 0; i < text.size(); i += first_code_point(text.substr(i)).size) {
    offsets.push_back(i);
  }
  offsets.push_back(text.size());
  return offsets;
}

void append_repr(std::string& out, std::string_view text) {
  const bool double_quotes =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  out += quote;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') {
      out += '\\';
      out += static_cast<char>(c.value);
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (is_printable(c.value)) {
      out += text.substr(0, c.size);
    } else if (c.value < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c.value));
    } else if (c.value < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c.value));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c.value));
    }
    text.remove_prefix(c.size);
  }
  out += quote;
}

}  // namespace qvl

#pragma once

/// Python's string methods on texts that remember their origins.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/origin_text.h"

namespace qvl {

/// str.isspace of one character.
bool is_python_space(char32_t c);

enum class Sides { left, right, both };
/// The part [first, second) of `text` that strip leaves; without `characters` it takes white space.
std::pair<size_t, size_t> stripped(std::string_view text, Sides sides,
                                   std::optional<std::string_view> characters);

/// str.split; a negative `limit` is none. Without `separator`, at runs of white space.
std::vector<OriginText> split(const OriginText& text, std::optional<std::string_view> separator,
                              int64_t limit);
/// str.rsplit with a separator.
std::vector<OriginText> split_from_right(const OriginText& text, std::string_view separator,
                                         int64_t limit);
std::vector<OriginText> split_lines(const OriginText& text);

/// str.replace; `replacement` keeps its own origins. A negative `limit` is none. The result has at
/// most `max_bytes`, else there is none.
std::optional<OriginText> replace(const OriginText& text, std::string_view old,
                                  const OriginText& replacement, int64_t limit, size_t max_bytes);

enum class Casing { lower, upper, capitalize, title };
/// By the simple case mappings, which leave one character one character: ß stays ß.
OriginText change_case(const OriginText& text, Casing casing);
/// str.islower and str.isupper.
bool has_only_case(std::string_view text, Casing casing);

int64_t code_point_count(std::string_view text);
/// Byte offsets of all characters, and the size.
std::vector<size_t> code_point_offsets(std::string_view text);

/// repr(str), without origins.
void append_repr(std::string& out, std::string_view text);

}  // namespace qvl

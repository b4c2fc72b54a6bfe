#pragma once

/// Python's string methods on texts that remember their origins.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/function_ref.h"
#include "text/origin_text.h"

namespace qvl {

/// str.isspace of one character.
bool is_python_space(char32_t c);

enum class Sides { left, right, both };
/// The part [first, second) of `text` that strip leaves; without `characters` it takes white space.
std::pair<size_t, size_t> stripped(std::string_view text, Sides sides,
                                   std::optional<std::string_view> characters);

/// Receives the parts of a text in order; false ends the work, since there may be very many.
using TakePart = FunctionRef<bool(OriginText part)>;

/// str.split; a negative `limit` is none. Without `separator`, at runs of white space.
void split(const OriginText& text, std::optional<std::string_view> separator, int64_t limit,
           TakePart take);
/// str.rsplit. The parts come from the right.
void split_from_right(const OriginText& text, std::optional<std::string_view> separator,
                      int64_t limit, TakePart take);
enum class LineEnds { dropped, kept };
void split_lines(const OriginText& text, LineEnds ends, TakePart take);

/// str.replace; `replacement` keeps its own origins. A negative `limit` is none. The result has at
/// most `max_bytes`, else there is none.
std::optional<OriginText> replace(const OriginText& text, std::string_view old,
                                  const OriginText& replacement, int64_t limit, size_t max_bytes);

/// Words begin differently for Jinja's filter `title` and Python's method.
enum class Casing { lower, upper, capitalize, title, method_title, swap };
/// By the simple case mappings, which leave one character one character: ß stays ß.
OriginText change_case(const OriginText& text, Casing casing);
/// str.islower and str.isupper.
bool has_only_case(std::string_view text, Casing casing);

enum class CharacterKind { letter, number, letter_or_number, decimal, digit };
/// str.isalpha and its like: whether the text is not empty and all characters are of the kind.
bool has_only(std::string_view text, CharacterKind kind);
/// The words that \w+ finds.
int64_t word_count(std::string_view text);

int64_t code_point_count(std::string_view text);
/// Byte offset of a character by its index; the size of the text for an index at or past its end.
size_t code_point_offset(std::string_view text, int64_t index);
/// Byte offsets of all characters, and the size.
std::vector<size_t> code_point_offsets(std::string_view text);

/// repr(str), without origins.
void append_repr(std::string& out, std::string_view text);

}  // namespace qvl

#pragma once

/// UTF-8, the classes of code points and NFC, as the reference tokenizer library has them.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/unicode_tables.h"

namespace qvl {

/// U+FFFD, which stands for a maximal invalid part of a byte string.
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// The first character of a byte string, or the maximal invalid part at its start.
struct Utf8Part {
  enum class Kind : uint8_t {
    valid,
    invalid,
    unfinished,  ///< all bytes there are could start a character; more are needed
  };
  Kind kind;
  uint8_t size;         ///< in bytes, ≥ 1
  char32_t code_point;  ///< of a valid part
};

/// `bytes` must not be empty.
Utf8Part first_utf8_part(std::string_view bytes);

struct CodePoint {
  char32_t value;
  uint8_t size;  ///< in bytes
};

/// The first character of valid, non-empty UTF-8. Does not check.
inline CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[i])); };
  const char32_t b0 = byte(0);
  if (b0 < 0x80) return {b0, 1};
  if (b0 < 0xE0) return {(b0 & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (b0 < 0xF0) return {(b0 & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(b0 & 7) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

void append_utf8(std::string& out, char32_t code_point);

bool is_valid_utf8(std::string_view bytes);

/// One U+FFFD for each maximal invalid part, an unfinished end included.
std::string replace_invalid_utf8(std::string_view bytes);

/// UnicodeClass bits of a code point.
uint8_t unicode_classes(char32_t code_point);

/// Normalization Form C of valid UTF-8. Code points younger than the reference library's tables
/// stay as they are.
std::string to_nfc(std::string_view text);

}  // namespace qvl

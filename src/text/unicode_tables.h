#pragma once

/// The table behind unicode.h, made by tools/make_unicode_tables.py.

#include <cstdint>
#include <span>

namespace qvl {

/// What the reference tokenizer library says of a code point; a bit set.
enum UnicodeClass : uint8_t {
  kLetter = 1,  ///< \p{L}
  kNumber = 2,  ///< \p{N}
  kSpace = 4,   ///< \s
  kActive = 8,  ///< NFC may change it, move it or join it to what stands before it
};

struct UnicodeRange {
  char32_t first;
  char32_t last;
  uint8_t classes;
};

/// Sorted, disjoint; a code point in no range has no class.
std::span<const UnicodeRange> unicode_ranges();

}  // namespace qvl

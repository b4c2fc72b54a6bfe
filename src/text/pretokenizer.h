#pragma once

/// The family's pre-tokenizer: one fixed regular expression, written out as a scanner that takes
/// linear time whatever the text.

#include <cstddef>
#include <string_view>

namespace qvl {

/// What next_piece implements. A tokenizer.json with another pattern is not ours to read.
inline constexpr std::string_view kSplitPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Size in bytes of the first match; every text starts with one. `text` is valid UTF-8, not empty.
size_t next_piece(std::string_view text);

}  // namespace qvl

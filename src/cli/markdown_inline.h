#pragma once

/// Markdown inside one line: emphasis, code, links.

#include <cstddef>
#include <string>
#include <string_view>

namespace qvl {

namespace sgr {
inline constexpr std::string_view kReset = "\x1b[0m";
inline constexpr std::string_view kBold = "\x1b[1m";
inline constexpr std::string_view kDim = "\x1b[2m";
inline constexpr std::string_view kItalic = "\x1b[3m";
inline constexpr std::string_view kUnderline = "\x1b[4m";
inline constexpr std::string_view kStrike = "\x1b[9m";
inline constexpr std::string_view kCode = "\x1b[36m";
}  // namespace sgr

/// A marker and its counterpart are at most this far apart.
inline constexpr size_t kMaxInlineBytes = 512;

/// The construct or text at the start of a line's rest.
struct Inline {
  size_t bytes = 0;    ///< of the source; 0: undecided, more is needed
  std::string output;  ///< for the terminal
};

/// `rest` must not be empty and holds no newline; `complete` says that the line ends with it.
/// `before` is the byte in front of it, a space at the start of a line; `style` the SGR sequences
/// in force around it.
Inline first_inline(std::string_view rest, bool complete, char before, const std::string& style);

/// A whole piece of a line.
std::string render_inline(std::string_view text, const std::string& style);

}  // namespace qvl

#pragma once

/// Text on its way to a terminal: how wide it is, and how to keep it from being a command.

#include <string>
#include <string_view>

namespace qvl {

/// Columns that one line of valid UTF-8 takes: East Asian wide and fullwidth characters and emoji
/// 2, combining marks and controls 0, anything else 1.
int text_width(std::string_view text);

/// `text` with every control character but newline and tab made visible (ESC → U+241B), carriage
/// returns dropped, and U+FFFD for C1 controls and for what is not UTF-8: foreign text cannot move
/// the cursor, change colours, set the title or fill the clipboard.
std::string without_controls(std::string_view text);

/// As without_controls, and newline and tab made visible too: for names inside a line.
std::string one_line(std::string_view text);

}  // namespace qvl

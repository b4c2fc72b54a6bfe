#pragma once

/// Where answers go: as they are into a file or a pipe, made harmless and readable on a terminal.

#include <optional>
#include <string>
#include <string_view>

#include "cli/markdown.h"

namespace qvl {

enum class TextStyle : uint8_t { markdown, plain };

/// Writes one answer to the standard output.
class TextOutput {
 public:
  /// Markdown needs a terminal, and neither NO_COLOR nor TERM=dumb.
  explicit TextOutput(TextStyle style);
  void write(std::string_view text);
  /// Ends the answer's last line.
  void finish();

 private:
  void put(std::string_view bytes);

  bool terminal_;
  std::optional<MarkdownRenderer> markdown_;
  bool line_is_open_ = true;
};

/// Columns of the terminal at the standard output now; 80 if it does not say.
int terminal_columns();

}  // namespace qvl

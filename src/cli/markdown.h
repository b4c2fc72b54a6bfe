#pragma once

/// Markdown → text with SGR sequences for a terminal, while it is being written.

#include <string>
#include <string_view>
#include <vector>

namespace qvl {

/// Takes the text in pieces and gives back bytes as soon as they are certain: what it writes is
/// never taken back, and does not depend on where the pieces were cut. Control characters of the
/// text are made visible (see terminal_text.h), so the only escape sequences of the output are its
/// own "m"s.
///
/// Knows headings, lists, quotes, rules, fenced code, tables; bold, italics, strikethrough, inline
/// code, links and pictures. A marker without its counterpart in the same line, or within 512
/// bytes, is text. Lines are left to the terminal to wrap, so that it can do so again when it is
/// resized.
class MarkdownRenderer {
 public:
  /// A table wider than `columns` is written as one "heading: cell" line per cell.
  explicit MarkdownRenderer(int columns) : columns_(columns) {}

  /// `text` must end at the end of a character.
  std::string push(std::string_view text);
  /// What was held back. Styles are off afterwards.
  std::string finish();

 private:
  enum class End { open, final };

  std::string render(End end);
  bool start_line(std::string_view line, bool complete);
  bool start_code_line(std::string_view line, bool complete);
  bool start_marked_line(std::string_view line, bool complete);
  void flush_table();
  void set_line_style(std::string style);
  /// `bytes` of the text are done.
  void drop(size_t bytes);

  int columns_;
  std::string pending_;  // not yet decided
  size_t done_ = 0;      // of pending_
  std::string out_;
  bool line_start_ = true;
  char before_ = ' ';       // the byte before pending_ in this line
  std::string line_style_;  // SGR of a heading or a line of code
  size_t fence_ = 0;        // length of the open fence; 0: none
  char fence_char_ = '`';
  std::vector<std::string> table_;  // its lines so far
  size_t table_bytes_ = 0;
};

}  // namespace qvl

#include "cli/markdown_table.h"

#include <algorithm>
#include <string_view>

#include "cli/markdown_inline.h"
#include "cli/terminal_text.h"

namespace qvl {
namespace {

constexpr size_t kMaxColumns = 64;

enum class Align { left, right, center };

struct Cell {
  std::string text;  ///< with SGR sequences
  int width = 0;
};

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// The cells of "| a | b |"; "\|" is text.
std::vector<std::string> split_row(std::string_view line) {
  line = trimmed(line);
  if (line.starts_with('|')) line.remove_prefix(1);
  std::vector<std::string> cells;
  std::string cell;
  bool escaped = false;
  for (const char c : line) {
    if (c == '|' && !escaped) {
      cells.emplace_back(trimmed(cell));
      cell.clear();
    } else {
      if (c == '|') cell.pop_back();  // the backslash
      cell += c;
    }
    escaped = c == '\\' && !escaped;
  }
  if (!trimmed(cell).empty()) cells.emplace_back(trimmed(cell));
  return cells;
}

bool is_delimiter(std::string_view cell) {
  return cell.find('-') != std::string_view::npos &&
         cell.find_first_not_of(":-") == std::string_view::npos;
}

Align alignment(std::string_view delimiter) {
  if (!delimiter.ends_with(':')) return Align::left;
  return delimiter.starts_with(':') ? Align::center : Align::right;
}

/// Width without the SGR sequences, which are the only escape sequences there can be.
int visible_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const size_t escape = std::min(text.find('\x1b'), text.size());
    width += text_width(text.substr(0, escape));
    text.remove_prefix(escape);
    if (!text.empty()) text.remove_prefix(std::min(text.find('m'), text.size() - 1) + 1);
  }
  return width;
}

Cell make_cell(const std::string& text, std::string_view style) {
  const std::string outer(style);
  std::string out = outer + render_inline(text, outer);
  if (!outer.empty()) out += sgr::kReset;
  const int width = visible_width(out);
  return {std::move(out), width};
}

std::string spaces(int count) { return std::string(static_cast<size_t>(std::max(0, count)), ' '); }

std::string padded(const Cell& cell, int width, Align align) {
  const int room = width - cell.width;
  const int left = align == Align::right ? room : align == Align::center ? room / 2 : 0;
  return spaces(left) + cell.text + spaces(room - left);
}

using Row = std::vector<Cell>;

/// One line per cell: readable at any width.
std::string as_records(const std::vector<Row>& rows) {
  std::string out;
  for (size_t r = 1; r < rows.size(); ++r) {
    for (size_t c = 0; c < rows[r].size(); ++c) {
      out += rows[0][c].text + ": " + rows[r][c].text + "\n";
    }
    if (r + 1 < rows.size()) out += "\n";
  }
  return out;
}

}  // namespace

std::string render_table(const std::vector<std::string>& lines, int columns) {
  std::vector<std::string> delimiters;
  if (lines.size() > 1) delimiters = split_row(lines[1]);
  const bool is_table = !delimiters.empty() && delimiters.size() <= kMaxColumns &&
                        std::all_of(delimiters.begin(), delimiters.end(), is_delimiter);
  std::string out;
  if (!is_table) {
    for (const std::string& line : lines) out += render_inline(line, "") + "\n";
    return out;
  }
  const size_t count = delimiters.size();
  std::vector<Row> rows;
  std::vector<int> widths(count, 0);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i == 1) continue;
    std::vector<std::string> cells = split_row(lines[i]);
    cells.resize(count);
    Row row;
    for (size_t c = 0; c < count; ++c) {
      row.push_back(make_cell(cells[c], i == 0 ? sgr::kBold : ""));
      widths[c] = std::max(widths[c], row[c].width);
    }
    rows.push_back(std::move(row));
  }
  int total = -3;
  for (const int width : widths) total += width + 3;
  if (total > columns) return as_records(rows);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < count; ++c) {
      if (c > 0) out += " │ ";
      out += padded(rows[r][c], widths[c], alignment(delimiters[c]));
    }
    out += "\n";
    if (r > 0) continue;
    for (size_t c = 0; c < count; ++c) {
      if (c > 0) out += "─┼─";
      for (int i = 0; i < widths[c]; ++i) out += "─";
    }
    out += "\n";
  }
  return out;
}

}  // namespace qvl

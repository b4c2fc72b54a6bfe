#include "cli/markdown.h"

#include <algorithm>
#include <utility>

#include "cli/markdown_inline.h"
#include "cli/markdown_table.h"
#include "cli/terminal_text.h"

namespace qvl {
namespace {

/// A line is looked at in whole, for a fence or a table, up to this length.
constexpr size_t kMaxHeldLine = 4096;
constexpr size_t kMaxTableBytes = 65'536;
constexpr size_t kMaxHeadingLevel = 6;
constexpr int kMaxRuleColumns = 40;

std::string_view without_indent(std::string_view line) {
  return line.substr(std::min(line.find_first_not_of(' '), line.size()));
}

size_t run_length(std::string_view text) {
  return text.empty() ? 0 : std::min(text.find_first_not_of(text[0]), text.size());
}

}  // namespace

std::string MarkdownRenderer::push(std::string_view text) {
  pending_ += without_controls(text);
  return render(End::open);
}

std::string MarkdownRenderer::finish() {
  std::string out = render(End::final);
  if (!table_.empty()) flush_table();
  set_line_style("");
  out += std::exchange(out_, {});
  *this = MarkdownRenderer(columns_);
  return out;
}

std::string MarkdownRenderer::render(End end) {
  while (done_ < pending_.size()) {
    const std::string_view rest = std::string_view(pending_).substr(done_);
    const size_t newline = rest.find('\n');
    const std::string_view line = rest.substr(0, std::min(newline, rest.size()));
    const bool complete = newline != std::string_view::npos || end == End::final;
    if (line_start_) {
      if (!(fence_ > 0 ? start_code_line(line, complete) : start_line(line, complete))) break;
    } else if (line.empty()) {
      set_line_style("");
      out_ += '\n';
      drop(1);
      line_start_ = true;
    } else if (fence_ > 0) {
      out_ += line;
      drop(line.size());
    } else {
      const Inline next = first_inline(line, complete, before_, line_style_);
      if (next.bytes == 0) break;
      before_ = line[next.bytes - 1];
      out_ += next.output;
      drop(next.bytes);
    }
  }
  pending_.erase(0, std::exchange(done_, 0));
  return std::exchange(out_, {});
}

/// False: undecided.
bool MarkdownRenderer::start_line(std::string_view line, bool complete) {
  const std::string_view text = without_indent(line);
  if (text.empty() && !complete) return false;
  if (text.starts_with('|')) {
    if (!complete && line.size() < kMaxHeldLine) return false;
    if (line.size() < kMaxHeldLine && table_bytes_ < kMaxTableBytes) {
      table_.emplace_back(line);
      table_bytes_ += line.size();
      // The newline goes with the line; at the end of the text there is none.
      drop(std::min(line.size() + 1, pending_.size() - done_));
      return true;
    }
  }
  if (!table_.empty()) flush_table();
  before_ = ' ';
  return start_marked_line(line, complete);
}

bool MarkdownRenderer::start_marked_line(std::string_view line, bool complete) {
  const std::string_view text = without_indent(line);
  const size_t indent = line.size() - text.size();
  const char first = text.empty() ? '\n' : text[0];
  const size_t run = run_length(text);
  const bool run_ends = run < text.size() || complete;

  if (first == '#' && run <= kMaxHeadingLevel) {
    if (!run_ends) return false;
    if (run == text.size() || text[run] == ' ') {
      const std::string_view title = without_indent(text.substr(run));
      if (title.empty() && !complete) return false;
      set_line_style(std::string(sgr::kBold) + std::string(run == 1 ? sgr::kUnderline : ""));
      drop(line.size() - title.size());
      line_start_ = false;
      return true;
    }
  }
  if (first == '`' || first == '~') {
    if (!run_ends) return false;
    const std::string_view info = text.substr(run);
    if (run >= 3 && line.size() < kMaxHeldLine &&
        (first == '~' || info.find('`') == std::string_view::npos)) {
      if (!complete) return false;
      fence_ = run;
      fence_char_ = first;
      if (!without_indent(info).empty()) {
        out_ += std::string(sgr::kDim) + std::string(without_indent(info)) +
                std::string(sgr::kReset) + "\n";
      }
      drop(std::min(line.size() + 1, pending_.size() - done_));
      return true;
    }
  }
  if (first == '>') {
    if (text.size() == 1 && !complete) return false;
    out_ += line.substr(0, indent);
    out_ += std::string(sgr::kDim) + "│ " + std::string(sgr::kReset);
    drop(indent + (text.size() > 1 && text[1] == ' ' ? 2 : 1));
    return true;  // what is quoted may be a heading or a list
  }
  if (first == '-' || first == '*' || first == '+' || first == '_') {
    const bool all_marks =
        text.find_first_not_of(std::string{first, ' '}) == std::string_view::npos;
    if (all_marks && !complete && line.size() < kMaxHeldLine) return false;
    if (all_marks && line.size() < kMaxHeldLine && first != '+' &&
        std::count(text.begin(), text.end(), first) >= 3) {
      for (int i = 0; i < std::min(columns_, kMaxRuleColumns); ++i) out_ += "─";
      drop(line.size());
      line_start_ = false;
      return true;
    }
    if (first != '_' && text.size() > 1 && text[1] == ' ') {
      out_ += line.substr(0, indent);
      out_ += "•";
      drop(indent + 1);
      line_start_ = false;
      return true;
    }
  }
  out_ += line.substr(0, indent);
  drop(indent);
  line_start_ = false;
  return true;
}

bool MarkdownRenderer::start_code_line(std::string_view line, bool complete) {
  const std::string_view text = without_indent(line);
  const bool may_close = text.empty() || text[0] == fence_char_;
  const size_t run = may_close ? run_length(text) : 0;
  const bool only_marks = may_close && text.find_first_not_of(' ', run) == std::string_view::npos;
  if (only_marks && !complete && line.size() < kMaxHeldLine) return false;
  if (only_marks && run >= fence_) {
    fence_ = 0;
    drop(std::min(line.size() + 1, pending_.size() - done_));
    return true;
  }
  if (!line.empty()) set_line_style(std::string(sgr::kCode));
  line_start_ = false;
  return true;
}

void MarkdownRenderer::flush_table() {
  out_ += render_table(table_, columns_);
  table_.clear();
  table_bytes_ = 0;
}

void MarkdownRenderer::set_line_style(std::string style) {
  if (!line_style_.empty()) out_ += sgr::kReset;
  line_style_ = std::move(style);
  out_ += line_style_;
}

void MarkdownRenderer::drop(size_t bytes) { done_ += bytes; }

}  // namespace qvl

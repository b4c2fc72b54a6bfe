#include "cli/text_output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "cli/terminal_text.h"

namespace qvl {
namespace {

bool has_value(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

bool terminal_has_styles() {
  const char* const term = std::getenv("TERM");
  return !has_value("NO_COLOR") && term != nullptr && std::string_view(term) != "dumb";
}

}  // namespace

TextOutput::TextOutput(TextStyle style) : terminal_(isatty(STDOUT_FILENO) != 0) {
  if (terminal_ && style == TextStyle::markdown && terminal_has_styles()) {
    markdown_.emplace(terminal_columns());
  }
}

void TextOutput::write(std::string_view text) {
  if (markdown_) {
    put(markdown_->push(text));
  } else if (terminal_) {
    put(without_controls(text));
  } else {
    put(text);
  }
}

void TextOutput::finish() {
  if (markdown_) put(markdown_->finish());
  if (line_is_open_ || !terminal_) put("\n");
}

void TextOutput::put(std::string_view bytes) {
  if (bytes.empty()) return;
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  std::fflush(stdout);
  line_is_open_ = bytes.back() != '\n';
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace qvl

#include "cli/terminal_text.h"

#include <utf8proc.h>

#include "text/unicode.h"

namespace qvl {
namespace {

enum class Layout { keep, drop };

std::string visible(std::string_view text, Layout layout) {
  constexpr char32_t kControlPictures = 0x2400;  // U+2400 + c pictures control c
  constexpr char32_t kPictureOfDelete = 0x2421;
  std::string out;
  while (!text.empty()) {
    const Utf8Part part = first_utf8_part(text);
    const char32_t c = part.code_point;
    if (part.kind != Utf8Part::Kind::valid || (c >= 0x80 && c < 0xA0)) {
      out += kReplacement;
    } else if (c >= 0x20 && c != 0x7F) {
      out += text.substr(0, part.size);
    } else if (layout == Layout::keep && (c == '\n' || c == '\t')) {
      out += static_cast<char>(c);
    } else if (layout == Layout::drop || c != '\r') {
      append_utf8(out, c == 0x7F ? kPictureOfDelete : kControlPictures + c);
    }
    text.remove_prefix(part.size);
  }
  return out;
}

}  // namespace

int text_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    width += utf8proc_charwidth(static_cast<utf8proc_int32_t>(c.value));
    text.remove_prefix(c.size);
  }
  return width;
}

std::string without_controls(std::string_view text) { return visible(text, Layout::keep); }

std::string one_line(std::string_view text) { return visible(text, Layout::drop); }

}  // namespace qvl

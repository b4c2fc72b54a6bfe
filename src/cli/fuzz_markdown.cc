#include <cstdint>
#include <cstdlib>
#include <string>

#include "cli/markdown.h"
#include "text/unicode.h"

namespace {

/// Only "ESC [ digits m" may stand for an escape character; no other control but newline and tab.
void check_output(const std::string& out) {
  if (!qvl::is_valid_utf8(out)) std::abort();
  for (size_t i = 0; i < out.size(); ++i) {
    const auto c = static_cast<unsigned char>(out[i]);
    if (c == 0x1b) {
      const size_t end = out.find_first_not_of("0123456789", i + 2);
      if (out.compare(i + 1, 1, "[") != 0 || end == std::string::npos || out[end] != 'm')
        std::abort();
    } else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
      std::abort();
    }
  }
}

}  // namespace

/// The first byte chooses the width of the terminal and where the text is cut.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 65'536) return 0;
  const int columns = 1 + data[0] % 100;
  const size_t piece = 1 + data[0] % 7;
  const std::string text =
      qvl::replace_invalid_utf8({reinterpret_cast<const char*>(data + 1), size - 1});
  qvl::MarkdownRenderer at_once(columns);
  std::string whole = at_once.push(text);
  whole += at_once.finish();
  check_output(whole);

  qvl::MarkdownRenderer in_pieces(columns);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(at + piece, text.size());
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80) ++end;
    out += in_pieces.push(text.substr(at, end - at));
    at = end;
  }
  out += in_pieces.finish();
  if (out != whole) std::abort();
  return 0;
}

#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

namespace qvl {
namespace {

constexpr std::array<uint8_t, 128> ascii_classes() {
  std::array<uint8_t, 128> table{};
  for (char32_t c = 0; c < 128; ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) table[c] = kLetter;
    if (c >= '0' && c <= '9') table[c] = kNumber;
    if ((c >= '\t' && c <= '\r') || c == ' ') table[c] = kSpace;
  }
  return table;
}
constexpr std::array<uint8_t, 128> kAscii = ascii_classes();

/// Nothing below U+0300 is active.
constexpr uint8_t kFirstActiveLead = 0xCC;

bool may_need_nfc(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) >= kFirstActiveLead; });
}

/// Code points that NFC has to look at together: one that is not active, and the active ones after
/// it.
class NfcStretch {
 public:
  void push(char32_t code_point, bool active) {
    // Longer than the longest canonical decomposition.
    std::array<utf8proc_int32_t, 8> parts{};
    int boundary = 0;
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(code_point), parts.data(), parts.size(),
        static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &boundary);
    if (count < 1 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
      entries_.push_back({static_cast<utf8proc_int32_t>(code_point), 0});
      return;
    }
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      // utf8proc's tables are younger: to it, an inactive code point may be a mark.
      const bool starts = i == 0 && !active;
      const int combining_class = utf8proc_get_property(parts[i])->combining_class;
      entries_.push_back({parts[i], starts ? 0 : combining_class});
    }
  }

  /// Appends the composed text and empties the stretch.
  void flush(std::string& out) {
    // Marks are put in order here and not by utf8proc, whose insertion sort is quadratic.
    for (auto first = entries_.begin(); first != entries_.end();) {
      const auto is_starter = [](const Entry& e) { return e.combining_class == 0; };
      first = std::find_if_not(first, entries_.end(), is_starter);
      const auto last = std::find_if(first, entries_.end(), is_starter);
      std::stable_sort(first, last, [](const Entry& a, const Entry& b) {
        return a.combining_class < b.combining_class;
      });
      first = last;
    }
    code_points_.clear();
    for (const Entry& e : entries_) code_points_.push_back(e.code_point);
    entries_.clear();
    const utf8proc_ssize_t count = utf8proc_normalize_utf32(
        code_points_.data(), static_cast<utf8proc_ssize_t>(code_points_.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      append_utf8(out, static_cast<char32_t>(code_points_[i]));
    }
  }

 private:
  struct Entry {
    utf8proc_int32_t code_point;
    int combining_class;
  };
  std::vector<Entry> entries_;
  std::vector<utf8proc_int32_t> code_points_;
};

}  // namespace

Utf8Part first_utf8_part(std::string_view bytes) {
  using Kind = Utf8Part::Kind;
  const auto b0 = static_cast<uint8_t>(bytes[0]);
  if (b0 < 0x80) return {Kind::valid, 1, b0};
  if (b0 < 0xC2 || b0 > 0xF4) return {Kind::invalid, 1, 0};
  const uint8_t size = b0 < 0xE0 ? 2 : b0 < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (b0 == 0xE0) low = 0xA0;
  if (b0 == 0xED) high = 0x9F;
  if (b0 == 0xF0) low = 0x90;
  if (b0 == 0xF4) high = 0x8F;
  for (uint8_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {Kind::unfinished, i, 0};
    const auto b = static_cast<uint8_t>(bytes[i]);
    if (b < low || b > high) return {Kind::invalid, i, 0};
    low = 0x80;
    high = 0xBF;
  }
  return {Kind::valid, size, first_code_point(bytes).value};
}

void append_utf8(std::string& out, char32_t code_point) {
  const auto tail = [&](int shift) {
    out += static_cast<char>(0x80 | ((code_point >> shift) & 0x3F));
  };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | (code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | (code_point >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0 | (code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_valid_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const Utf8Part part = first_utf8_part(bytes);
    if (part.kind != Utf8Part::Kind::valid) return false;
    bytes.remove_prefix(part.size);
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Part part = first_utf8_part(bytes);
    out += part.kind == Utf8Part::Kind::valid ? bytes.substr(0, part.size) : kReplacement;
    bytes.remove_prefix(part.size);
  }
  return out;
}

uint8_t unicode_classes(char32_t code_point) {
  if (code_point < kAscii.size()) return kAscii[code_point];
  const auto ranges = unicode_ranges();
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), code_point,
                       [](char32_t c, const UnicodeRange& range) { return c < range.first; });
  if (after == ranges.begin()) return 0;
  const UnicodeRange& range = *std::prev(after);
  return code_point <= range.last ? range.classes : 0;
}

std::string to_nfc(std::string_view text) {
  if (!may_need_nfc(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  NfcStretch stretch;
  // Text up to `copied` is in `out`; the last inactive code point waits at `base`, since an active
  // one behind it may join it.
  size_t copied = 0;
  size_t base = 0;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = first_code_point(text.substr(i));
    if ((unicode_classes(c.value) & kActive) == 0) {
      base = i;
      i += c.size;
      continue;
    }
    out.append(text, copied, base - copied);
    if (base < i) stretch.push(first_code_point(text.substr(base)).value, false);
    while (i < text.size()) {
      const CodePoint next = first_code_point(text.substr(i));
      if ((unicode_classes(next.value) & kActive) == 0) break;
      stretch.push(next.value, true);
      i += next.size;
    }
    stretch.flush(out);
    copied = base = i;
  }
  out.append(text, copied);
  return out;
}

}  // namespace qvl

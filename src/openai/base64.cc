#include "openai/base64.h"

#include <fmt/format.h>

#include <array>

namespace qvl {
namespace {

constexpr uint8_t kNone = 255;

constexpr std::array<uint8_t, 256> kValues = [] {
  std::array<uint8_t, 256> values{};
  values.fill(kNone);
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<uint8_t>(kAlphabet[i])] = static_cast<uint8_t>(i);
  }
  return values;
}();

uint8_t value_of(char c) { return kValues[static_cast<uint8_t>(c)]; }

size_t padding_of(std::string_view text) {
  return text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
}

Error bad_at(std::string_view text, size_t at) {
  return {ErrorCode::bad_request,
          fmt::format("found byte 0x{:02x} at offset {} of the base64 text",
                      static_cast<uint8_t>(text[at]), at),
          {}};
}

}  // namespace

size_t base64_decoded_size(std::string_view text) {
  return text.size() / 4 * 3 - (text.size() < 4 ? 0 : padding_of(text));
}

Result<std::vector<uint8_t>> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) {
    return Error{ErrorCode::bad_request,
                 fmt::format("found {} characters of base64, expected a multiple of 4 with its "
                             "padding and without white space",
                             text.size()),
                 {}};
  }
  const size_t padding = padding_of(text);
  const std::string_view digits = text.substr(0, text.size() - padding);
  std::vector<uint8_t> bytes;
  bytes.reserve(base64_decoded_size(text));
  uint32_t bits = 0;
  for (size_t i = 0; i < digits.size(); ++i) {
    const uint8_t value = value_of(digits[i]);
    if (value == kNone) return bad_at(text, i);
    bits = bits << 6 | value;
    if (i % 4 != 3) continue;
    bytes.push_back(static_cast<uint8_t>(bits >> 16));
    bytes.push_back(static_cast<uint8_t>(bits >> 8));
    bytes.push_back(static_cast<uint8_t>(bits));
    bits = 0;
  }
  if (padding == 1) {
    if ((bits & 3) != 0) return bad_at(text, digits.size() - 1);
    bytes.push_back(static_cast<uint8_t>(bits >> 10));
    bytes.push_back(static_cast<uint8_t>(bits >> 2));
  } else if (padding == 2) {
    if ((bits & 15) != 0) return bad_at(text, digits.size() - 1);
    bytes.push_back(static_cast<uint8_t>(bits >> 4));
  }
  return bytes;
}

}  // namespace qvl

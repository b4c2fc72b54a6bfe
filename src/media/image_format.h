#pragma once

/// What a file is, by its first bytes. Names and extensions lie; content does not.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace qvl {

enum class ImageFormat { png, jpeg, webp, gif, bmp, other };

struct SniffedFormat {
  ImageFormat format;
  std::string_view name;  ///< for people: "HEIC"
};

/// Nothing for bytes that no known format starts with. ImageFormat::other is one that we know by
/// name and do not read.
std::optional<SniffedFormat> sniff_format(std::span<const uint8_t> bytes);

}  // namespace qvl

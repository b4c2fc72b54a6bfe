#pragma once

/// The chunks of a RIFF file, the container of WebP.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace qvl {

constexpr size_t kRiffHeaderBytes = 12;  ///< "RIFF", size of what follows, "WEBP"
constexpr size_t kChunkHeaderBytes = 8;

struct RiffChunk {
  std::string_view id;  ///< four characters
  std::span<const uint8_t> payload;
};

/// The bytes that the RIFF header claims, which may be more than there are; 0 without a header.
uint64_t riff_bytes(std::span<const uint8_t> file);

/// Takes the first chunk off `rest`; nothing if there is no whole one.
std::optional<RiffChunk> next_chunk(std::span<const uint8_t>& rest);

}  // namespace qvl

#pragma once

/// Reading foreign bytes front to back without ever leaving them.

#include <cstdint>
#include <optional>
#include <span>

namespace qvl {

/// Unsigned little-endian integers; the caller has checked that the bytes are there.
inline uint32_t le16(std::span<const uint8_t> bytes, size_t at) {
  return uint32_t{bytes[at]} | uint32_t{bytes[at + 1]} << 8;
}
inline uint32_t le24(std::span<const uint8_t> bytes, size_t at) {
  return le16(bytes, at) | uint32_t{bytes[at + 2]} << 16;
}
inline uint32_t le32(std::span<const uint8_t> bytes, size_t at) {
  return le24(bytes, at) | uint32_t{bytes[at + 3]} << 24;
}

class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : rest_(bytes) {}

  std::span<const uint8_t> rest() const { return rest_; }
  /// The next `count` bytes; nothing, and no step ahead, if there are fewer.
  std::optional<std::span<const uint8_t>> take(size_t count) {
    if (count > rest_.size()) return std::nullopt;
    const std::span<const uint8_t> taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  std::optional<uint8_t> byte() {
    if (rest_.empty()) return std::nullopt;
    const uint8_t value = rest_.front();
    rest_ = rest_.subspan(1);
    return value;
  }

 private:
  std::span<const uint8_t> rest_;
};

}  // namespace qvl

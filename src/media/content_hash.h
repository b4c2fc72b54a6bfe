#pragma once

/// BLAKE2b (RFC 7693) with 16-byte digests. Hashes key the caches of pixels and features, which
/// hold several users' pictures, so finding two pictures of one hash must be infeasible. Pixels
/// themselves go through blake3.h first, which is faster for megabytes.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace qvl {

class ContentHasher {
 public:
  using Digest = std::array<uint8_t, 16>;

  ContentHasher();
  void add(std::span<const uint8_t> bytes);
  /// As 8 bytes, little-endian.
  void add(uint64_t number);
  /// Ends the hash: nothing may be added after it.
  Digest digest();

 private:
  enum class Block { inner, last };
  void compress(const uint8_t* block, Block kind);

  std::array<uint64_t, 8> state_;
  uint64_t compressed_bytes_ = 0;
  std::array<uint8_t, 128> pending_{};  ///< a block waits here until it is known not to be the last
  size_t pending_bytes_ = 0;
};

}  // namespace qvl

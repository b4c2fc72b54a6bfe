#include "media/blake3.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace qvl {
namespace {

constexpr size_t kChunkBytes = 1024;
constexpr size_t kBlockBytes = 64;
constexpr size_t kValueWords = 8;

// Flags of the specification.
constexpr uint32_t kChunkStart = 1;
constexpr uint32_t kChunkEnd = 2;
constexpr uint32_t kParent = 4;
constexpr uint32_t kRoot = 8;

/// Of the last chunk, which alone may be short.
void hash_last_chunk(std::span<const uint8_t> chunk, size_t index, const PixelKernels& kernels,
                     uint32_t* value) {
  std::array<uint8_t, kChunkBytes> padded{};
  std::copy(chunk.begin(), chunk.end(), padded.begin());
  const size_t blocks = std::max<size_t>((chunk.size() + kBlockBytes - 1) / kBlockBytes, 1);
  const size_t last_block_bytes = chunk.size() - (blocks - 1) * kBlockBytes;
  const uint32_t root = index == 0 ? kRoot : 0;
  kernels.blake3(padded.data(), 1,
                 {.blocks = blocks,
                  .counter = index,
                  .first_flags = kChunkStart,
                  .last_flags = kChunkEnd | root,
                  .last_block_bytes = static_cast<uint32_t>(last_block_bytes)},
                 value);
}

}  // namespace

Blake3Digest blake3(std::span<const uint8_t> bytes, const PixelKernels& kernels) {
  static_assert(std::endian::native == std::endian::little);
  size_t count = std::max<size_t>((bytes.size() + kChunkBytes - 1) / kChunkBytes, 1);
  std::vector<uint32_t> values(count * kValueWords);
  const size_t whole = count - 1;
  kernels.blake3(bytes.data(), whole,
                 {.blocks = kChunkBytes / kBlockBytes,
                  .step = 1,
                  .first_flags = kChunkStart,
                  .last_flags = kChunkEnd},
                 values.data());
  hash_last_chunk(bytes.subspan(whole * kChunkBytes), whole, kernels,
                  values.data() + whole * kValueWords);

  // Neighbours meet level by level, an odd last value goes up as it is: the tree of the
  // specification, whose left half is the largest power of two that leaves something on the right.
  // A parent lies before its children's place, so that it may be written where they were.
  while (count > 1) {
    const size_t pairs = count / 2;
    kernels.blake3(reinterpret_cast<const uint8_t*>(values.data()), pairs,
                   {.blocks = 1, .flags = kParent | (count == 2 ? kRoot : 0)}, values.data());
    if (count % 2 == 1) {
      std::copy_n(values.data() + (count - 1) * kValueWords, kValueWords,
                  values.data() + pairs * kValueWords);
    }
    count -= pairs;
  }
  Blake3Digest digest;
  std::memcpy(digest.data(), values.data(), digest.size());
  return digest;
}

}  // namespace qvl

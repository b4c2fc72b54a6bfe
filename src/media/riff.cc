#include "media/riff.h"

#include <algorithm>

#include "media/byte_reader.h"

namespace qvl {

uint64_t riff_bytes(std::span<const uint8_t> file) {
  return file.size() < kRiffHeaderBytes ? 0 : uint64_t{le32(file, 4)} + 8;
}

std::optional<RiffChunk> next_chunk(std::span<const uint8_t>& rest) {
  if (rest.size() < kChunkHeaderBytes) return std::nullopt;
  const size_t size = le32(rest, 4);
  if (size > rest.size() - kChunkHeaderBytes) return std::nullopt;
  const RiffChunk chunk{{reinterpret_cast<const char*>(rest.data()), 4},
                        rest.subspan(kChunkHeaderBytes, size)};
  const size_t padded = kChunkHeaderBytes + size + size % 2;
  rest = rest.subspan(std::min(padded, rest.size()));  // the last one may lack its padding
  return chunk;
}

}  // namespace qvl

#include <zlib.h>

#include <cstdint>
#include <vector>

#include "media/image.h"

namespace {

/// Makes the checksum of every whole chunk right: few random files would get past the first one.
void repair_checksums(std::vector<uint8_t>& file) {
  size_t at = 8;
  while (at < file.size() && file.size() - at >= 12) {
    size_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | file[at + i];
    if (length > file.size() - at - 12) return;
    const auto checked_bytes = static_cast<uInt>(length + 4);
    const auto crc = static_cast<uint32_t>(crc32(0, file.data() + at + 4, checked_bytes));
    for (size_t i = 0; i < 4; ++i) {
      file[at + 8 + length + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    }
    at += 12 + length;
  }
}

}  // namespace

/// Any bytes after a PNG signature, with checksums that hold.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer looks for this name
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> file = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  file.insert(file.end(), data, data + size);
  repair_checksums(file);
  const qvl::ImageLimits limits{.max_pixels = 4 << 20};
  const qvl::Result<qvl::Image> image = qvl::decode_image(file, limits);
  if (image && image->rgb.size() != static_cast<size_t>(image->size.pixels()) * 3) __builtin_trap();
  return 0;
}

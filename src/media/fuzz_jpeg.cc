#include <cstdint>
#include <vector>

#include "media/image.h"

/// Any bytes after a JPEG start-of-image marker.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer looks for this name
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> file = {0xff, 0xd8, 0xff};
  file.insert(file.end(), data, data + size);
  const qvl::ImageLimits limits{.max_pixels = 4 << 20};
  const qvl::Result<qvl::Image> image = qvl::decode_image(file, limits);
  if (image && image->rgb.size() != static_cast<size_t>(image->size.pixels()) * 3) __builtin_trap();
  return 0;
}

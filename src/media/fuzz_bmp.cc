#include <cstdint>
#include <vector>

#include "media/image.h"

/// Any bytes after a BMP signature.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer looks for this name
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> file = {'B', 'M'};
  file.insert(file.end(), data, data + size);
  // Few bytes can ask for a large canvas, and filling that would take the time.
  const qvl::ImageLimits limits{.max_pixels = 1 << 16};
  const qvl::Result<qvl::Image> image = qvl::decode_image(file, limits);
  if (image && image->rgb.size() != static_cast<size_t>(image->size.pixels()) * 3) __builtin_trap();
  return 0;
}

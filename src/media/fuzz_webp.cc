#include <cstdint>
#include <vector>

#include "media/image.h"

/// Any chunks in a WebP file whose header claims all of them.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer looks for this name
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> file = {'R', 'I', 'F', 'F', 0, 0, 0, 0, 'W', 'E', 'B', 'P'};
  file.insert(file.end(), data, data + size);
  for (size_t i = 0; i < 4; ++i) file[4 + i] = static_cast<uint8_t>((file.size() - 8) >> (8 * i));
  const qvl::ImageLimits limits{.max_pixels = 4 << 20};
  const qvl::Result<qvl::Image> image = qvl::decode_image(file, limits);
  if (image && image->rgb.size() != static_cast<size_t>(image->size.pixels()) * 3) __builtin_trap();
  return 0;
}

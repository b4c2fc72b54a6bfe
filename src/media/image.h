#pragma once

/// Encoded picture bytes → 8-bit RGB pixels, as PIL's convert("RGB") after exif_transpose gives
/// them: alpha dropped, grey replicated, EXIF orientation applied.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "qvl/result.h"

namespace qvl {

struct Size {
  int height = 0;
  int width = 0;

  int64_t pixels() const { return int64_t{height} * width; }
  bool operator==(const Size&) const = default;
};

struct Image {
  Size size;
  std::vector<uint8_t> rgb;  ///< [height, width, 3]
};

/// A black picture.
Image black_image(Size size);

/// Checked against the header before a pixel buffer is allocated.
struct ImageLimits {
  int64_t max_file_bytes = 128LL << 20;
  int64_t max_pixels = 178'956'970;  ///< PIL's default limit against decompression bombs
  int max_side = 65'500;
};

/// PNG, JPEG, WebP, GIF or BMP, told apart by content; the first picture of several. What we know
/// by name but do not read (HEIC, TIFF, PDF, …) is unsupported_image.
Result<Image> decode_image(std::span<const uint8_t> bytes, const ImageLimits& limits = {});
Result<Image> load_image(const std::string& path, const ImageLimits& limits = {});

}  // namespace qvl

#pragma once

/// Everything in a BMP file before its pixels.

#include <array>
#include <cstdint>
#include <span>

#include "qvl/result.h"

namespace qvl {

using BmpPalette = std::array<std::array<uint8_t, 3>, 256>;  ///< RGB

enum class BmpCompression : uint32_t { none = 0, rle8 = 1, rle4 = 2, bit_fields = 3 };

/// Where one channel lies in a pixel.
struct BmpChannel {
  int shift = 0;
  uint32_t max = 255;  ///< its bits, all set, moved down

  /// 0 … max → 0 … 255, rounded down as Pillow does.
  uint8_t read(uint32_t pixel) const {
    const uint32_t value = pixel >> shift & max;
    return static_cast<uint8_t>(max == 255 ? value : value * 255 / max);
  }
};

struct BmpHeader {
  int64_t width = 0;
  int64_t height = 0;
  bool top_down = false;
  int bits = 0;  ///< of a pixel: 1, 4, 8, 16, 24 or 32
  BmpCompression compression = BmpCompression::none;
  size_t data_offset = 0;                ///< may lie behind the file's end
  std::array<BmpChannel, 3> channels{};  ///< red, green, blue from 16 bits a pixel on
  BmpPalette palette{};                  ///< up to 8 bits a pixel; black behind its end
};

/// Headers of OS/2 and Windows, versions 1 to 5. What no one writes any more is unsupported_image.
Result<BmpHeader> read_bmp_header(std::span<const uint8_t> file);

}  // namespace qvl

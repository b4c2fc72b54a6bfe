#pragma once

/// What the tests of picture formats share: files written byte by byte, pictures read as letters.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "media/codecs.h"

namespace qvl {

using Bytes = std::vector<uint8_t>;

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// Row by row: k r g b for black, red, green and blue, ? for any other; or why there is no picture.
inline std::string letters(const Result<Image>& image) {
  if (!image) return image.error().detail;
  std::string out;
  for (size_t i = 0; i < image->rgb.size(); i += 3) {
    const std::vector<int> rgb(image->rgb.begin() + static_cast<ptrdiff_t>(i),
                               image->rgb.begin() + static_cast<ptrdiff_t>(i) + 3);
    out += rgb == std::vector{0, 0, 0}     ? 'k'
           : rgb == std::vector{255, 0, 0} ? 'r'
           : rgb == std::vector{0, 255, 0} ? 'g'
           : rgb == std::vector{0, 0, 255} ? 'b'
                                           : '?';
    if ((i / 3 + 1) % static_cast<size_t>(image->size.width) == 0) out += '|';
  }
  return out;
}

}  // namespace qvl

#pragma once

/// The decoders behind decode_image. Each gives the pixels as stored: RGB, not yet turned by the
/// EXIF orientation.

#include <cstdint>
#include <span>

#include "media/image.h"

namespace qvl {

/// image_too_large if a picture of this size exceeds the limits.
Status check_image_size(int64_t height, int64_t width, const ImageLimits& limits);

/// Baseline, progressive or arithmetic-coded JPEG of 1, 3 or 4 components. Data that ends early or
/// has lost pixels is an error, never a half-grey picture.
Result<Image> decode_jpeg(std::span<const uint8_t> bytes, const ImageLimits& limits);

/// PNG of any colour type and depth. The first picture of an animation.
Result<Image> decode_png(std::span<const uint8_t> bytes, const ImageLimits& limits);

}  // namespace qvl

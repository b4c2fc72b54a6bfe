#pragma once

/// The decoders behind decode_image. Each gives the pixels as stored: RGB, not yet turned by the
/// EXIF orientation. Each reads foreign bytes, starting with its format's signature.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "media/image.h"

namespace qvl {

/// image_too_large if a picture of this size exceeds the limits.
Status check_image_size(int64_t height, int64_t width, const ImageLimits& limits);

/// bad_image for a file of `format` that ends before its picture does.
Error ended_early(std::string_view format, size_t file_bytes);

void fill(Image& image, const std::array<uint8_t, 3>& colour);

/// Baseline, progressive or arithmetic-coded JPEG of 1, 3 or 4 components. Data that ends early or
/// has lost pixels is an error, never a half-grey picture. The first picture of several (MPO).
Result<Image> decode_jpeg(std::span<const uint8_t> bytes, const ImageLimits& limits);

/// PNG of any colour type and depth. The first picture of an animation.
Result<Image> decode_png(std::span<const uint8_t> bytes, const ImageLimits& limits);

/// Lossy or lossless WebP. The first picture of an animation, on a black canvas where it is
/// smaller.
Result<Image> decode_webp(std::span<const uint8_t> bytes, const ImageLimits& limits);

/// The first frame of a GIF on its logical screen. As in Pillow, transparent pixels have the colour
/// that stands in the palette; around the frame is the transparent colour, or else the first.
Result<Image> decode_gif(std::span<const uint8_t> bytes, const ImageLimits& limits);

/// BMP of Windows and OS/2: palettes, 16 to 32 bits with any bit fields, run lengths.
Result<Image> decode_bmp(std::span<const uint8_t> bytes, const ImageLimits& limits);

}  // namespace qvl

#pragma once

/// Which way up the camera was held: the one EXIF field that changes pixels. These functions read
/// foreign bytes; what they cannot read counts as absent, as a damaged note about the picture is no
/// reason to refuse it.

#include <cstdint>
#include <span>

#include "media/image.h"

namespace qvl {

/// The EXIF data (from its TIFF header on) inside a JPEG or PNG file; empty if there is none.
std::span<const uint8_t> exif_of_jpeg(std::span<const uint8_t> file);
std::span<const uint8_t> exif_of_png(std::span<const uint8_t> file);

/// The orientation tag, 1 to 8; 1 (upright) if absent or damaged.
int exif_orientation(std::span<const uint8_t> exif);

/// The picture as its viewer should see it.  Source: PIL.ImageOps.exif_transpose.
Image apply_orientation(Image image, int orientation);

}  // namespace qvl

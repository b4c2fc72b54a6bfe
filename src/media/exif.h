#pragma once

/// Which way up the camera was held: the one note about a picture that changes pixels. These
/// functions read foreign bytes; what they cannot read counts as absent, as a damaged note about
/// the picture is no reason to refuse it.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "media/image.h"
#include "media/image_format.h"

namespace qvl {

/// What a file says about its picture; empty where there is nothing.
struct ImageNotes {
  std::span<const uint8_t> exif;  ///< from its TIFF header on
  std::string_view xmp;           ///< an XML document
};

ImageNotes notes_of_jpeg(std::span<const uint8_t> file);
ImageNotes notes_of_png(std::span<const uint8_t> file);
ImageNotes notes_of_webp(std::span<const uint8_t> file);

/// The orientation tag, 1 to 8; 1 (upright) for a value that is none; nothing if absent or damaged.
std::optional<int> exif_orientation(std::span<const uint8_t> exif);
/// tiff:Orientation as an attribute or an element, 1 if it is absent or not 1 to 8.
int xmp_orientation(std::string_view xmp);

/// EXIF before XMP, 1 for a format that has neither.  Source: PIL.Image.Image.getexif.
int orientation_of(ImageFormat format, std::span<const uint8_t> file);

/// The picture as its viewer should see it.  Source: PIL.ImageOps.exif_transpose.
Image apply_orientation(Image image, int orientation);

}  // namespace qvl

#pragma once

/// Pixels → the rows that the vision tower reads.

#include <span>

#include "media/image.h"
#include "media/pixel_kernels.h"
#include "qvl/media.h"

namespace qvl {

struct PatchShape {
  int patch_size = 16;
  int temporal_patch_size = 2;
  int merge_size = 2;

  int row_bytes() const { return 3 * temporal_patch_size * patch_size * patch_size; }
};

/// Frames of equal size, a multiple of patch_size·merge_size; a last odd frame is repeated to fill
/// its slice.
Patches make_patches(std::span<const Image> frames, const PatchShape& shape,
                     const PixelKernels& kernels = pixel_kernels());

}  // namespace qvl

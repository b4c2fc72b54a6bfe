#pragma once

#include "media/image.h"
#include "media/pixel_kernels.h"

namespace qvl {

/// Bicubic with antialiasing on uint8, bit-equal to torchvision's
/// `resize(uint8 tensor, size, BICUBIC, antialias=True)` on a CPU. An axis that keeps its size is
/// not touched.
Image resize_bicubic(Image image, Size size, const PixelKernels& kernels = pixel_kernels());

}  // namespace qvl

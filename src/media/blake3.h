#pragma once

/// BLAKE3 with 32-byte digests: a cryptographic hash whose tree of 1,024-byte chunks is computed
/// many chunks at a time, which is what pixels by the megabyte need.

#include <array>
#include <span>

#include "media/pixel_kernels.h"

namespace qvl {

using Blake3Digest = std::array<uint8_t, 32>;

Blake3Digest blake3(std::span<const uint8_t> bytes, const PixelKernels& kernels = pixel_kernels());

}  // namespace qvl

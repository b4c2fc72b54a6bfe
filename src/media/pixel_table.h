#pragma once

/// The table of one instruction set, for its unit only.

#include "media/blake3_kernel.h"
#include "media/patch_kernel.h"
#include "media/pixel_kernels.h"
#include "media/resize_kernel.h"

namespace qvl {

/// kWords: lanes of 32 bits.
template <class Isa, class Weigh, size_t kTurnedRows, size_t kWords>
constexpr PixelKernels pixel_table(const char* name) {
  using Turned = Turn<Isa, kTurnedRows>;
  return {.name = name,
          .turned_rows = kTurnedRows,
          .weigh = Weigh::weigh,
          .rows_to_columns = Turned::rows_to_columns,
          .columns_to_rows = Turned::columns_to_rows,
          .split_patch = SplitPatch<Isa>::split,
          .blake3 = Blake3<Isa, kWords>::hash};
}

const PixelKernels& plain_pixel_kernels();
const PixelKernels& avx2_pixel_kernels();
const PixelKernels& avx512_pixel_kernels();

}  // namespace qvl

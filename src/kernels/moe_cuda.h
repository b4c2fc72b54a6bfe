#pragma once

#include "kernels/backend.h"

namespace qvl {

/// Scratch memory of rms_norm_moe(Cuda&, ...) for as many rows; 0 without experts.
int64_t moe_scratch_bytes(const Cuda& cuda, const MoeShape& shape);

}  // namespace qvl

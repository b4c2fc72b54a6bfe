#pragma once

#include "kernels/backend.h"

namespace qvl {

/// Scratch bytes of rms_norm_moe: the routing, the rows of each expert and what they become, and
/// each thread's sums.
int64_t moe_scratch_bytes(const Cpu& cpu, const MoeShape& shape);

}  // namespace qvl

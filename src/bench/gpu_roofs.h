#pragma once

#include <cstdint>

#include "qvl/result.h"

namespace qvl {

/// The limits of a GPU that a step can be held against.
struct GpuRoofs {
  double read_gb_per_s = 0;  ///< a read-only stream from its memory
  double gflop_per_s = 0;    ///< bfloat16 products by the tile kernel of kernels/device/gemm.cuh
};

/// One sample of each; takes kGpuRoofBytes of device memory while it runs. Error no_gpu.
Result<GpuRoofs> measure_gpu_roofs();

constexpr int64_t kGpuRoofBytes = int64_t{4} << 30;  ///< far beyond any cache

}  // namespace qvl

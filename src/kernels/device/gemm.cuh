#pragma once

/// The matrix product for prompt rows and the vision tower: bf16 factors, float32 sums.
///
/// The result goes to an epilogue, passed by value to the kernel and called once for each pair of
/// neighbouring columns:
///
///   struct Store {
///     float* c;
///     int n;
///     __device__ void operator()(int row, int col, float v0, float v1) const;  // col is even
///   };
///   launch_gemm({.a = x, .lda = k, .b = w, .m = m, .n = n, .k = k, ...}, Store{c, n});
///
/// Batch invariance: the bits of C[m, n] depend on its row of A and its row of B alone, not on m,
/// the tile or the row's place in it. Compute capability 9 runs gemm_wgmma.cuh, others
/// gemm_mma.cuh; the two may differ from each other.

#include "core/check.h"
#include "kernels/device/gemm_args.h"
#include "kernels/device/gemm_mma.cuh"
#include "kernels/device/gemm_wgmma.cuh"

namespace qvl::device {

/// Asynchronous on `args.stream`; allocates nothing; may be captured in a graph.
template <class Epilogue>
void launch_gemm(const GemmArgs& args, const Epilogue& epilogue) {
  require(args.m >= 1 && args.n >= 2 && args.n % 2 == 0, "a matrix product of m >= 1, n even");
  require(args.k >= 8 && args.k % 8 == 0 && args.lda % 8 == 0 && args.lda >= args.k,
          "a matrix product with k and lda multiples of 8");
  if (args.compute_capability_major == 9) {
    launch_gemm_wgmma(args, epilogue, choose_gemm_tile(args.m, args.n, args.k, args.sm_count));
  } else {
    launch_gemm_mma(args, epilogue);
  }
}

}  // namespace qvl::device

#pragma once

/// The matrix product for every device. Bound by the tensor cores and, before them, by
/// shared-memory reads: 8 warps of 64 x 32 read 12 KiB for every 128 x 128 x 16 product. Three
/// stages of 32 columns of k are 48 KiB, two where copies are not in the background 32 KiB, so two
/// blocks share a multiprocessor everywhere.
/// One tile shape and one order of k: the bits of C do not depend on m or on the row's place.

#include "core/cuda.h"
#include "kernels/device/gemm_args.h"
#include "kernels/device/launch.cuh"
#include "kernels/device/mma.cuh"

namespace qvl::device {

struct MmaShape {
  static constexpr int kRows = 128;
  static constexpr int kCols = 128;
  static constexpr int kDepth = 32;
  static constexpr int kChunks = kDepth / 8;  // of 16 bytes, in a row of a stage
  static constexpr int kStages = kCopiesInBackground ? 3 : 2;
  static constexpr int kThreads = 256;
  static constexpr int kWarpRows = 64;
  static constexpr int kWarpCols = 32;
  static constexpr int kStageBytes = kRows * kDepth * 2;  // of A; the same of B

  /// Bytes into a stage. Two rows fill the 32 banks, so the chunk is XORed with the pair of rows:
  /// 8 rows at one chunk then lie in 8 different groups of banks.
  __device__ static int offset(int row, int chunk) {
    return row * (kDepth * 2) + ((chunk ^ ((row >> 1) & 3)) << 4);
  }
};

template <class Epilogue>
__global__ void __launch_bounds__(MmaShape::kThreads, 2)
    gemm_mma_kernel(const __nv_bfloat16* a, int64_t lda, const __nv_bfloat16* b,
                    const GemmRaster raster, int m, int n, int k, const Epilogue epilogue) {
  using Shape = MmaShape;
  static_assert(Shape::kRows == Shape::kCols, "one loop copies rows of A and of B");
  __shared__ alignas(128) std::byte shared_a[Shape::kStages][Shape::kStageBytes];
  __shared__ alignas(128) std::byte shared_b[Shape::kStages][Shape::kStageBytes];
  const auto base_a = static_cast<uint32_t>(__cvta_generic_to_shared(shared_a));
  const auto base_b = static_cast<uint32_t>(__cvta_generic_to_shared(shared_b));

  wait_for_inputs();
  const auto [row_tile, col_tile] = raster.at(static_cast<int>(blockIdx.x));
  const int first_row = row_tile * Shape::kRows;
  const int first_col = col_tile * Shape::kCols;
  const int thread = static_cast<int>(threadIdx.x);
  const int steps = (k + Shape::kDepth - 1) / Shape::kDepth;

  const auto copy_stage = [&](int step) {
    const int stage = step % Shape::kStages * Shape::kStageBytes;
#pragma unroll
    for (int i = 0; i < Shape::kRows * Shape::kChunks / Shape::kThreads; ++i) {
      const int index = thread + i * Shape::kThreads;
      const int row = index / Shape::kChunks;
      const int chunk = index % Shape::kChunks;
      const int offset = stage + Shape::offset(row, chunk);
      const int at_k = step * Shape::kDepth + chunk * 8;
      const bool valid_a = at_k < k && first_row + row < m;
      const bool valid_b = at_k < k && first_col + row < n;
      copy_piece(base_a + offset, valid_a ? a + (first_row + row) * lda + at_k : a, valid_a);
      copy_piece(base_b + offset, valid_b ? b + int64_t{first_col + row} * k + at_k : b, valid_b);
    }
  };

  const int warp = thread / 32;
  const int lane = thread % 32;
  const int warp_row = warp / (Shape::kCols / Shape::kWarpCols) * Shape::kWarpRows;
  const int warp_col = warp % (Shape::kCols / Shape::kWarpCols) * Shape::kWarpCols;
  constexpr int kRowBlocks = Shape::kWarpRows / 16;
  constexpr int kColBlocks = Shape::kWarpCols / 8;
  float sums[kRowBlocks][kColBlocks][4] = {};

  // A step always commits a group, empty past the end, so the same wait fits every step.
  for (int step = 0; step < Shape::kStages - 1; ++step) {
    if (step < steps) copy_stage(step);
    commit_copies();
  }
  for (int step = 0; step < steps; ++step) {
    wait_copies<Shape::kStages - 2>();
    __syncthreads();  // the stage is there for all, and all have read the one overwritten next
    if (step + Shape::kStages - 1 < steps) copy_stage(step + Shape::kStages - 1);
    commit_copies();
    const int stage = step % Shape::kStages * Shape::kStageBytes;
#pragma unroll
    for (int depth = 0; depth < Shape::kDepth / 16; ++depth) {
      uint32_t b_blocks[kColBlocks / 2][4];
#pragma unroll
      for (int j = 0; j < kColBlocks / 2; ++j) {
        const int row = warp_col + j * 16 + lane / 16 * 8 + lane % 8;
        load_matrices(b_blocks[j], base_b + stage + Shape::offset(row, depth * 2 + lane / 8 % 2));
      }
#pragma unroll
      for (int i = 0; i < kRowBlocks; ++i) {
        uint32_t a_block[4];
        load_matrices(
            a_block,
            base_a + stage + Shape::offset(warp_row + i * 16 + lane % 16, depth * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < kColBlocks; ++j) {
          multiply_add(sums[i][j], a_block, b_blocks[j / 2][j % 2 * 2],
                       b_blocks[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
  }

  const int row = first_row + warp_row + lane / 4;
  const int col = first_col + warp_col + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < kRowBlocks; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at_row = row + i * 16 + half * 8;
      if (at_row >= m) continue;
#pragma unroll
      for (int j = 0; j < kColBlocks; ++j) {
        if (col + j * 8 < n) {
          epilogue(at_row, col + j * 8, sums[i][j][half * 2], sums[i][j][half * 2 + 1]);
        }
      }
    }
  }
}

template <class Epilogue>
void launch_gemm_mma(const GemmArgs& args, const Epilogue& epilogue) {
  const GemmRaster raster(args.m, args.n, MmaShape::kRows, MmaShape::kCols);
  launch({.grid = static_cast<unsigned>(raster.tiles()),
          .block = MmaShape::kThreads,
          .stream = args.stream,
          .overlaps = args.compute_capability_major >= 9 && !args.b_is_new},
         gemm_mma_kernel<Epilogue>, args.a, args.lda, args.b, raster, args.m, args.n, args.k,
         epilogue);
}

}  // namespace qvl::device

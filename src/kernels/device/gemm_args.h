#pragma once

/// What every matrix-product kernel is told, and the order in which tiles are visited.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

namespace qvl::device {

/// C[m, n] = sum over k of A[m, k] * B[n, k]. All pointers are device memory, 16-byte aligned.
struct GemmArgs {
  const __nv_bfloat16* a;  ///< [m, k], rows `lda` elements apart
  int64_t lda;             ///< multiple of 8, at least k
  const __nv_bfloat16* b;  ///< [n, k], contiguous; no kernel before this one may write it
  int m;                   ///< at least 1
  int n;                   ///< even
  int k;                   ///< multiple of 8
  int compute_capability_major;
  int sm_count;
  cudaStream_t stream;
};

/// Visits tiles in bands of a few row tiles, down the band first: the blocks that run together then
/// share few rows of A and few of B, and both stay in the second-level cache.
struct GemmRaster {
  int row_tiles;
  int col_tiles;
  int band;

  struct Position {
    int row_tile;
    int col_tile;
  };

  GemmRaster(int m, int n, int tile_rows, int tile_cols)
      : row_tiles((m + tile_rows - 1) / tile_rows),
        col_tiles((n + tile_cols - 1) / tile_cols),
        band(std::max(1, kBandRows / tile_rows)) {}

  __host__ __device__ int tiles() const { return row_tiles * col_tiles; }

  __device__ Position at(int tile) const {
    const int band_tiles = band * col_tiles;
    const int first = tile / band_tiles * band;
    const int height = min(band, row_tiles - first);
    const int within = tile % band_tiles;
    return {first + within % height, within / height};
  }

 private:
  static constexpr int kBandRows = 2048;
};

}  // namespace qvl::device

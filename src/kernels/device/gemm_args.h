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
  const __nv_bfloat16* b;  ///< [n, k], contiguous; read before the kernel before has ended
  int m;                   ///< at least 1
  int n;                   ///< even
  int k;                   ///< multiple of 8
  int compute_capability_major;
  int sm_count;
  cudaStream_t stream;
  bool b_is_new = false;  ///< the kernel before has written it: this one begins when that has ended
};

/// Where a tile of C lies. Rows from end_row on are not C's.
struct GemmPlace {
  int first_row;
  int end_row;
  int first_col;
  int group;  ///< of the B it takes
};

/// Visits tiles in bands of a few row tiles, down the band first: the blocks that run together then
/// share few rows of A and few of B, and both stay in the second-level cache.
struct GemmRaster {
  static constexpr bool kGrouped = false;

  int rows;
  int row_tiles;
  int col_tiles;
  int band;

  struct Position {
    int row_tile;
    int col_tile;
  };

  GemmRaster(int m, int n, int tile_rows, int tile_cols)
      : rows(m),
        row_tiles((m + tile_rows - 1) / tile_rows),
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
  template <int kRows, int kCols>
  __device__ GemmPlace place(int tile) const {
    const auto [row_tile, col_tile] = at(tile);
    return {row_tile * kRows, rows, col_tile * kCols, 0};
  }

 private:
  static constexpr int kBandRows = 2048;
};

/// Rows of A that one group takes, no more than a tile has.
struct alignas(16) GroupTile {
  int group;
  int first_row;
  int end_row;
  int unused;
};

/// Rows of A in groups, each with a B of its own: tiles of rows as the kernel before this one has
/// listed them. Those that run together share rows of A and the group's B.
struct GroupRaster {
  static constexpr bool kGrouped = true;

  const GroupTile* row_tiles;
  const int32_t* row_tile_count;
  int col_tiles;

  __device__ int tiles() const { return *row_tile_count * col_tiles; }
  template <int kRows, int kCols>
  __device__ GemmPlace place(int tile) const {
    const GroupTile rows = row_tiles[tile / col_tiles];
    return {rows.first_row, rows.end_row, tile % col_tiles * kCols, rows.group};
  }
};

/// C[m, n] = sum over k of A[m, k] * B[g][n, k] for the rows m of each group g.
struct GroupGemmArgs {
  const __nv_bfloat16* a;  ///< [rows, k], contiguous, groups one after the other
  int rows;
  const __nv_bfloat16* b;  ///< of group 0: [n, k], contiguous
  int64_t group_bytes;     ///< from one group's B to the next one's, a multiple of 16
  int groups;
  int n;
  int k;
  const GroupTile* row_tiles;  ///< device memory, filled by a kernel before
  const int32_t* row_tile_count;
  int max_row_tiles;  ///< that the list may have
  int sm_count;
  cudaStream_t stream;
};

}  // namespace qvl::device

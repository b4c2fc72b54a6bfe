#pragma once

/// Attention of 128 or 64 query rows of one head by a block of 4 warps; the keys come in blocks
/// of 64.
///
/// Bound by the tensor cores (mma.sync). Two things decide how near it comes:
///  - a warp owns 32 rows, so that a fragment of keys or values read from shared memory feeds two
///    matrix instructions; with 16 rows the shared memory's bandwidth is the limit, and such tiles
///    are for steps that have too few rows to keep all multiprocessors busy otherwise;
///  - two thread blocks share a multiprocessor (255 registers a thread), and one's softmax runs
///    beside the other's products.
/// Up to head_dim 80, or 128 in tiles of 64, the query fragments stay in registers and a block of
/// keys and values has two places, the next one on its way during a whole block. Above, the
/// registers hold the sums, the query stays in the second place, and values travel during q·k, the
/// next keys during the rest. Small tiles can do the same in less shared memory.
///
/// Rows of shared memory are an odd number of 16-byte chunks apart, so that 8 rows of a matrix lie
/// in 32 different banks. Where head_dim is an odd multiple of 8, the last 8 columns are multiplied
/// by the half-depth instruction, and nothing is padded.
///
/// The bits of a row depend on its query, its keys and values and their order alone: the maximum
/// and the sum are the row's own, operations are spelt so that none is contracted in one place and
/// not in another, and a block that lies beyond the row leaves the maximum, multiplies by exactly 1
/// and adds exactly 0.

#include <bit>
#include <cmath>
#include <cstdint>

#include "core/dtype.h"
#include "kernels/device/flash_warp.cuh"

namespace qvl::device::flash {

constexpr int kBlockKeys = 64;
constexpr int kThreads = 128;

/// Where a tile's query stays.
enum class QueryPlace { registers_if_they_suffice, shared_memory };

/// kMatrices: how many times 16 rows a warp has, 2 or 1.
template <int kHeadDim, int kMatrices,
          QueryPlace kQueryPlace = QueryPlace::registers_if_they_suffice>
struct TileShape {
  static_assert(kHeadDim % 8 == 0 && kHeadDim >= 16 && kHeadDim <= 128);
  static constexpr int kWarpRows = 16 * kMatrices;
  static constexpr int kRows = 4 * kWarpRows;
  static constexpr int kChunks = kHeadDim / 8;  // of 16 bytes in a row
  static constexpr int kMainChunks = std::bit_floor(static_cast<unsigned>(kChunks));
  static constexpr int kRowBytes = (kChunks | 1) * 16;
  static constexpr int kBlockBytes = kBlockKeys * kRowBytes;  // of keys, or of values
  static constexpr bool kQueryInRegisters =
      kQueryPlace == QueryPlace::registers_if_they_suffice && kHeadDim * kMatrices <= 160;
  /// Keys, values, and as much again, or the query.
  static constexpr int kSharedBytes =
      kQueryInRegisters ? 4 * kBlockBytes : 2 * kBlockBytes + kRows * kRowBytes;
  static_assert(kRows * kRowBytes <= kSharedBytes - 2 * kBlockBytes);
  /// Of a multiprocessor, by registers.
  static constexpr int kBlocks =
      kMatrices == 1 && kQueryPlace == QueryPlace::registers_if_they_suffice ? 3 : 2;

  static constexpr int kDepths = kHeadDim / 16;           // whole steps of 16 columns
  static constexpr bool kHalfDepth = kHeadDim % 16 != 0;  // and 8 columns after them
  static_assert((kQueryInRegisters && kMatrices == 2) || !kHalfDepth);
  static constexpr int kColumns = kHeadDim / 8;  // matrices across the output
};

/// The rows of one tile. Row r attends to the keys [0, position + r] if causal, [0, position] if
/// not.
struct Tile {
  const bf16* query = nullptr;
  int query_stride = 0;  // elements; rows are aligned to 16 bytes, as are those of keys
  bf16* out = nullptr;
  int out_stride = 0;
  int rows = 0;  // 1 to TileShape::kRows
  int position = 0;
};

/// Starts to copy kRows rows of kHeadDim elements; those from `rows` on become zeros and are not
/// read, though their addresses are formed.
template <int kHeadDim, int kRows>
__device__ inline void copy_rows(uint32_t to, const bf16* from, int stride, int rows) {
  using Shape = TileShape<kHeadDim, 2>;  // in which it does not matter how many rows a warp has
  constexpr int kAcross = Shape::kMainChunks;
  constexpr int kAtOnce = kThreads / kAcross;
  const auto copy = [&](int row, int chunk) {
    copy_piece<Fetch::line>(to + row * Shape::kRowBytes + chunk * 16,
                            from + row * stride + chunk * 8, row < rows);
  };
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < kRows / kAtOnce; ++i) {
    copy(thread / kAcross + i * kAtOnce, thread % kAcross);
  }
  constexpr int kRest = Shape::kChunks - kAcross;
  if constexpr (kRest > 0) {
    for (int i = thread; i < kRows * kRest; i += kThreads) copy(i / kRest, kAcross + i % kRest);
  }
}

/// What a warp knows of its rows: m = 0, 1 are rows 0 … 15 and 16 … 31, h = 0, 1 are rows g and
/// g + 8 of those.
template <int kHeadDim, int kMatrices, QueryPlace kQueryPlace>
struct WarpRows {
  using Shape = TileShape<kHeadDim, kMatrices, kQueryPlace>;
  static constexpr int kKept = Shape::kQueryInRegisters ? Shape::kDepths : 1;

  uint32_t query[kMatrices][kKept][4];
  uint32_t query_half[4];  // m = 0 in the first two, m = 1 in the others
  float scores[kMatrices][kBlockKeys / 8][4];
  float sums[kMatrices][Shape::kColumns][4];
  float max[kMatrices][2];
  float total[kMatrices][2];  // of this lane's columns

  __device__ void start() {
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int n = 0; n < Shape::kColumns; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] = 0.0F;
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        max[m][h] = -INFINITY;
        total[m][h] = 0.0F;
      }
    }
  }

  /// at: shared address of the warp's first row.
  __device__ void load_query(uint32_t at, int depth, uint32_t (&x)[kMatrices][4]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const uint32_t from = at + (lane % 16) * Shape::kRowBytes + (lane / 16) * 16 + depth * 32;
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) load_matrices(x[m], from + m * 16 * Shape::kRowBytes);
  }

  __device__ void keep_query(uint32_t at) {
#pragma unroll
    for (int depth = 0; depth < Shape::kDepths; ++depth) {
      uint32_t x[kMatrices][4];
      load_query(at, depth, x);
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) query[m][depth][i] = x[m][i];
      }
    }
    if constexpr (Shape::kHalfDepth) {
      const int lane = static_cast<int>(threadIdx.x) % 32;
      load_matrices(query_half, at + lane * Shape::kRowBytes + Shape::kDepths * 32);
    }
  }

  /// scores = query · keysᵀ of a block. Its first matrices have keys 0 … 7, its second 8 … 15.
  __device__ void score(uint32_t query_at, uint32_t keys) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const uint32_t from = keys + (lane / 16 * 8 + lane % 8) * Shape::kRowBytes + lane / 8 % 2 * 16;
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[m][n][i] = 0.0F;
      }
    }
#pragma unroll
    for (int depth = 0; depth < Shape::kDepths; ++depth) {
      uint32_t a[kMatrices][4];
      if constexpr (Shape::kQueryInRegisters) {
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) a[m][i] = query[m][depth][i];
        }
      } else {
        load_query(query_at, depth, a);
      }
#pragma unroll
      for (int n = 0; n < kBlockKeys / 16; ++n) {
        uint32_t b[4];
        load_matrices(b, from + n * 16 * Shape::kRowBytes + depth * 32);
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
          multiply_add(scores[m][2 * n], a[m], b[0], b[1]);
          multiply_add(scores[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
    if constexpr (Shape::kHalfDepth) {
#pragma unroll
      for (int n = 0; n < kBlockKeys / 32; ++n) {
        uint32_t b[4];
        load_matrices(b, keys + (n * 32 + lane) * Shape::kRowBytes + Shape::kDepths * 32);
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            multiply_add(scores[m][4 * n + i], query_half[2 * m], query_half[2 * m + 1], b[i]);
          }
        }
      }
    }
  }

  /// last: the last key of the block, counted from its first, that the warp's first row attends to;
  /// each row after it attends to `step` more.
  __device__ void mask(int last, int step) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row_last = last + (m * 16 + h * 8 + lane / 4) * step;
#pragma unroll
        for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            if (n * 8 + lane % 4 * 2 + e > row_last) scores[m][n][2 * h + e] = -INFINITY;
          }
        }
      }
    }
  }

  /// scores become weights 2^((score - max) · scale); sums and total follow the new maximum.
  __device__ void weigh(float scale) {
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float most = scores[m][0][2 * h];
#pragma unroll
        for (int n = 0; n < kBlockKeys / 8; ++n) {
          most = fmaxf(most, fmaxf(scores[m][n][2 * h], scores[m][n][2 * h + 1]));
        }
        most = fmaxf(max[m][h], quad_max(most));
        const float factor = power_of_two(__fmul_rn(__fsub_rn(max[m][h], most), scale));
        const float shift = -__fmul_rn(most, scale);
        max[m][h] = most;
        float sum[2] = {0.0F, 0.0F};  // two chains of additions, half as long
#pragma unroll
        for (int n = 0; n < kBlockKeys / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& weight = scores[m][n][2 * h + e];
            weight = power_of_two(__fmaf_rn(weight, scale, shift));
            sum[e] = __fadd_rn(sum[e], weight);
          }
        }
        total[m][h] = __fmaf_rn(total[m][h], factor, __fadd_rn(sum[0], sum[1]));
#pragma unroll
        for (int n = 0; n < Shape::kColumns; ++n) {
          sums[m][n][2 * h] = __fmul_rn(sums[m][n][2 * h], factor);
          sums[m][n][2 * h + 1] = __fmul_rn(sums[m][n][2 * h + 1], factor);
        }
      }
    }
  }

  /// sums += weights · values, the weights rounded to bf16.
  __device__ void add_values(uint32_t values) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const uint32_t from = values + (lane % 16) * Shape::kRowBytes + (lane / 16) * 16;
    [[maybe_unused]] uint32_t half[4];
#pragma unroll
    for (int depth = 0; depth < kBlockKeys / 16; ++depth) {
      uint32_t a[kMatrices][4];
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
        const auto& left = scores[m][2 * depth];
        const auto& right = scores[m][2 * depth + 1];
        a[m][0] = pack(left[0], left[1]);
        a[m][1] = pack(left[2], left[3]);
        a[m][2] = pack(right[0], right[1]);
        a[m][3] = pack(right[2], right[3]);
      }
#pragma unroll
      for (int n = 0; n < Shape::kDepths; ++n) {
        uint32_t b[4];
        load_matrices<true>(b, from + depth * 16 * Shape::kRowBytes + n * 32);
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
          multiply_add(sums[m][2 * n], a[m], b[0], b[1]);
          multiply_add(sums[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
      if constexpr (Shape::kHalfDepth) {
        if (depth % 2 == 0) {
          load_matrices<true>(
              half, values + (depth * 16 + lane) * Shape::kRowBytes + Shape::kDepths * 32);
        }
        const int second = depth % 2 * 2;
        multiply_add(sums[0][Shape::kColumns - 1], a[0], half[second], half[second + 1]);
        multiply_add(sums[1][Shape::kColumns - 1], a[1], half[second], half[second + 1]);
      }
    }
  }

  /// rows: how many of the warp's rows there are; may be negative.
  __device__ void store(bf16* out, int stride, int rows) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float inverse = __frcp_rn(quad_sum(total[m][h]));
        const int row = m * 16 + h * 8 + lane / 4;
        if (row >= rows) continue;
        auto* to = reinterpret_cast<uint32_t*>(out + row * stride) + lane % 4;
#pragma unroll
        for (int n = 0; n < Shape::kColumns; ++n) {
          to[n * 4] = pack(__fmul_rn(sums[m][n][2 * h], inverse),
                           __fmul_rn(sums[m][n][2 * h + 1], inverse));
        }
      }
    }
  }
};

/// The whole of a tile by all threads of the block. Keys says where block b of 64 keys lies:
/// at(b) is a handle, keys(handle) and values(handle) point to rows `stride()` elements apart.
/// shared: TileShape::kSharedBytes, aligned to 16.
template <int kHeadDim, int kMatrices, bool kCausal,
          QueryPlace kQueryPlace = QueryPlace::registers_if_they_suffice, class Keys>
__device__ inline void attend(const Tile& tile, const Keys& source, uint32_t shared) {
  using Shape = TileShape<kHeadDim, kMatrices, kQueryPlace>;
  constexpr bool kTwoPlaces = Shape::kQueryInRegisters;
  constexpr int kPlaceBytes = 2 * Shape::kBlockBytes;
  const int keys = tile.position + (kCausal ? tile.rows : 1);
  const int blocks = (keys + kBlockKeys - 1) / kBlockKeys;
  // Read from lane 0, so that the compiler knows it, and what follows from it, is one for the warp.
  const int warp = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x) / 32, 0);
  const int warp_row = warp * Shape::kWarpRows;
  const int warp_rows = min(Shape::kWarpRows, tile.rows - warp_row);
  // The last keys of the warp's first and last rows; scores of a block after the latter are unused
  // (to leave out their products too would cost registers that are not there).
  const int first_reach = tile.position + (kCausal ? warp_row : 0);
  const int last_reach = warp_rows <= 0 ? -1 : first_reach + (kCausal ? warp_rows - 1 : 0);
  const float scale = 1.44269504F / sqrtf(static_cast<float>(kHeadDim));  // exp(x) = 2^(x·log2 e)

  const auto copy_keys = [&](int block, int handle, uint32_t to) {
    copy_rows<kHeadDim, kBlockKeys>(to, source.keys(handle), source.stride(),
                                    keys - block * kBlockKeys);
  };
  const auto copy_values = [&](int block, int handle, uint32_t to) {
    copy_rows<kHeadDim, kBlockKeys>(to + Shape::kBlockBytes, source.values(handle), source.stride(),
                                    keys - block * kBlockKeys);
  };

  WarpRows<kHeadDim, kMatrices, kQueryPlace> rows;
  rows.start();
  const uint32_t query_at = shared + kPlaceBytes;
  const uint32_t warp_query = query_at + warp_row * Shape::kRowBytes;
  int handle = source.at(0);  // of what is copied next, read well before
  copy_rows<kHeadDim, Shape::kRows>(query_at, tile.query, tile.query_stride, tile.rows);
  copy_keys(0, handle, shared);
  if constexpr (kTwoPlaces) {
    copy_values(0, handle, shared);
    wait_all_copies();
    __syncthreads();
    rows.keep_query(warp_query);
    handle = source.at(min(1, blocks - 1));
  }
  for (int block = 0; block < blocks; ++block) {
    const bool mine = block * kBlockKeys <= last_reach;
    const bool more = block + 1 < blocks;
    const uint32_t place = shared + (kTwoPlaces ? block % 2 * kPlaceBytes : 0);
    wait_all_copies();
    __syncthreads();  // the block's keys are there, and no warp reads the block before it
    if constexpr (kTwoPlaces) {
      const uint32_t other = shared + (block + 1) % 2 * kPlaceBytes;
      if (more) {
        copy_keys(block + 1, handle, other);
        copy_values(block + 1, handle, other);
      }
    } else {
      copy_values(block, handle, place);
    }
    handle = source.at(min(block + (kTwoPlaces ? 2 : 1), blocks - 1));
    rows.score(warp_query, place);
    if constexpr (!kTwoPlaces) {
      wait_all_copies();
      __syncthreads();  // its values are there, and no warp reads its keys
      if (more) copy_keys(block + 1, handle, place);
    }
    if (mine) {
      if (block * kBlockKeys + kBlockKeys - 1 > first_reach) {
        rows.mask(first_reach - block * kBlockKeys, kCausal ? 1 : 0);
      }
      rows.weigh(scale);
      rows.add_values(place + Shape::kBlockBytes);
    }
  }
  rows.store(tile.out + warp_row * tile.out_stride, tile.out_stride, warp_rows);
}

}  // namespace qvl::device::flash

#pragma once

/// Bound by the tensor cores: 2 m n k operations against (m + n) k reads that the second-level
/// cache serves. One warpgroup drives bulk tensor copies into a ring of swizzled stages, 64 columns
/// of k each; every other warpgroup multiplies 64 rows of the tile into registers. A block stays on
/// its multiprocessor and takes every sm_count-th tile, so copies for the next tile run during the
/// epilogue; the first weights are on their way before the rows of A exist. Clusters of two that
/// share copies of B were slower on an H200 for every shape here.
///
/// A sum is one float32 accumulator to which k16 products are added in order of k, whatever the
/// tile: the bits of C do not depend on the tile chosen, on m, or on the row's place.

#include <array>
#include <cstddef>
#include <utility>

#include "core/check.h"
#include "core/cuda.h"
#include "kernels/device/epilogues.cuh"
#include "kernels/device/gemm_args.h"
#include "kernels/device/launch.cuh"
#include "kernels/device/wgmma.cuh"

namespace qvl::device {

struct GemmTile {
  int rows;
  int cols;
  int percent;  ///< of the tensor cores' rate that long products reach, as measured on an H200
};

inline constexpr std::array kGemmTiles = {
    GemmTile{64, 64, 46},   GemmTile{64, 128, 60},  GemmTile{128, 128, 82}, GemmTile{192, 128, 86},
    GemmTile{128, 192, 86}, GemmTile{192, 192, 88}, GemmTile{128, 256, 88},
};

/// The tile with the fewest clocks: waves over the multiprocessors times the clocks of a tile.
/// Returns an index into kGemmTiles.
inline size_t choose_gemm_tile(int m, int n, int k, int sm_count) {
  constexpr int64_t kMultipliesPerClock = 2048;
  constexpr int64_t kEpilogueElementsPerClock = 16;
  constexpr int64_t kWaveClocks = 1000;  // until the first product, and after the last
  constexpr int64_t kStepDepth = 64;

  size_t best = 0;
  int64_t best_clocks = INT64_MAX;
  for (size_t i = 0; i < kGemmTiles.size(); ++i) {
    const auto [rows, cols, percent] = kGemmTiles[i];
    const int64_t area = int64_t{rows} * cols;
    const int64_t steps = (k + kStepDepth - 1) / kStepDepth;
    const int64_t tile_clocks = steps * area * kStepDepth / kMultipliesPerClock * 100 / percent +
                                area / kEpilogueElementsPerClock + kWaveClocks;
    const int64_t tiles = GemmRaster(m, n, rows, cols).tiles();
    const int64_t clocks = (tiles + sm_count - 1) / sm_count * tile_clocks;
    if (clocks <= best_clocks) {
      best_clocks = clocks;
      best = i;
    }
  }
  return best;
}

/// Sizes that follow from a tile.
template <int kRows, int kCols>
struct WgmmaShape {
  static_assert(kRows % 64 == 0 && kCols % 64 == 0 && kCols <= 256);
  static constexpr int kDepth = 64;  // bf16 elements of k in a stage: 128 bytes, one swizzle row
  static constexpr int kConsumers = kRows / 64;
  static constexpr int kThreads = 128 * (1 + kConsumers);
  static constexpr int kBytesA = kRows * kDepth * 2;
  static constexpr int kBytesB = kCols * kDepth * 2;
  static constexpr int kStageBytes = kBytesA + kBytesB;
  static constexpr int kMaxStages = 8;
  static constexpr int kAlignment = 1024;                     // the swizzle repeats every 8 rows
  static constexpr int kRingBytes = 226 * 1024 - kAlignment;  // of 227 KiB; the rest: barriers
  static constexpr int kStages = std::min(kMaxStages, kRingBytes / kStageBytes);
  static constexpr int kSharedBytes = kStages * kStageBytes + kAlignment;
  // Of 65,536 registers; one consumer has enough without taking the producer's.
  static constexpr bool kMoveRegisters = kConsumers > 1;
  static constexpr int kProducerRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 232 : 160;
};

/// A place in the ring: the stage, and the parity of how often the ring was gone round.
template <int kStages>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// Makes the barriers of a ring, of all threads of the block: a stage is full by one arrival, that
/// of its copies, and empty by one of each warp of the consuming warpgroups.
template <int kStages>
__device__ inline void begin_ring(uint32_t full, uint32_t empty, int consumers) {
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(full + 8 * stage, 1);
      barrier_init(empty + 8 * stage, 4 * consumers);
    }
    barrier_init_fence();
  }
  __syncthreads();
}

/// A lane's sums of rows `row` and `row + 8` and the columns from `col` on, as wgmma leaves them.
template <int kSums, class Epilogue>
__device__ void store_sums(const Epilogue& epilogue, const float (&sums)[kSums], int row, int col,
                           int m, int n) {
  constexpr int kStrips = kSums / 32;
  int stored = 0;  // strips
  if constexpr (TakesStrips<Epilogue>) {
    const int whole = epilogue.takes_strips() ? min(kStrips, (n - col) / kStripCols) : 0;
    const auto place = [&](int strip, int half) -> Strip {
      const int at = row + 8 * half;
      return {at, col + strip * kStripCols, strip < whole && at < m};
    };
    auto before = epilogue.before(place(0, 0));
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
      if (strip >= whole) break;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float2 pairs[kStripPairs];
#pragma unroll
        for (int i = 0; i < kStripPairs; ++i) {
          const float* const sum = sums + 32 * strip + 4 * i + 2 * half;
          pairs[i] = {sum[0], sum[1]};
        }
        epilogue.store_strip(place(strip, half), place(strip + half, 1 - half), before, pairs);
      }
    }
    stored = whole;
  }
  const int pair_col = col + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int j = 0; j < kSums / 4; ++j) {
    if (j / kStripPairs < stored || pair_col + 8 * j >= n) continue;
    if (row < m) epilogue(row, pair_col + 8 * j, sums[4 * j], sums[4 * j + 1]);
    if (row + 8 < m) epilogue(row + 8, pair_col + 8 * j, sums[4 * j + 2], sums[4 * j + 3]);
  }
}

/// map_b has the dimensions k, n and, for a grouped raster, the groups.
template <int kRows, int kCols, class Raster, class Epilogue>
__global__ void __launch_bounds__(WgmmaShape<kRows, kCols>::kThreads, 1)
    gemm_wgmma_kernel(const __grid_constant__ CUtensorMap map_a,
                      const __grid_constant__ CUtensorMap map_b, const Raster raster, int n,
                      int steps, const Epilogue epilogue) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = WgmmaShape<kRows, kCols>;
  constexpr int kStages = Shape::kStages;
  extern __shared__ std::byte dynamic_shared[];
  __shared__ uint64_t full_barriers[kStages];
  __shared__ uint64_t empty_barriers[kStages];

  const uint32_t ring = (shared_address(dynamic_shared) + Shape::kAlignment - 1) &
                        ~static_cast<uint32_t>(Shape::kAlignment - 1);
  const uint32_t full = shared_address(full_barriers);
  const uint32_t empty = shared_address(empty_barriers);
  const int first_tile = static_cast<int>(blockIdx.x);
  const int tile_stride = static_cast<int>(gridDim.x);

  begin_ring<kStages>(full, empty, Shape::kConsumers);

  RingPlace<kStages> place;
  const int warpgroup = __shfl_sync(0xFFFFFFFF, static_cast<int>(threadIdx.x) / 128, 0);
  if (warpgroup == 0) {
    if constexpr (Shape::kMoveRegisters) give_registers<Shape::kProducerRegisters>();
    if (threadIdx.x == 0) {
      prefetch_tensor_map(&map_a);
      prefetch_tensor_map(&map_b);
      // Into a stage that is free; its rows of A are still to come.
      const auto copy_weights = [&](int stage, int step, const GemmPlace& at) {
        const uint32_t barrier = full + 8 * stage;
        const uint32_t to = ring + stage * Shape::kStageBytes + Shape::kBytesA;
        barrier_arrive_expecting(barrier, Shape::kStageBytes);
        if constexpr (Raster::kGrouped) {
          copy_box(to, &map_b, step * Shape::kDepth, at.first_col, at.group, barrier);
        } else {
          copy_box(to, &map_b, step * Shape::kDepth, at.first_col, barrier);
        }
      };
      int ahead = 0;
      if constexpr (!Raster::kGrouped) {
        ahead = min(kStages, steps);
        const GemmPlace first = raster.template place<kRows, kCols>(first_tile);
        for (int step = 0; step < ahead; ++step) copy_weights(step, step, first);
      }
      wait_for_inputs();
      const int tiles = raster.tiles();
      for (int tile = first_tile; tile < tiles; tile += tile_stride) {
        const GemmPlace at = raster.template place<kRows, kCols>(tile);
        for (int step = 0; step < steps; ++step) {
          if (tile != first_tile || step >= ahead) {
            barrier_wait(empty + 8 * place.stage, place.parity ^ 1);
            copy_weights(place.stage, step, at);
          }
          copy_box(ring + place.stage * Shape::kStageBytes, &map_a, step * Shape::kDepth,
                   at.first_row, full + 8 * place.stage);
          place.advance();
        }
      }
    }
  } else {
    if constexpr (Shape::kMoveRegisters) take_registers<Shape::kConsumerRegisters>();
    wait_for_inputs();  // for what the epilogue reads and overwrites
    const int thread = static_cast<int>(threadIdx.x) % 128;
    const int lane = thread % 32;
    const int first_row = (warpgroup - 1) * 64;
    const int thread_row = first_row + thread / 32 * 16 + lane / 4;  // and the eighth after it
    // The stage may be overwritten.
    const auto release = [&](int stage) {
      if (lane == 0) barrier_arrive(empty + 8 * stage);
    };
    const int tiles = raster.tiles();
    for (int tile = first_tile; tile < tiles; tile += tile_stride) {
      const GemmPlace at = raster.template place<kRows, kCols>(tile);
      // Of the rows of a group a tile may have few.
      const bool has_rows = !Raster::kGrouped || at.first_row + first_row < at.end_row;
      float sums[kCols / 2];
#pragma unroll
      for (float& sum : sums) sum = 0.F;
      int previous = 0;
      for (int step = 0; step < steps; ++step) {
        barrier_wait(full + 8 * place.stage, place.parity);
        if (has_rows) {
          const uint32_t stage = ring + place.stage * Shape::kStageBytes;
          const uint64_t a = swizzled_rows(stage + first_row * Shape::kDepth * 2);
          const uint64_t b = swizzled_rows(stage + Shape::kBytesA);
          pin_registers(sums);
          wgmma_fence();
#pragma unroll
          for (int i = 0; i < Shape::kDepth / 16; ++i) wgmma(sums, a + 2 * i, b + 2 * i);
          wgmma_commit();
        }
        if (step > 0) {
          if (has_rows) wgmma_wait<1>();
          release(previous);
        }
        previous = place.stage;
        place.advance();
      }
      wgmma_wait<0>();
      pin_registers(sums);
      release(previous);

      store_sums(epilogue, sums, at.first_row + thread_row, at.first_col, at.end_row, n);
    }
  }
#else
  __trap();
#endif
}

/// The driver's encoder of tensor maps, looked up once; the program does not link the driver.
inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  static const auto kEncoder = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                           cudaEnableDefault, &found));
    if (found != cudaDriverEntryPointSuccess) check(cudaErrorSymbolNotFound);
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }();
  return kEncoder;
}

/// Of matrices of one shape that lie at even distances.
struct MatrixGroups {
  int count = 1;
  int64_t bytes = 0;  ///< from one to the next
};

/// Boxes of `box_rows` rows and 64 columns of a bf16 matrix; what lies outside it reads as zero.
/// With groups the map has them as its third dimension.
inline CUtensorMap tensor_map(const __nv_bfloat16* data, int rows, int cols, int64_t row_stride,
                              int box_rows, const MatrixGroups& groups = {}) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(rows),
                              static_cast<cuuint64_t>(groups.count)};
  const cuuint64_t stride_bytes[] = {static_cast<cuuint64_t>(row_stride) * sizeof(__nv_bfloat16),
                                     static_cast<cuuint64_t>(groups.bytes)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t element_strides[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result = tensor_map_encoder()(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, groups.bytes == 0 ? 2 : 3,
      const_cast<__nv_bfloat16*>(data), sizes, stride_bytes, box, element_strides,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  require_equal(result, CUDA_SUCCESS, "encoding a tensor map");
  return map;
}

template <int kRows, int kCols, class Raster, class Epilogue>
void launch_gemm_wgmma(const Raster& raster, int max_tiles, const CUtensorMap& map_a,
                       const CUtensorMap& map_b, int n, int k, int sm_count, cudaStream_t stream,
                       const Epilogue& epilogue, bool overlaps = true) {
  using Shape = WgmmaShape<kRows, kCols>;
  const auto kernel = gemm_wgmma_kernel<kRows, kCols, Raster, Epilogue>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             Shape::kSharedBytes));
  launch({.grid = static_cast<unsigned>(std::min(max_tiles, sm_count)),
          .block = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .stream = stream,
          .overlaps = overlaps},
         kernel, map_a, map_b, raster, n, (k + Shape::kDepth - 1) / Shape::kDepth, epilogue);
}

template <int kRows, int kCols, class Epilogue>
void launch_gemm_wgmma(const GemmArgs& args, const Epilogue& epilogue) {
  const GemmRaster raster(args.m, args.n, kRows, kCols);
  launch_gemm_wgmma<kRows, kCols>(raster, raster.tiles(),
                                  tensor_map(args.a, args.m, args.k, args.lda, kRows),
                                  tensor_map(args.b, args.n, args.k, args.k, kCols), args.n, args.k,
                                  args.sm_count, args.stream, epilogue, !args.b_is_new);
}

/// The product over groups; row_tiles have at most kRows rows. The bits are those of one product
/// for each group.
template <int kRows, int kCols, class Epilogue>
void launch_group_gemm_wgmma(const GroupGemmArgs& args, const Epilogue& epilogue) {
  const GroupRaster raster{args.row_tiles, args.row_tile_count, (args.n + kCols - 1) / kCols};
  launch_gemm_wgmma<kRows, kCols>(
      raster, args.max_row_tiles * raster.col_tiles,
      tensor_map(args.a, args.rows, args.k, args.k, kRows),
      tensor_map(args.b, args.n, args.k, args.k, kCols, {args.groups, args.group_bytes}), args.n,
      args.k, args.sm_count, args.stream, epilogue);
}

/// With tile `index` of kGemmTiles.
template <class Epilogue>
void launch_gemm_wgmma(const GemmArgs& args, const Epilogue& epilogue, size_t index) {
  [&]<size_t... kIndex>(std::index_sequence<kIndex...>) {
    ((index == kIndex
          ? launch_gemm_wgmma<kGemmTiles[kIndex].rows, kGemmTiles[kIndex].cols>(args, epilogue)
          : void()),
     ...);
  }
  (std::make_index_sequence<kGemmTiles.size()>());
}

}  // namespace qvl::device

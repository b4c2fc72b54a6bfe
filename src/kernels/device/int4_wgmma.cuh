#pragma once

/// The product of int4_skinny.cuh, with its bits, for more rows on compute capability 9.0a; made
/// like that of skinny_wgmma.cuh. Reads W at no more than 2.2 TB/s on an H200; up to 16 rows the
/// number of rows makes no difference. A stage has a panel's chunk of W, one plain bulk copy, and
/// the same 128 k of x. Each warp unpacks its tile's record into registers, which are the
/// left operand; while it does, the tensor cores work for the other warpgroups of the
/// multiprocessor.

#include "kernels/device/int4_skinny.cuh"
#include "kernels/device/skinny_wgmma.cuh"

namespace qvl::device {

/// Sizes that follow from the number of rows of x at a time and from the parts of a record.
template <int kColumns, int kParts>
struct Int4WgmmaShape {
  static constexpr int kOutputs = kInt4Tile * kInt4PanelTiles;
  static constexpr int kConsumers = kOutputs / 64;  // warpgroups
  static constexpr int kThreads = 128 * kConsumers + 32;
  static constexpr int kRecordBytes = int4_record_bytes(kParts);
  static constexpr int kBytesW = kRecordBytes * kInt4PanelTiles;
  static constexpr int kHalfBytesX = kColumns * 64 * 2;  // two boxes of 64 columns
  static constexpr int kBytesX = 2 * kHalfBytesX;
  static constexpr int kAlignment = 1024;  // the swizzle repeats every 8 rows
  static constexpr int kStageBytes = (kBytesX + kBytesW + kAlignment - 1) / kAlignment * kAlignment;
  static constexpr int kStages = std::min(8, 108 * 1024 / kStageBytes);
  static constexpr int kSumStride = kOutputs + 4;  // floats: no bank twice when they are stored
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kSharedBytes = std::max(kRingBytes, kColumns* kSumStride * 4) + kAlignment;
  /// k16 products whose left operands are in registers at a time.
  static constexpr int kUnpacked = kColumns > 32 ? 4 : 8;
};

/// Grid: (panels · lanes, blocks of kColumns rows), clusters of `lanes` blocks.
template <int kColumns, int kParts, class Epilogue>
__global__ void __launch_bounds__(Int4WgmmaShape<kColumns, kParts>::kThreads, 2)
    int4_wgmma_kernel(const uint8_t* packed, const __grid_constant__ CUtensorMap map_x, const int n,
                      const int rows, const int chunks, const int lanes, const Epilogue epilogue) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = Int4WgmmaShape<kColumns, kParts>;
  constexpr int kStages = Shape::kStages;
  extern __shared__ std::byte dynamic_shared[];
  __shared__ uint64_t full_barriers[kStages];
  __shared__ uint64_t empty_barriers[kStages];
  const uint32_t padding = (0U - shared_address(dynamic_shared)) & (Shape::kAlignment - 1U);
  std::byte* const ring = dynamic_shared + padding;
  const uint32_t full = shared_address(full_barriers);
  const uint32_t empty = shared_address(empty_barriers);
  const int lane_of_k = lanes == 1 ? 0 : cluster_rank();
  const int panel = static_cast<int>(blockIdx.x) / lanes;
  const int first_row = static_cast<int>(blockIdx.y) * kColumns;
  const int count = chunks > lane_of_k ? (chunks - lane_of_k + lanes - 1) / lanes : 0;
  let_next_begin();

  begin_ring<kStages>(full, empty, Shape::kConsumers);

  const int warp = __shfl_sync(0xFFFFFFFF, static_cast<int>(threadIdx.x) / 32, 0);
  float sums[kColumns / 2];
#pragma unroll
  for (float& sum : sums) sum = 0.F;
  if (warp == 4 * Shape::kConsumers) {
    const bool copies = threadIdx.x % 32 == 0;
    const uint32_t stages = shared_address(ring);
    const auto copy_w = [&](int i, int stage) {
      const int64_t place = int64_t{panel} * chunks + lane_of_k + i * lanes;
      barrier_arrive_expecting(full + 8 * stage, Shape::kBytesX + Shape::kBytesW);
      copy_bytes(stages + stage * Shape::kStageBytes + Shape::kBytesX,
                 packed + place * Shape::kBytesW, Shape::kBytesW, full + 8 * stage);
    };
    const auto copy_x = [&](int i, int stage) {
      const uint32_t to = stages + stage * Shape::kStageBytes;
      const int column = (lane_of_k + i * lanes) * kInt4Chunk;
      copy_box(to, &map_x, column, first_row, full + 8 * stage);
      copy_box(to + Shape::kHalfBytesX, &map_x, column + 64, first_row, full + 8 * stage);
    };
    const int early = copies ? min(count, kStages) : 0;
    for (int i = 0; i < early; ++i) copy_w(i, i);
    wait_for_inputs();
    for (int i = 0; i < early; ++i) copy_x(i, i);
    RingPlace<kStages> place{.stage = 0, .parity = 1};
    for (int i = kStages; copies && i < count; ++i) {
      barrier_wait(empty + 8 * place.stage, place.parity ^ 1);
      copy_w(i, place.stage);
      copy_x(i, place.stage);
      place.advance();
    }
    __syncwarp();
  } else {
    wait_for_inputs();
    constexpr int kSteps = kInt4Chunk / 16;
    constexpr int kPartSteps = kSteps / kParts;
    constexpr int kUnpacked = Shape::kUnpacked;
    const int word_place = int4_word_place(0, static_cast<int>(threadIdx.x) % 32, 0);
    float part_sums[kColumns / 2];
#pragma unroll
    for (float& sum : part_sums) sum = 0.F;
    RingPlace<kStages> place;
    for (int i = 0; i < count; ++i) {
      barrier_wait(full + 8 * place.stage, place.parity);
      const std::byte* const stage = ring + place.stage * Shape::kStageBytes;
      const std::byte* const record = stage + Shape::kBytesX + warp * Shape::kRecordBytes;
      const uint32_t x = shared_address(stage);
      uint32_t zeros[2];
#pragma unroll
      for (int first = 0; first < kSteps; first += kUnpacked) {
        uint4 words[kUnpacked / 4];
#pragma unroll
        for (int half = 0; half < kUnpacked / 4; ++half) {
          words[half] = *reinterpret_cast<const uint4*>(record + word_place +
                                                        (first / 4 + half) * kInt4HalfBytes);
        }
        uint32_t a[kUnpacked][4];
#pragma unroll
        for (int s = 0; s < kUnpacked; ++s) {
          const int step = first + s;
          const uint4& v = words[s / 4];
          const uint32_t of_half[4] = {v.x, v.y, v.z, v.w};
          if (step % kPartSteps == 0) load_int4_zeros(record, step / kPartSteps, zeros);
          unpack_int4(of_half[step % 4], zeros, a[s]);
        }
#pragma unroll
        for (int s = 0; s < kUnpacked; ++s) {
          const int step = first + s;
          const bool begins = step % kPartSteps == 0;
          const bool ends = step % kPartSteps == kPartSteps - 1;
          if (s == 0 || begins) {
            pin_registers(part_sums);
            pin_registers(a);
            wgmma_fence();
          }
          wgmma_by_rows(part_sums, a[s],
                        swizzled_rows(x + step / 4 * Shape::kHalfBytesX) + 2 * (step % 4), !begins);
          if (s == kUnpacked - 1 || ends) {
            wgmma_commit();
            wgmma_wait<0>();
            pin_registers(part_sums);
            pin_registers(a);
          }
          if (!ends) continue;
          const float2 scales = load_int4_scales(record, step / kPartSteps);
#pragma unroll
          for (int j = 0; j < kColumns / 2; ++j) {
            sums[j] = fmaf(part_sums[j], j / 2 % 2 == 0 ? scales.x : scales.y, sums[j]);
          }
        }
      }
      __syncwarp();  // all have read their scales
      if (threadIdx.x % 32 == 0) barrier_arrive(empty + 8 * place.stage);
      place.advance();
    }
  }

  __syncthreads();  // the ring has been read, and becomes [rows][outputs] of sums
  add_lanes<Shape>(sums, ring, warp,
                   {panel * Shape::kOutputs, first_row, n, rows, lanes, lane_of_k}, epilogue);
#else
  __trap();
#endif
}

template <int kColumns, int kParts, class Epilogue>
void launch_int4_wgmma(const Int4SkinnyArgs& args, const HalfRows& x, const Epilogue& epilogue,
                       cudaStream_t stream) {
  using Shape = Int4WgmmaShape<kColumns, kParts>;
  const auto kernel = int4_wgmma_kernel<kColumns, kParts, Epilogue>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             Shape::kSharedBytes));
  const Int4Layout layout = args.layout();
  const int lanes = args.lanes();
  const auto row_blocks = static_cast<unsigned>((args.rows + kColumns - 1) / kColumns);
  launch({.grid = {static_cast<unsigned>(layout.panels() * lanes), row_blocks},
          .block = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .cluster = static_cast<unsigned>(lanes),
          .stream = stream},
         kernel, args.packed, tensor_map(x.x, args.rows, args.k, x.ldx, kColumns), args.n,
         args.rows, layout.chunks(), lanes, epilogue);
}

/// Any number of rows.
template <class Epilogue>
void launch_int4_wgmma(const Int4SkinnyArgs& args, const HalfRows& x, const Epilogue& epilogue,
                       cudaStream_t stream) {
  with_int4_chunk(args.parts, [&]<class Chunk>() {
    constexpr int kParts = Chunk::kParts;
    if (args.rows <= 16) {
      launch_int4_wgmma<16, kParts>(args, x, epilogue, stream);
    } else if (args.rows <= 32) {
      launch_int4_wgmma<32, kParts>(args, x, epilogue, stream);
    } else {
      launch_int4_wgmma<64, kParts>(args, x, epilogue, stream);
    }
  });
}

}  // namespace qvl::device

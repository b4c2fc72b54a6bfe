#pragma once

/// The product of skinny.cuh, with its bits, for more rows on compute capability 9.0a. Bound by
/// reading W once: a block has 128 outputs and the chunks of one lane; bulk tensor copies fill a
/// ring with W and x, of which W begins to come while the kernel before is still running. Outputs
/// are the rows of the products, so that rows of x may be as few as 16. The blocks of an output's
/// lanes form a cluster, and each adds up the lanes' sums of some of its outputs.

#include "kernels/device/gemm_wgmma.cuh"
#include "kernels/device/skinny.cuh"

namespace qvl::device {

/// Sizes that follow from the number of rows of x at a time.
template <int kColumns>
struct SkinnyShape {
  static constexpr int kOutputs = 128;
  static constexpr int kConsumers = kOutputs / 64;  // warpgroups
  static constexpr int kThreads = 128 * kConsumers + 32;
  static constexpr int kBytesW = kOutputs * kSkinnyChunk * 2;
  static constexpr int kBytesX = kColumns * kSkinnyChunk * 2;
  static constexpr int kStageBytes = kBytesW + kBytesX;
  static constexpr int kAlignment = 1024;  // the swizzle repeats every 8 rows
  static constexpr int kStages = std::min(6, 100 * 1024 / kStageBytes);
  static constexpr int kSumStride = kOutputs + 4;  // floats: no bank twice in `store`
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kSharedBytes = std::max(kRingBytes, kColumns* kSumStride * 4) + kAlignment;
};

__device__ inline int cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
__device__ inline void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// Two floats of the shared memory of block `rank` of the cluster, at this block's `address`.
__device__ inline float2 load_of_block(uint32_t address, int rank) {
  uint32_t there;
  float2 v;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];"
               : "=f"(v.x), "=f"(v.y)
               : "r"(there)
               : "memory");
  return v;
}

/// What a block has of the result, and of k.
struct SkinnyPlace {
  int first_output;
  int first_row;
  int n;
  int rows;
  int lanes;
  int lane;
};

/// The sums of a cluster's blocks, in registers as wgmma leaves them: added in order of the lanes,
/// and to the epilogue. `shared` is where the ring was, which all have read.
template <class Shape, int kSums, class Epilogue>
__device__ void add_lanes(const float (&sums)[kSums], std::byte* shared, int warp,
                          const SkinnyPlace& at, const Epilogue& epilogue) {
  constexpr int kColumns = 2 * kSums;
  if (warp < 4 * Shape::kConsumers) {
    const int lane = threadIdx.x % 32;
    float* const mine =
        reinterpret_cast<float*>(shared) + lane % 4 * 2 * Shape::kSumStride + warp * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      mine[(i / 4 * 8 + i % 2) * Shape::kSumStride + i / 2 % 2 * 8] = sums[i];
    }
  }
  if (at.lanes == 1) {
    __syncthreads();
  } else {
    cluster_barrier();
  }
  const int pairs = Shape::kOutputs / at.lanes / 2;  // that this block adds up
  const uint32_t address = shared_address(shared);
  for (int i = threadIdx.x; i < pairs * kColumns; i += Shape::kThreads) {
    const int row = i / pairs;
    const int output = (at.lane * pairs + i % pairs) * 2;
    if (at.first_row + row >= at.rows || at.first_output + output >= at.n) continue;
    const uint32_t from = address + (row * Shape::kSumStride + output) * 4;
    float2 total{};
    for (int block = 0; block < at.lanes; ++block) {
      const float2 v = load_of_block(from, block);
      total = {total.x + v.x, total.y + v.y};
    }
    epilogue(at.first_row + row, at.first_output + output, total.x, total.y);
  }
  if (at.lanes > 1) cluster_barrier();  // others have read this block's sums
}

/// Grid: (tiles · lanes, blocks of kColumns rows), clusters of `lanes` blocks.
template <int kColumns, class Epilogue>
__global__ void __launch_bounds__(SkinnyShape<kColumns>::kThreads, kColumns > 64 ? 1 : 2)
    skinny_wgmma_kernel(const __grid_constant__ CUtensorMap map_w,
                        const __grid_constant__ CUtensorMap map_x, const int n, const int rows,
                        const int chunks, const int lanes, const Epilogue epilogue) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = SkinnyShape<kColumns>;
  constexpr int kStages = Shape::kStages;
  extern __shared__ std::byte dynamic_shared[];
  __shared__ uint64_t full_barriers[kStages];
  __shared__ uint64_t empty_barriers[kStages];
  const uint32_t padding = (0U - shared_address(dynamic_shared)) & (Shape::kAlignment - 1U);
  const uint32_t ring = shared_address(dynamic_shared) + padding;
  const uint32_t full = shared_address(full_barriers);
  const uint32_t empty = shared_address(empty_barriers);
  const int lane_of_k = lanes == 1 ? 0 : cluster_rank();
  const int first_output = static_cast<int>(blockIdx.x) / lanes * Shape::kOutputs;
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
    const auto copy_w = [&](int i, int stage) {
      barrier_arrive_expecting(full + 8 * stage, Shape::kStageBytes);
      copy_box(ring + stage * Shape::kStageBytes, &map_w, (lane_of_k + i * lanes) * kSkinnyChunk,
               first_output, full + 8 * stage);
    };
    const auto copy_x = [&](int i, int stage) {
      copy_box(ring + stage * Shape::kStageBytes + Shape::kBytesW, &map_x,
               (lane_of_k + i * lanes) * kSkinnyChunk, first_row, full + 8 * stage);
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
    const int warpgroup = warp / 4;
    RingPlace<kStages> place;
    int previous = 0;
    const auto release = [&](int stage) {
      if (threadIdx.x % 32 == 0) barrier_arrive(empty + 8 * stage);
    };
    for (int i = 0; i < count; ++i) {
      barrier_wait(full + 8 * place.stage, place.parity);
      const uint32_t stage = ring + place.stage * Shape::kStageBytes;
      const uint64_t w = swizzled_rows(stage + warpgroup * 64 * kSkinnyChunk * 2);
      const uint64_t x = swizzled_rows(stage + Shape::kBytesW);
      pin_registers(sums);
      wgmma_fence();
#pragma unroll
      for (int depth = 0; depth < kSkinnyChunk / 16; ++depth) {
        wgmma(sums, w + 2 * depth, x + 2 * depth);
      }
      wgmma_commit();
      if (i > 0) {
        wgmma_wait<1>();
        release(previous);
      }
      previous = place.stage;
      place.advance();
    }
    wgmma_wait<0>();
    pin_registers(sums);
  }

  __syncthreads();  // the ring has been read, and becomes [rows][outputs] of sums
  add_lanes<Shape>(sums, dynamic_shared + padding, warp,
                   {first_output, first_row, n, rows, lanes, lane_of_k}, epilogue);
#else
  __trap();
#endif
}

template <int kColumns, class Epilogue>
void launch_skinny_wgmma(const SkinnyArgs& args, const HalfRows& x, const Epilogue& epilogue,
                         cudaStream_t stream) {
  using Shape = SkinnyShape<kColumns>;
  const auto kernel = skinny_wgmma_kernel<kColumns, Epilogue>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             Shape::kSharedBytes));
  const int lanes = skinny_lanes(args.n);
  const auto tiles = static_cast<unsigned>((args.n + Shape::kOutputs - 1) / Shape::kOutputs);
  const auto row_blocks = static_cast<unsigned>((args.rows + kColumns - 1) / kColumns);
  launch({.grid = {tiles * lanes, row_blocks},
          .block = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .cluster = static_cast<unsigned>(lanes),
          .stream = stream},
         kernel, tensor_map(args.w, args.n, args.k, args.k, Shape::kOutputs),
         tensor_map(x.x, args.rows, args.k, x.ldx, kColumns), args.n, args.rows, args.chunks(),
         lanes, epilogue);
}

}  // namespace qvl::device

#pragma once

/// Which experts take which rows. A row with one of its experts is an entry, row · top_k + slot;
/// entries are sorted by expert, so that each expert's rows adjoin. The order within an expert is
/// not settled: no row's bits depend on it.
///
/// Bound by latency for few rows: the dot products of a row are spread over blocks, and one block
/// chooses and sorts. For many rows by reads of normalised rows from shared memory, of which each
/// serves several experts.

#include "kernels/device/gemm_args.h"
#include "kernels/device/launch.cuh"
#include "kernels/device/numeric.cuh"

namespace qvl::device {

constexpr int kMaxExperts = 512;
constexpr int kMaxTopK = 32;
constexpr int kRouterThreads = 256;
constexpr int kSortThreads = 512;

struct RouterArgs {
  const float* x;  ///< [rows, hidden], the residual stream
  int64_t ldx;
  const float* norm_weight;
  float eps;
  int rows;
  int hidden;            ///< multiple of 8
  const bf16x1* router;  ///< [experts, hidden]
  int experts;
  bf16x1* normed;   ///< [rows, hidden], out: rms(x), rounded
  float* logits;    ///< [rows, experts], out: rms(x)·routerᵀ in float32
  int32_t* counts;  ///< [experts], out: zeros
};

/// Asks for 128 bytes in the second-level cache.
__device__ inline void prefetch_line(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/// Calls f(column) for the columns, four at a time, that this lane has of a row.
template <int kUnroll, class F>
__device__ void each_column(int hidden, F&& f) {
#pragma unroll kUnroll
  for (int c = static_cast<int>(threadIdx.x) % 32 * 4; c < hidden; c += 128) f(c);
}

/// kRows rows a block, normalised by a warp each; then each warp has kExperts experts at a time of
/// those of the block. A sum is a warp's: lanes add up their columns in order. The bits of a row's
/// logits do not depend on the template's numbers or on the grid.
template <int kRows, int kExperts>
__global__ void __launch_bounds__(kRouterThreads) router_kernel(const RouterArgs args) {
  static_assert(kRows <= kRouterThreads / 32);
  extern __shared__ float4 router_shared[];
  auto* const normed = reinterpret_cast<float*>(router_shared);  // [kRows][hidden]
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first_row = static_cast<int>(blockIdx.x) * kRows;
  const int of_block = (args.experts + static_cast<int>(gridDim.y) - 1) / gridDim.y;
  const int begin = static_cast<int>(blockIdx.y) * of_block;
  const int end = min(args.experts, begin + of_block);
  if constexpr (kRows == 1) {
    const auto* const weights =
        reinterpret_cast<const std::byte*>(args.router + int64_t{begin} * args.hidden);
    const int bytes = (end - begin) * args.hidden * 2;
    for (int i = static_cast<int>(threadIdx.x) * 128; i < bytes; i += kRouterThreads * 128) {
      prefetch_line(weights + i);
    }
  }
  wait_for_inputs();
  if (blockIdx.x == 0) {
    for (int e = begin + static_cast<int>(threadIdx.x); e < end; e += kRouterThreads) {
      args.counts[e] = 0;
    }
  }
  if (warp < kRows && first_row + warp < args.rows) {
    const float* const x = args.x + (first_row + warp) * args.ldx;
    float* const to = normed + warp * args.hidden;
    float sum = 0.0F;
    each_column<8>(args.hidden, [&](int c) {
      const float4 v = *reinterpret_cast<const float4*>(x + c);
      *reinterpret_cast<float4*>(to + c) = v;
      sum += (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
    });
    const float scale = 1.0F / sqrtf(warp_sum(sum) / static_cast<float>(args.hidden) + args.eps);
    bf16x1* const rounded = args.normed + int64_t{first_row + warp} * args.hidden;
    each_column<8>(args.hidden, [&](int c) {
      const float4 v = *reinterpret_cast<const float4*>(to + c);
      const float4 w = *reinterpret_cast<const float4*>(args.norm_weight + c);
      const float4 n{w.x * (v.x * scale), w.y * (v.y * scale), w.z * (v.z * scale),
                     w.w * (v.w * scale)};
      *reinterpret_cast<float4*>(to + c) = n;
      if (blockIdx.y == 0) {
        *reinterpret_cast<uint2*>(rounded + c) = {pack(n.x, n.y), pack(n.z, n.w)};
      }
    });
  }
  __syncthreads();

  for (int first = begin + warp * kExperts; first < end; first += kRouterThreads / 32 * kExperts) {
    float sums[kRows][kExperts] = {};
    each_column<kRows == 1 ? 8 : 2>(args.hidden, [&](int c) {
      float4 w[kExperts];
#pragma unroll
      for (int e = 0; e < kExperts; ++e) {
        const int64_t expert = min(first + e, args.experts - 1);
        const auto words = *reinterpret_cast<const uint2*>(args.router + expert * args.hidden + c);
        const float2 low = unpack(words.x);
        const float2 high = unpack(words.y);
        w[e] = {low.x, low.y, high.x, high.y};
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float4 v = *reinterpret_cast<const float4*>(normed + r * args.hidden + c);
#pragma unroll
        for (int e = 0; e < kExperts; ++e) {
          float& sum = sums[r][e];
          sum = fmaf(v.x, w[e].x, sum);
          sum = fmaf(v.y, w[e].y, sum);
          sum = fmaf(v.z, w[e].z, sum);
          sum = fmaf(v.w, w[e].w, sum);
        }
      }
    });
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int e = 0; e < kExperts; ++e) {
        const float sum = warp_sum(sums[r][e]);
        if (threadIdx.x % 32 == 0 && first_row + r < args.rows && first + e < end) {
          args.logits[int64_t{first_row + r} * args.experts + first + e] = sum;
        }
      }
    }
  }
}

/// Larger for larger logits, of equal ones for the smaller expert; never 0. What is not a number
/// comes last.
__device__ inline uint64_t choice_key(float logit, int expert) {
  uint32_t bits = __float_as_uint(logit);
  bits ^= bits >> 31 != 0 ? 0xffffffffU : 0x80000000U;
  if (isnan(logit)) bits = 0;
  return uint64_t{bits} << 32 | (0xffffffffU - static_cast<uint32_t>(expert));
}

/// A warp chooses a row's experts: see choose_experts. ids, weights: [top_k]; kKeys · 32 experts at
/// most.
template <int kKeys>
__device__ void choose_row(const float* logits, int experts, int top_k, int32_t* ids,
                           float* weights) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint64_t keys[kKeys];  // of experts lane, lane + 32, …; 0: taken or none
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    const int expert = i * 32 + lane;
    keys[i] = expert < experts ? choice_key(logits[expert], expert) : 0;
  }
  int id = experts;  // of slot `lane`
  for (int slot = 0; slot < top_k; ++slot) {
    uint64_t best = 0;
#pragma unroll
    for (int i = 0; i < kKeys; ++i) best = max(best, keys[i]);
    for (int step = 16; step > 0; step /= 2) {
      best = max(best, __shfl_xor_sync(0xffffffffU, best, step));
    }
#pragma unroll
    for (int i = 0; i < kKeys; ++i) {
      if (keys[i] == best) keys[i] = 0;
    }
    if (lane == slot) id = static_cast<int>(0xffffffffU - static_cast<uint32_t>(best));
  }
  const float value = lane < top_k ? logits[id] : 0.0F;
  const float largest = __shfl_sync(0xffffffffU, value, 0);
  const float part = expf(value - largest);
  int rank = 0;
  float total = 0.0F;
  for (int slot = 0; slot < top_k; ++slot) {
    total += __shfl_sync(0xffffffffU, part, slot);
    rank += __shfl_sync(0xffffffffU, id, slot) < id ? 1 : 0;
  }
  if (lane < top_k) {
    ids[rank] = id;
    weights[rank] = part / total;
  }
}

struct ChoiceArgs {
  const float* logits;  ///< [rows, experts]
  int rows;
  int experts;
  int top_k;
  int32_t* ids;     ///< [rows, top_k], out: ascending
  float* weights;   ///< alike
  int32_t* counts;  ///< [experts], entries of each, added to; then where its next entry goes

  __device__ int entries() const { return rows * top_k; }
  /// By the calling warp.
  __device__ void choose(int64_t row) const {
    const float* const of_row = logits + row * experts;
    if (experts <= 128) {
      choose_row<4>(of_row, experts, top_k, ids + row * top_k, weights + row * top_k);
    } else {
      choose_row<kMaxExperts / 32>(of_row, experts, top_k, ids + row * top_k,
                                   weights + row * top_k);
    }
  }
};

/// Entries in the order of their experts.
struct SortedEntries {
  int32_t* entries;  ///< [rows · top_k]
  int32_t* place;    ///< of each entry in `entries`
  GroupTile* tiles;  ///< rows of one expert each, no more than tile_rows
  int32_t* tile_count;
  int tile_rows;
};

/// A warp a row.
static __global__ void __launch_bounds__(kRouterThreads) choose_kernel(const ChoiceArgs args) {
  wait_for_inputs();
  const int64_t row = int64_t{blockIdx.x} * (kRouterThreads / 32) + threadIdx.x / 32;
  if (row >= args.rows) return;
  args.choose(row);
  __syncwarp();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane < args.top_k) atomicAdd(args.counts + args.ids[row * args.top_k + lane], 1);
}

/// From the entries of each expert to where its first one goes, in place, and the list of tiles.
/// The calling warp does it; counts: global or shared memory.
__device__ inline void place_experts(int32_t* counts, int experts, const SortedEntries& sorted) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int each = (experts + 31) / 32;
  const int from = min(lane * each, experts);
  const int to = min(from + each, experts);
  const auto tiles_of = [&](int count) {
    return (count + sorted.tile_rows - 1) / sorted.tile_rows;
  };
  int count = 0;
  int tiles = 0;
  for (int e = from; e < to; ++e) {
    count += counts[e];
    tiles += tiles_of(counts[e]);
  }
  int entry = count;
  int tile = tiles;
  for (int step = 1; step < 32; step *= 2) {
    const int before = __shfl_up_sync(0xffffffffU, entry, step);
    const int tiles_before = __shfl_up_sync(0xffffffffU, tile, step);
    if (lane >= step) {
      entry += before;
      tile += tiles_before;
    }
  }
  if (lane == 31) *sorted.tile_count = tile;
  entry -= count;
  tile -= tiles;
  for (int e = from; e < to; ++e) {
    const int end = entry + counts[e];
    counts[e] = entry;
    while (entry < end) {
      const int tile_end = end - entry > sorted.tile_rows ? entry + sorted.tile_rows : end;
      sorted.tiles[tile++] = {e, entry, tile_end, 0};
      entry = tile_end;
    }
  }
}

static __global__ void __launch_bounds__(32)
    place_experts_kernel(const ChoiceArgs choice, const SortedEntries sorted) {
  wait_for_inputs();
  place_experts(choice.counts, choice.experts, sorted);
}

/// A warp an entry: gives it its place and, where `gathered` is wanted, copies its row of x there.
static __global__ void __launch_bounds__(kRouterThreads)
    place_entries_kernel(const ChoiceArgs choice, const SortedEntries sorted, const bf16x1* x,
                         int hidden, bf16x1* gathered) {
  wait_for_inputs();
  const int entry = static_cast<int>(blockIdx.x) * (kRouterThreads / 32) + threadIdx.x / 32;
  if (entry >= choice.entries()) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int at = 0;
  if (lane == 0) {
    at = atomicAdd(choice.counts + choice.ids[entry], 1);
    sorted.entries[at] = entry;
    sorted.place[entry] = at;
  }
  if (gathered == nullptr) return;
  at = __shfl_sync(0xffffffffU, at, 0);
  const auto* const from =
      reinterpret_cast<const uint4*>(x + int64_t{entry / choice.top_k} * hidden);
  auto* const to = reinterpret_cast<uint4*>(gathered + int64_t{at} * hidden);
#pragma unroll 8
  for (int i = lane; i < hidden / 8; i += 32) to[i] = from[i];
}

/// All of it for few rows, in one block.
static __global__ void __launch_bounds__(kSortThreads)
    sort_kernel(const ChoiceArgs choice, const SortedEntries sorted) {
  __shared__ int32_t counts[kMaxExperts];
  const int thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e < choice.experts; e += kSortThreads) counts[e] = 0;
  wait_for_inputs();
  for (int64_t row = thread / 32; row < choice.rows; row += kSortThreads / 32) choice.choose(row);
  __syncthreads();
  for (int i = thread; i < choice.entries(); i += kSortThreads) {
    atomicAdd(&counts[choice.ids[i]], 1);
  }
  __syncthreads();
  if (thread < 32) place_experts(counts, choice.experts, sorted);
  __syncthreads();
  for (int i = thread; i < choice.entries(); i += kSortThreads) {
    const int at = atomicAdd(&counts[choice.ids[i]], 1);
    sorted.entries[at] = i;
    sorted.place[i] = at;
  }
}

/// x[row,:] += sum over the slots of weight · result, in order.
static __global__ void __launch_bounds__(kRouterThreads)
    combine_kernel(const float* results, const int32_t* place, const float* weights, int top_k,
                   int hidden, float* x, int64_t ldx) {
  __shared__ int32_t places[kMaxTopK];
  __shared__ float shares[kMaxTopK];
  wait_for_inputs();
  const int64_t row = blockIdx.x;
  if (static_cast<int>(threadIdx.x) < top_k) {
    places[threadIdx.x] = place[row * top_k + threadIdx.x];
    shares[threadIdx.x] = weights[row * top_k + threadIdx.x];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x) * 4; i < hidden; i += kRouterThreads * 4) {
    float4 sum{};
#pragma unroll 8
    for (int slot = 0; slot < top_k; ++slot) {
      const float4 v =
          *reinterpret_cast<const float4*>(results + int64_t{places[slot]} * hidden + i);
      const float share = shares[slot];
      sum = {sum.x + share * v.x, sum.y + share * v.y, sum.z + share * v.z, sum.w + share * v.w};
    }
    auto* const to = reinterpret_cast<float4*>(x + row * ldx + i);
    const float4 old = *to;
    *to = {old.x + sum.x, old.y + sum.y, old.z + sum.z, old.w + sum.w};
  }
}

}  // namespace qvl::device

#pragma once

/// Attention of generated rows over the paged cache. Bound by reading keys and values once. The
/// unit of work is one split of one row's keys for the query heads that share a kv head; a warp
/// takes a run of neighbouring units by itself and waits for no other: it copies 16 keys and values
/// ahead while it multiplies the last 16, prepares a query once for its units, and the last warp of
/// a row and kv head to finish adds the splits' results in order. Splits lie at fixed positions, so
/// bits do not depend on who else is there.
///
/// A warp also normalises and rotates its queries, and the one whose split has the row's own
/// position writes the new keys and values to their page first. Lists of the step and keys of
/// earlier steps are there before the step begins, so the first keys are read while the kernel
/// before is still running.

#include <algorithm>

#include "core/check.h"
#include "kernels/device/decode_keys.cuh"
#include "kernels/device/launch.cuh"

namespace qvl::device {

constexpr int kDecodeWarps = 4;
constexpr int kDecodeBlocks = 3;  ///< on a multiprocessor
constexpr int kMaxGroup = 8;      ///< query heads of a kv head
constexpr int kDecodeSlots = 2;   ///< blocks of keys of a warp

/// The splits' results for a query head as one, added in order; `step` floats lie between them.
/// Dimensions 4 · lane and on.
__device__ inline void store_sum_of_splits(const float* head, int splits, int64_t step,
                                           bf16x1* out) {
  float largest = -INFINITY;
  for (int i = 0; i < splits; ++i) {
    largest = fmaxf(largest, __ldcg(head + i * step + kDecodeHeadDim));
  }
  float4 sum{};
  float total = 0.0F;
  for (int i = 0; i < splits; ++i) {
    const float* const split = head + i * step;
    const float2 end = __ldcg(reinterpret_cast<const float2*>(split + kDecodeHeadDim));
    const float factor = exp2f(end.x - largest);
    const int column = threadIdx.x % 32 * 4;
    const float2 low = __ldcg(reinterpret_cast<const float2*>(split + column));
    const float2 high = __ldcg(reinterpret_cast<const float2*>(split + column + 2));
    sum = {sum.x + factor * low.x, sum.y + factor * low.y, sum.z + factor * high.x,
           sum.w + factor * high.y};
    total += factor * end.y;
  }
  store_half({sum.x / total, sum.y / total, sum.z / total, sum.w / total}, out);
}

/// The blocks of keys of up to 32 units in order; each lane has one of the units.
struct KeyCursor {
  DecodeUnit units;
  int count;
  int index = 0;
  int first;
  int end;
  int start;
  const bf16x1* page;

  __device__ KeyCursor(const HeadArgs& heads, const DecodeUnit& of_lanes, int unit_count)
      : units(of_lanes), count(unit_count) {
    take(heads);
  }
  __device__ bool has_more() const { return index < count; }
  __device__ void fetch(const KeyBlock& to) const { to.fetch(page, start, end, first); }
  __device__ void advance(const HeadArgs& heads) {
    first += kDecodeKeys;
    if (first < end) {
      if (first % static_cast<int>(kPageTokens) == 0) {
        page = page_of(heads, units.of_lane(index), first);
      }
    } else if (++index < count) {
      take(heads);
    }
  }

 private:
  __device__ void take(const HeadArgs& heads) {
    const DecodeUnit unit = units.of_lane(index);
    first = unit.begin;
    end = unit.end;
    start = unit.start;
    page = page_keys(heads, unit.page, unit.kv_head);
  }
};

/// The query heads of a unit, prepared by a warp, in `shared` [query heads of a kv head]; zero for
/// those beyond them.
__device__ inline void load_queries(const HeadArgs& heads, const DecodeUnit& unit, int64_t row,
                                    uint4 (*shared)[kDecodeHeadDim / 8], QueryWords& q) {
  const int group = heads.num_heads / heads.num_kv_heads;
  const int lane = threadIdx.x % 32;
  __syncwarp();
#pragma unroll 2
  for (int h = 0; h < group; ++h) {
    store_half(rotated_head(heads, row, unit.kv_head * group + h, heads.q_weight, heads.q_eps),
               reinterpret_cast<bf16x1*>(shared[h]));
  }
  __syncwarp();
  const bool is_there = lane / 4 < group;
  const auto* const words = reinterpret_cast<const uint32_t*>(shared[is_there ? lane / 4 : 0]);
#pragma unroll
  for (int i = 0; i < kDecodeHeadDim / 16; ++i) {
    q[i][0] = is_there ? words[i * 8 + lane % 4] : 0;
    q[i][1] = is_there ? words[i * 8 + 4 + lane % 4] : 0;
  }
}

/// Writes the keys and values of this step at positions [begin, end): guesses before the row's own
/// included. Other warps may write the same bits to the same place.
__device__ inline void write_new_keys(const HeadArgs& heads, const DecodeUnit& unit, int begin,
                                      int end) {
  for (int p = max(begin, unit.start); p < end; ++p) {
    write_key_value(heads, unit.block_table, unit.first_row + p - unit.start, p, unit.kv_head);
  }
  __syncwarp();
}

/// Where the results of a row's query heads that share a kv head go.
struct DecodePlaces {
  float* results;  ///< of the first split
  int64_t step;    ///< floats from a split to the next
  bf16x1* out;
  uint32_t* arrivals;

  __device__ DecodePlaces(const DecodeArgs& args, const DecodeUnit& unit) {
    const HeadArgs& heads = args.heads;
    const int64_t group = heads.num_heads / heads.num_kv_heads;
    step = int64_t{heads.num_heads} * kPartial;
    results = args.partials + unit.first_split * step + unit.kv_head * group * kPartial;
    out = args.out + (args.first_row + unit.row) * args.ldo + unit.kv_head * group * kDecodeHeadDim;
    arrivals = args.arrivals + unit.row * heads.num_kv_heads + unit.kv_head;
  }
  /// Counts splits whose results are stored and fenced; whether all are there now.
  __device__ bool arrive(const DecodeUnit& unit, int splits) const {
    const auto more = static_cast<uint32_t>(splits);
    const bool is_last = atomicAdd(arrivals, more) + more == static_cast<uint32_t>(unit.splits);
    if (is_last) *arrivals = 0;
    return is_last;
  }
  /// Once all are there: adds up those of query head h, by one warp.
  __device__ void finish(const DecodeUnit& unit, int h) const {
    store_sum_of_splits(results + h * kPartial, unit.splits, step, out + h * kDecodeHeadDim);
  }
};

/// Counts the splits of up to 32 units, whose results this warp has stored, and adds up those of
/// the query heads that are complete then.
__device__ inline void finish_units(const DecodeArgs& args, const DecodeUnit& units, int count) {
  const int group = args.heads.num_heads / args.heads.num_kv_heads;
  const int lane = threadIdx.x % 32;
  // A fence waits for everything that is on its way: one for all units, when nothing is.
  __threadfence();
  __syncwarp();
  // The first unit of each query head here counts those that follow it.
  const bool is_first = lane < count && (lane == 0 || units.split == 0) && units.splits > 1;
  const int here = min(units.splits - units.split, count - lane);
  const bool is_last = is_first && DecodePlaces(args, units).arrive(units, here);
  for (uint32_t left = __ballot_sync(0xffffffffU, is_last); left != 0; left &= left - 1) {
    __threadfence();
    const DecodeUnit unit = units.of_lane(__ffs(static_cast<int>(left)) - 1);
    const DecodePlaces places(args, unit);
    for (int h = 0; h < group; ++h) places.finish(unit, h);
  }
}

/// A run of units by one warp.
__device__ inline void attend_alone(const DecodeArgs& args, int first_unit, int last_unit,
                                    std::byte* slots, uint4 (*queries)[kDecodeHeadDim / 8]) {
  const HeadArgs& heads = args.heads;
  const int group = heads.num_heads / heads.num_kv_heads;
  const int lane = threadIdx.x % 32;
  for (int batch = first_unit; batch < last_unit; batch += 32) {
    const int count = min(32, last_unit - batch);
    const DecodeUnit units(args, min(batch + lane, last_unit - 1));
    KeyCursor ahead(heads, units, count);
    const auto fetch = [&](int slot) {
      if (ahead.has_more()) {
        ahead.fetch(KeyBlock(slots + slot * KeyBlock::kBytes));
        ahead.advance(heads);
      }
      commit_copies();
    };
#pragma unroll 1
    for (int slot = 0; slot < kDecodeSlots; ++slot) fetch(slot);
    if (batch == first_unit) wait_for_inputs();

    QueryWords q;
    int slot = 0;
#pragma unroll 1
    for (int index = 0; index < count; ++index) {
      const DecodeUnit unit = units.of_lane(index);
      write_new_keys(heads, unit, unit.begin, unit.end);
      if (index == 0 || unit.split == 0) {
        load_queries(heads, unit, args.first_row + unit.row, queries, q);
      }
      OnlineSoftmax softmax;
#pragma unroll 1
      for (int first = unit.begin; first < unit.end; first += kDecodeKeys) {
        const KeyBlock keys(slots + slot * KeyBlock::kBytes);
        wait_copies<kDecodeSlots - 1>();
        keys.complete(heads, unit, first);
        softmax.add(keys, q, first, unit.end);
        __syncwarp();  // all have read what is overwritten
        fetch(slot);
        slot = slot + 1 == kDecodeSlots ? 0 : slot + 1;
      }
      const DecodePlaces places(args, unit);
      if (unit.splits == 1) {
        softmax.store_average(places.out, group);
      } else {
        softmax.store(places.results + unit.split * places.step, group);
      }
    }
    finish_units(args, units, count);
  }
}

/// One unit by a thread block, where there are few: 16 keys a warp. `results` has
/// [warps][group][kPartial].
__device__ inline void attend_together(const DecodeArgs& args, int index, std::byte* slot,
                                       float* results, uint4 (*queries)[kDecodeHeadDim / 8]) {
  constexpr int kAtOnce = kDecodeWarps * kDecodeKeys;
  const HeadArgs& heads = args.heads;
  const int group = heads.num_heads / heads.num_kv_heads;
  const int warp = threadIdx.x / 32;
  const DecodeUnit unit(args, index);
  const KeyBlock keys(slot);
  const auto fetch = [&](int first) {
    if (first < unit.end) keys.fetch(page_of(heads, unit, first), unit.start, unit.end, first);
    commit_copies();
  };
  int first = unit.begin + warp * kDecodeKeys;
  fetch(first);
  wait_for_inputs();

  QueryWords q;
  load_queries(heads, unit, args.first_row + unit.row, queries, q);
  const int column = threadIdx.x;
  float largest[kMaxGroup];
  float sums[kMaxGroup];
  float totals[kMaxGroup];
#pragma unroll
  for (int h = 0; h < kMaxGroup; ++h) {
    largest[h] = -INFINITY;
    sums[h] = totals[h] = 0.0F;
  }
  for (int block = unit.begin; block < unit.end; block += kAtOnce, first += kAtOnce) {
    if (first < unit.end) {
      write_new_keys(heads, unit, first, min(first + kDecodeKeys, unit.end));
      wait_copies<0>();
      keys.complete(heads, unit, first);
      OnlineSoftmax softmax;
      const KeyWeights weights(keys, q, first, unit.end);
      softmax.largest = weights.largest;
      softmax.total = weights.total;
      weights.each_sum(keys, [&](int tile, float v0, float v1) { softmax.sums[tile] = {v0, v1}; });
      softmax.store(results + warp * group * kPartial, group);
      __syncwarp();
    }
    fetch(first + kAtOnce);
    __syncthreads();
    const int there = min(kDecodeWarps, (unit.end - block + kDecodeKeys - 1) / kDecodeKeys);
    for (int w = 0; w < there; ++w) {
#pragma unroll
      for (int h = 0; h < kMaxGroup; ++h) {
        if (h >= group) break;
        const float* const of_warp = results + (w * group + h) * kPartial;
        const SoftmaxJoin join(largest[h], of_warp[kDecodeHeadDim]);
        largest[h] = join.largest;
        totals[h] = join(totals[h], of_warp[kDecodeHeadDim + 1]);
        sums[h] = join(sums[h], of_warp[column]);
      }
    }
    __syncthreads();
  }

  const DecodePlaces places(args, unit);
#pragma unroll
  for (int h = 0; h < kMaxGroup; ++h) {
    if (h >= group) break;
    if (unit.splits == 1) {
      places.out[h * kDecodeHeadDim + column] = __float2bfloat16_rn(sums[h] / totals[h]);
      continue;
    }
    float* const mine = places.results + unit.split * places.step + h * kPartial;
    mine[column] = sums[h];
    if (column == 0) *reinterpret_cast<float2*>(mine + kDecodeHeadDim) = {largest[h], totals[h]};
  }
  if (unit.splits == 1) return;
  __threadfence();
  __syncthreads();
  __shared__ bool is_last;
  if (threadIdx.x == 0) is_last = places.arrive(unit, 1);
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  for (int h = warp; h < group; h += kDecodeWarps) places.finish(unit, h);
}

static __global__ void __launch_bounds__(kDecodeWarps * 32, kDecodeBlocks)
    decode_attention_kernel(const DecodeArgs args) {
  static_assert(kDecodeWarps * 32 == kDecodeHeadDim);
  extern __shared__ uint4 decode_shared[];
  __shared__ uint4 queries[kDecodeWarps][kMaxGroup][kDecodeHeadDim / 8];
  const int warp = threadIdx.x / 32;
  auto* const slots = reinterpret_cast<std::byte*>(decode_shared);
  let_next_begin();

  const int units =
      (args.first_split[args.row_count] - args.first_split[0]) * args.heads.num_kv_heads;
  const int blocks = gridDim.x;
  if (units <= blocks) {
    if (static_cast<int>(blockIdx.x) < units) {
      attend_together(args, blockIdx.x, slots + warp * KeyBlock::kBytes,
                      reinterpret_cast<float*>(slots + kDecodeWarps * KeyBlock::kBytes),
                      queries[warp]);
      return;
    }
  } else {
    const int64_t warps = int64_t{blocks} * kDecodeWarps;
    const int64_t mine = int64_t{warp} * blocks + blockIdx.x;  // neighbours on other processors
    const int first_unit = static_cast<int>(mine * units / warps);
    const int last_unit = static_cast<int>((mine + 1) * units / warps);
    if (first_unit < last_unit) {
      attend_alone(args, first_unit, last_unit, slots + warp * kDecodeSlots * KeyBlock::kBytes,
                   queries[warp]);
      return;
    }
  }
  // The memory of a block without work is free for the next kernel; one waits for its inputs, so
  // that the kernel ends after the one before it.
  if (blockIdx.x == 0) wait_for_inputs();
}

inline void launch_decode_attention(const HeadArgs& heads, const DeviceLists& lists, bf16x1* out,
                                    int64_t ldo, const Cuda& cuda) {
  const int group = heads.num_heads / heads.num_kv_heads;
  require(group <= kMaxGroup, "device attention: query heads of a kv head");
  constexpr int kBytes = kDecodeWarps * std::max(kDecodeSlots * KeyBlock::kBytes,
                                                 KeyBlock::kBytes + kMaxGroup * kPartial * 4);
  check(cudaFuncSetAttribute(decode_attention_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kBytes));
  for (int64_t first = 0; first < lists.decode_count; first += lists.partial_rows) {
    const DecodeArgs args{
        .heads = heads,
        .rows = lists.decode_rows + first,
        .first_split = lists.first_split + first,
        .row_count = static_cast<int>(std::min(lists.partial_rows, lists.decode_count - first)),
        .first_row = static_cast<int>(lists.first_decode_row + first),
        .partials = lists.partials,
        .arrivals = lists.arrivals,
        .out = out,
        .ldo = ldo};
    // As many blocks as run at once; a recorded launch serves any context length.
    launch({.grid = static_cast<unsigned>(cuda.sm_count * kDecodeBlocks),
            .block = kDecodeWarps * 32,
            .shared_bytes = kBytes,
            .stream = cuda.stream,
            .overlaps = cuda.compute_capability >= 90},
           decode_attention_kernel, args);
  }
}

}  // namespace qvl::device

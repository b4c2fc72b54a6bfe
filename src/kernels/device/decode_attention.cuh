#pragma once

/// Attention of generated rows over the paged cache. Bound by reading keys and values once. The
/// unit of work is one split of one row's keys for the query heads that share a kv head; a warp
/// takes a run of neighbouring units by itself and waits for no other: it copies the next page's
/// keys while it multiplies the values of the last, prepares a query once for its units, and the
/// last warp of a row and kv head to finish adds the splits' results in order. Splits lie at fixed
/// positions, so bits do not depend on who else is there.
///
/// A warp also normalises and rotates its queries, and the one whose split has the row's own
/// position puts the new keys and values into their page. Lists of the step and keys of earlier
/// steps are there before the step begins, so the first keys are read while the kernel before is
/// still running.

#include <algorithm>

#include "core/check.h"
#include "kernels/device/decode_keys.cuh"
#include "kernels/device/launch.cuh"

namespace qvl::device {

constexpr int kDecodeBlocks = 6;  ///< of a warp each, on a multiprocessor with room for them
constexpr int kMaxGroup = 8;      ///< query heads of a kv head

/// What a warp has in shared memory.
struct DecodeShared {
  std::byte tiles[2][KeyTile::kBytes];  // a page's keys and its values, in turn
  uint4 queries[kMaxGroup][kDecodeHeadDim / 8];
};

/// The pages of keys of up to 32 units in order; each lane has one of the units.
class PageCursor {
 public:
  __device__ PageCursor(const HeadArgs& heads, const DecodeUnit& of_lanes, int unit_count)
      : units_(of_lanes), count_(unit_count) {
    take(heads, units_.of_lane(0).page);
  }

  /// Begins to copy the next page's keys, or the values of the page whose keys came last.
  __device__ void fetch(const HeadArgs& heads, const KeyTile& to) {
    if (index_ < count_) {
      to.fetch(has_values_next_ ? keys_ + kValuesAfterKeys : keys_, min(start_, end_) - first_);
      if (has_values_next_) advance(heads);
      has_values_next_ = !has_values_next_;
    }
    commit_copies();
  }

 private:
  __device__ void advance(const HeadArgs& heads) {
    first_ += kDecodeKeys;
    if (first_ < end_) {
      place(heads, next_page_);
    } else if (++index_ < count_) {
      take(heads, __shfl_sync(0xffffffffU, units_.page, index_));
    }
  }
  __device__ void take(const HeadArgs& heads, int page) {
    const auto from = [&](int v) { return __shfl_sync(0xffffffffU, v, index_); };
    first_ = from(units_.begin);
    end_ = from(units_.end);
    start_ = from(units_.start);
    kv_head_ = from(units_.kv_head);
    table_ = reinterpret_cast<const int32_t*>(
        __shfl_sync(0xffffffffU, reinterpret_cast<unsigned long long>(units_.block_table), index_));
    place(heads, page);
  }
  __device__ void place(const HeadArgs& heads, int page) {
    keys_ = page_keys(heads, page, kv_head_);
    // Asked for long before it is needed.
    if (first_ + kDecodeKeys < end_) next_page_ = table_[first_ / kDecodeKeys + 1];
  }

  const DecodeUnit& units_;
  int count_;
  int index_ = 0;
  bool has_values_next_ = false;
  int first_;
  int end_;
  int start_;
  int kv_head_;
  int next_page_ = 0;
  const int32_t* table_;
  const bf16x1* keys_;
};

/// The query heads of a unit, prepared by a warp, in `shared` [kMaxGroup]; zero for those beyond
/// them.
__device__ inline void load_queries(const HeadArgs& heads, const DecodeUnit& unit, int64_t row,
                                    uint4 (*shared)[kDecodeHeadDim / 8], QueryWords& q) {
  const int group = heads.num_heads / heads.num_kv_heads;
  const int lane = threadIdx.x % 32;
  const auto head = [&](int h) {
    return load_head(heads, row, unit.kv_head * group + min(h, group - 1));
  };
  const HeadTurn turn(heads, row, heads.q_weight, heads.q_eps);
  float4 even = head(0);
  float4 odd = head(1);
  __syncwarp();
#pragma unroll 1
  for (int h = 0; h < group; h += 2) {
    const float4 next_even = head(h + 2);
    const float4 next_odd = head(h + 3);
    store_half(turn(even), reinterpret_cast<bf16x1*>(shared[h]));
    store_half(turn(odd), reinterpret_cast<bf16x1*>(shared[h + 1]));
    even = next_even;
    odd = next_odd;
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

/// The keys and values of this step at positions [first, first + 64) of a unit go to their page and
/// into the tiles that get the others: guesses before the row's own included. Other warps may write
/// the same bits to the same place.
__device__ inline void put_new_keys(const HeadArgs& heads, const DecodeUnit& unit, int first,
                                    const KeyTile& keys, const KeyTile& values) {
  const int begin = max(first, unit.start);
  const int end = min(first + kDecodeKeys, unit.end);
  if (begin >= end) return;
  __syncwarp();  // the tiles' empty rows have been cleared
  bf16x1* const page = page_of(heads, unit, first);
  const int head = heads.num_heads + unit.kv_head;
#pragma unroll 1
  for (int p = begin; p < end; ++p) {
    const int64_t row = unit.first_row + p - unit.start;
    const float4 value = load_head(heads, row, head + heads.num_kv_heads);
    const HeadTurn turn(heads, row, heads.k_weight, heads.k_eps);
    const float4 key = turn(load_head(heads, row, head));
    bf16x1* const to = page + (p - first) * kDecodeHeadDim;
    store_half(key, to);
    store_half(value, to + kValuesAfterKeys);
    keys.store(p - first, key);
    values.store(p - first, value);
  }
}

/// Where the results of a row's query heads that share a kv head go.
struct DecodePlaces {
  int group;
  float* results;  ///< of the first split
  int64_t step;    ///< floats from a split to the next
  bf16x1* out;
  uint32_t* arrivals;

  __device__ DecodePlaces(const DecodeArgs& args, const DecodeUnit& unit)
      : group(args.heads.num_heads / args.heads.num_kv_heads) {
    const int64_t floats = decode_partial_floats(group);
    step = args.heads.num_kv_heads * floats;
    results = args.partials + unit.first_split * step + unit.kv_head * floats;
    out = args.out + (args.first_row + unit.row) * args.ldo + unit.kv_head * group * kDecodeHeadDim;
    arrivals = args.arrivals + unit.row * args.heads.num_kv_heads + unit.kv_head;
  }
  __device__ int pairs() const { return (group + 1) / 2; }

  /// Counts splits whose results are stored and fenced; whether all are there now.
  __device__ bool arrive(const DecodeUnit& unit, int splits) const {
    const auto more = static_cast<uint32_t>(splits);
    const bool is_last = atomicAdd(arrivals, more) + more == static_cast<uint32_t>(unit.splits);
    if (is_last) *arrivals = 0;
    return is_last;
  }
  /// Once all are there: adds up those of heads 2 · pair and the next in order, by one warp.
  __device__ void finish(int splits, int pair) const {
    const int lane = threadIdx.x % 32;
    const auto ends = [&](int split) {
      return __ldcg(
          reinterpret_cast<const float4*>(results + split * step + pairs() * 2 * kDecodeHeadDim) +
          pair);
    };
    float largest[2] = {-INFINITY, -INFINITY};
#pragma unroll 1
    for (int i = lane; i < splits; i += 32) {
      const float4 end = ends(i);
      largest[0] = fmaxf(largest[0], end.x);
      largest[1] = fmaxf(largest[1], end.z);
    }
#pragma unroll
    for (int bit = 1; bit < 32; bit *= 2) {
      largest[0] = fmaxf(largest[0], __shfl_xor_sync(0xffffffffU, largest[0], bit));
      largest[1] = fmaxf(largest[1], __shfl_xor_sync(0xffffffffU, largest[1], bit));
    }
    constexpr int kEach = kDecodeHeadDim / 32;
    float2 sums[kEach] = {};
    float2 totals{};
#pragma unroll 4
    for (int i = 0; i < splits; ++i) {
      const float4 end = ends(i);
      const float2 factor{exp2f(end.x - largest[0]), exp2f(end.z - largest[1])};
      totals = {fmaf(factor.x, end.y, totals.x), fmaf(factor.y, end.w, totals.y)};
      const auto* const mine =
          reinterpret_cast<const float2*>(results + i * step) + pair * kDecodeHeadDim + lane;
#pragma unroll
      for (int d = 0; d < kEach; ++d) {
        const float2 v = __ldcg(mine + d * 32);
        sums[d] = {fmaf(factor.x, v.x, sums[d].x), fmaf(factor.y, v.y, sums[d].y)};
      }
    }
    const float2 scale{1.0F / totals.x, 1.0F / totals.y};
    bf16x1* const to = out + pair * 2 * kDecodeHeadDim + lane;
#pragma unroll
    for (int d = 0; d < kEach; ++d) {
      to[d * 32] = __float2bfloat16_rn(sums[d].x * scale.x);
      if (2 * pair + 1 < group) {
        to[kDecodeHeadDim + d * 32] = __float2bfloat16_rn(sums[d].y * scale.y);
      }
    }
  }
};

/// Counts the splits of up to 32 units, whose results this warp has stored, and adds up those of
/// the query heads that are complete then.
__device__ inline void finish_units(const DecodeArgs& args, const DecodeUnit& units, int count) {
  const int lane = threadIdx.x % 32;
  // A fence waits for everything that is on its way: one for all units, when nothing is.
  __threadfence();
  __syncwarp();
  // The first unit of each row and kv head here counts those that follow it.
  const bool is_first = lane < count && (lane == 0 || units.split == 0) && units.splits > 1;
  const int here = min(units.splits - units.split, count - lane);
  const bool is_last = is_first && DecodePlaces(args, units).arrive(units, here);
  for (uint32_t left = __ballot_sync(0xffffffffU, is_last); left != 0; left &= left - 1) {
    __threadfence();
    const DecodeUnit unit = units.of_lane(__ffs(static_cast<int>(left)) - 1);
    const DecodePlaces places(args, unit);
#pragma unroll 1
    for (int pair = 0; pair < places.pairs(); ++pair) places.finish(unit.splits, pair);
  }
}

/// A run of units by one warp.
__device__ inline void attend(const DecodeArgs& args, int first_unit, int last_unit,
                              DecodeShared& shared) {
  const HeadArgs& heads = args.heads;
  const int lane = threadIdx.x % 32;
  for (int batch = first_unit; batch < last_unit; batch += 32) {
    const int count = min(32, last_unit - batch);
    const DecodeUnit units(args, min(batch + lane, last_unit - 1));
    PageCursor ahead(heads, units, count);
#pragma unroll 1
    for (std::byte* const tile : shared.tiles) ahead.fetch(heads, KeyTile(tile));
    if (batch == first_unit) wait_for_inputs_alone();

    QueryWords q;
    int slot = 0;
    // What was fetched first of all that is there; the next is fetched into its place.
    const auto with_tile = [&](auto&& use) {
      const KeyTile tile(shared.tiles[slot]);
      wait_copies<1>();
      __syncwarp();
      use(tile);
      __syncwarp();  // all have read what is overwritten
      ahead.fetch(heads, tile);
      slot ^= 1;
    };
#pragma unroll 1
    for (int index = 0; index < count; ++index) {
      const DecodeUnit unit = units.of_lane(index);
      if (index == 0 || unit.split == 0) {
        load_queries(heads, unit, args.first_row + unit.row, shared.queries, q);
      }
      OnlineSoftmax softmax;
#pragma unroll 1
      for (int first = unit.begin; first < unit.end; first += kDecodeKeys) {
        put_new_keys(heads, unit, first, KeyTile(shared.tiles[slot]),
                     KeyTile(shared.tiles[slot ^ 1]));
        with_tile([&](const KeyTile& keys) { softmax.add_keys(keys, q, first, unit.end); });
        with_tile([&](const KeyTile& values) { softmax.add_values(values); });
      }
      const DecodePlaces places(args, unit);
      if (unit.splits == 1) {
        softmax.store_average(places.out, places.group);
      } else {
        softmax.store(places.results + unit.split * places.step, places.pairs());
      }
    }
    finish_units(args, units, count);
  }
}

static __global__ void __launch_bounds__(32) decode_attention_kernel(const DecodeArgs args) {
  extern __shared__ uint4 decode_shared[];
  const int units =
      (args.first_split[args.row_count] - args.first_split[0]) * args.heads.num_kv_heads;
  // Neighbours run on other processors; where there are fewer units than blocks, the first have
  // one.
  const int mine = blockIdx.x;
  const int blocks = gridDim.x;
  const int each = units / blocks;
  const int more = units - each * blocks;
  const int first_unit = mine * each + min(mine, more);
  const int last_unit = first_unit + each + (mine < more ? 1 : 0);
  if (first_unit < last_unit) {
    attend(args, first_unit, last_unit, *reinterpret_cast<DecodeShared*>(decode_shared));
  } else if (mine == 0) {
    wait_for_inputs();  // so that the kernel ends after the one before it
  }
}

inline void launch_decode_attention(const HeadArgs& heads, const DeviceLists& lists, bf16x1* out,
                                    int64_t ldo, const Cuda& cuda) {
  require(heads.num_heads / heads.num_kv_heads <= kMaxGroup,
          "device attention: query heads of a kv head");
  constexpr auto kBytes = static_cast<int>(sizeof(DecodeShared));
  constexpr int kReserved = 1024;  // that a block takes besides
  check(cudaFuncSetAttribute(decode_attention_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kBytes));
  const int blocks = std::min(kDecodeBlocks, cuda.shared_bytes / (kBytes + kReserved));
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
    launch({.grid = static_cast<unsigned>(cuda.sm_count * blocks),
            .block = 32,
            .shared_bytes = kBytes,
            .stream = cuda.stream,
            .overlaps = overlaps(cuda)},
           decode_attention_kernel, args);
  }
}

}  // namespace qvl::device

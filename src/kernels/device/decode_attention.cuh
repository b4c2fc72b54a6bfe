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
#include "kernels/device/launch.cuh"
#include "kernels/device/numeric.cuh"
#include "kernels/device_lists.h"

namespace qvl::device {

constexpr int kDecodeHeadDim = 128;
constexpr int kDecodeWarps = 4;
constexpr int kDecodeKeys = 16;  ///< that a warp takes at a time

/// Rows of q, k and v, the angles of the rows, and where keys and values go.
struct HeadArgs {
  bf16x1* qkv;
  int64_t ldq;
  const float* cos;
  const float* sin;
  int64_t ld_rope;
  const float* q_weight;
  const float* k_weight;
  float q_eps;
  float k_eps;
  int num_heads;
  int num_kv_heads;
  const SequenceRows* sequences;
  std::byte* pages;
  int64_t page_bytes;
};

inline HeadArgs head_args(const Cuda& cuda, const ActMat& qkv, const AttentionLayer& layer,
                          const RopeTable& rope, const KvLayer& cache) {
  return {.qkv = static_cast<bf16x1*>(qkv.data),
          .ldq = qkv.stride,
          .cos = rope.cos.data,
          .sin = rope.sin.data,
          .ld_rope = rope.cos.stride,
          .q_weight = layer.q_norm.weight.data,
          .k_weight = layer.k_norm.weight.data,
          .q_eps = layer.q_norm.eps,
          .k_eps = layer.k_norm.eps,
          .num_heads = static_cast<int>(layer.num_heads),
          .num_kv_heads = static_cast<int>(cache.shape.num_kv_heads),
          .sequences = cuda.lists->sequences,
          .pages = cache.base,
          .page_bytes = cache.page_bytes};
}

/// Keys of a page of one kv head: [64][head_dim]; its values follow.
__device__ inline bf16x1* page_keys(const HeadArgs& args, int64_t page, int kv_head) {
  return reinterpret_cast<bf16x1*>(args.pages + page * args.page_bytes) +
         int64_t{kv_head} * 2 * kPageTokens * kDecodeHeadDim;
}
constexpr int64_t kValuesAfterKeys = kPageTokens * kDecodeHeadDim;

/// Four elements of a head in a lane: 4·lane and on. The first half of a head lies in lanes 0–15,
/// so that the partner of an element in the rotation lies 16 lanes away.
__device__ inline float4 load_half(const bf16x1* x) {
  const uint2 words = *reinterpret_cast<const uint2*>(x + threadIdx.x % 32 * 4);
  const float2 a = unpack(words.x);
  const float2 b = unpack(words.y);
  return {a.x, a.y, b.x, b.y};
}
__device__ inline void store_half(const float4& v, bf16x1* x) {
  *reinterpret_cast<uint2*>(x + threadIdx.x % 32 * 4) = {pack(v.x, v.y), pack(v.z, v.w)};
}

/// A head of a row, normalised and rotated by one warp.
__device__ inline float4 rotated_head(const HeadArgs& args, int64_t row, int head,
                                      const float* weight, float eps) {
  const int lane = threadIdx.x % 32;
  float4 v = load_half(args.qkv + row * args.ldq + head * kDecodeHeadDim);
  const float sum = warp_sum((v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w));
  const float scale = 1.0F / sqrtf(sum / kDecodeHeadDim + eps);
  const float4 w = *reinterpret_cast<const float4*>(weight + lane * 4);
  v = {w.x * (v.x * scale), w.y * (v.y * scale), w.z * (v.z * scale), w.w * (v.w * scale)};
  const float4 other = {
      __shfl_xor_sync(0xffffffffU, v.x, 16), __shfl_xor_sync(0xffffffffU, v.y, 16),
      __shfl_xor_sync(0xffffffffU, v.z, 16), __shfl_xor_sync(0xffffffffU, v.w, 16)};
  const int64_t at = row * args.ld_rope + lane % 16 * 4;
  const float4 c = *reinterpret_cast<const float4*>(args.cos + at);
  float4 s = *reinterpret_cast<const float4*>(args.sin + at);
  if (lane < 16) s = {-s.x, -s.y, -s.z, -s.w};
  return {v.x * c.x + other.x * s.x, v.y * c.y + other.y * s.y, v.z * c.z + other.z * s.z,
          v.w * c.w + other.w * s.w};
}

/// The key and value of a row go to the slot of their position.
__device__ inline void write_key_value(const HeadArgs& args, const int32_t* block_table,
                                       int64_t row, int64_t position, int kv_head) {
  const int64_t page = block_table[position / kPageTokens];
  bf16x1* const key = page_keys(args, page, kv_head) + position % kPageTokens * kDecodeHeadDim;
  store_half(rotated_head(args, row, args.num_heads + kv_head, args.k_weight, args.k_eps), key);
  const bf16x1* const value =
      args.qkv + row * args.ldq + (args.num_heads + args.num_kv_heads + kv_head) * kDecodeHeadDim;
  store_half(load_half(value), key + kValuesAfterKeys);
}

/// Result of a split for a head: [head_dim] sum of weighted values, then maximum and sum of
/// weights.
constexpr int kPartial = kDecodeHeadDim + 2;

struct DecodeArgs {
  HeadArgs heads;
  const DecodeRow* rows;
  const int32_t* first_split;
  int row_count;
  int first_row;  ///< row of out that is row 0 of `rows`
  float* partials;
  uint32_t* arrivals;
  bf16x1* out;
  int64_t ldo;
};

/// One split of one row's keys for one kv head.
struct DecodeUnit {
  int row;  ///< of DecodeArgs::rows
  int kv_head;
  int split;  ///< of the row
  int splits;
  int first_split;  ///< of the row, from that of the first row
  int begin;
  int end;
  int start;      ///< keys from here on are of this step
  int first_row;  ///< row of the step that has key `start`
  int page;       ///< of key `begin`
  const int32_t* block_table;

  DecodeUnit() = default;
  /// Units in the order of rows, kv heads, splits; called by whole warps.
  __device__ DecodeUnit(const DecodeArgs& args, int index) {
    const int kv_heads = args.heads.num_kv_heads;
    const int base = args.first_split[0];
    row = row_of_item(args, base + __shfl_sync(0xffffffffU, index, 0) / kv_heads);
    while (args.first_split[row + 1] <= base + index / kv_heads) ++row;
    first_split = args.first_split[row] - base;
    splits = args.first_split[row + 1] - base - first_split;
    const int within = index - first_split * kv_heads;
    kv_head = within / splits;
    split = within % splits;
    const DecodeRow place = args.rows[row];
    start = place.start;
    first_row = static_cast<int>(place.first_row);
    block_table = place.block_table;
    const KeySplit range = key_split(split);
    begin = range.begin;
    end = min(range.end, place.keys);
    page = block_table[begin / static_cast<int>(kPageTokens)];
  }
  /// What this is in lane `lane` of the warp.
  __device__ DecodeUnit of_lane(int lane) const {
    const auto from = [&](int v) { return __shfl_sync(0xffffffffU, v, lane); };
    DecodeUnit unit;
    unit.row = from(row);
    unit.kv_head = from(kv_head);
    unit.split = from(split);
    unit.splits = from(splits);
    unit.first_split = from(first_split);
    unit.begin = from(begin);
    unit.end = from(end);
    unit.start = from(start);
    unit.first_row = from(first_row);
    unit.page = from(page);
    unit.block_table = reinterpret_cast<const int32_t*>(
        __shfl_sync(0xffffffffU, reinterpret_cast<unsigned long long>(block_table), lane));
    return unit;
  }

 private:
  /// The row whose splits contain item `item`, looked for by a whole warp; first_split ascends.
  static __device__ int row_of_item(const DecodeArgs& args, int item) {
    int found = -1;  // the last row that begins at or before the item
    for (int first = 0; first < args.row_count; first += 32) {
      const int r = first + static_cast<int>(threadIdx.x) % 32;
      const bool is_before = r < args.row_count && args.first_split[r] <= item;
      found += __popc(__ballot_sync(0xffffffffU, is_before));
    }
    return found;
  }
};

/// The page of a unit that has a key.
__device__ inline const bf16x1* page_of(const HeadArgs& heads, const DecodeUnit& unit, int key) {
  return page_keys(heads, unit.block_table[key / static_cast<int>(kPageTokens)], unit.kv_head);
}

/// 16 keys and values of a warp in shared memory, in rows that are padded so that eight rows of a
/// matrix load meet no bank twice.
class KeyBlock {
 public:
  static constexpr int kKeys = kDecodeKeys;
  static constexpr int kStride = kDecodeHeadDim * 2 + 16;  // bytes
  static constexpr int kBytes = 2 * kKeys * kStride;

  __device__ explicit KeyBlock(std::byte* shared) : keys_(shared) {}

  /// Begins to copy the keys of earlier steps out of the 16 from `first` on, which lie on `page`;
  /// those beyond the unit's end read as zero, whatever the page has there. All lanes have read
  /// what was here before.
  __device__ void fetch(const bf16x1* page, int start, int end, int first) const {
    const int lane = threadIdx.x % 32;
    const bf16x1* const from =
        page + (first % static_cast<int>(kPageTokens) + lane / 16) * kDecodeHeadDim + lane % 16 * 8;
    std::byte* const to = keys_ + lane / 16 * kStride + lane % 16 * 16;
    if (first + kKeys <= start) {
#pragma unroll
      for (int i = 0; i < kKeys / 2; ++i) copy_row(to + i * 2 * kStride, from, i * 2);
      return;
    }
#pragma unroll 1
    for (int i = lane / 16; i < kKeys; i += 2) {
      std::byte* const row = to + (i - lane / 16) * kStride;
      if (first + i < min(start, end)) {
        copy_row(row, from, i - lane / 16);
      } else if (first + i >= end) {
        *reinterpret_cast<uint4*>(row) = uint4{};
        *reinterpret_cast<uint4*>(row + kKeys * kStride) = uint4{};
      }
    }
  }

  /// Once they are there: reads the keys of this step, which this warp has written.
  __device__ void complete(const HeadArgs& heads, const DecodeUnit& unit, int first) const {
    if (first + kKeys > unit.start && first < unit.end) {
      const int lane = threadIdx.x % 32;
      const bf16x1* const from = page_of(heads, unit, first) +
                                 first % static_cast<int>(kPageTokens) * kDecodeHeadDim +
                                 lane % 16 * 8;
#pragma unroll 1
      for (int i = lane / 16; i < kKeys; i += 2) {
        if (first + i < unit.start || first + i >= unit.end) continue;
        std::byte* const row = keys_ + i * kStride + lane % 16 * 16;
        *reinterpret_cast<uint4*>(row) = *reinterpret_cast<const uint4*>(from + i * kDecodeHeadDim);
        *reinterpret_cast<uint4*>(row + kKeys * kStride) =
            *reinterpret_cast<const uint4*>(from + kValuesAfterKeys + i * kDecodeHeadDim);
      }
    }
    __syncwarp();
  }

  /// Right operands of keys 8 · tile and on: b0, b1 of dimensions 32 · c and on, then those of the
  /// 16 after them.
  __device__ uint4 key(int tile, int c) const {
    const int lane = threadIdx.x % 32;
    return load_matrices(keys_ + (tile * 8 + lane % 8) * kStride + c * 64 + lane / 8 * 16);
  }

  /// Right operands of two tiles of eight dimensions, 8·tile and on: b0, b1, then those of the
  /// next.
  __device__ uint4 values(int tile) const {
    const int lane = threadIdx.x % 32;
    return load_matrices<true>(keys_ + (kKeys + lane % 16) * kStride + (tile + lane / 16) * 16);
  }

 private:
  /// A piece of a key and of its value.
  static __device__ void copy_row(std::byte* to, const bf16x1* from, int row) {
    copy_piece(reinterpret_cast<uint4*>(to), from + row * kDecodeHeadDim);
    copy_piece(reinterpret_cast<uint4*>(to + kKeys * kStride),
               from + kValuesAfterKeys + row * kDecodeHeadDim);
  }
  std::byte* keys_;
};

/// Left operands of a unit's query heads, head lane / 4: dimensions 16 · i + lane % 4 · 2 and the
/// next, and those 8 further on.
using QueryWords = uint32_t[kDecodeHeadDim / 16][2];

/// What joins two results for a head: each is scaled by its factor, which the larger maximum gives.
struct SoftmaxJoin {
  float largest;
  float factor;      ///< of what was there
  float new_factor;  ///< of what is added

  __device__ SoftmaxJoin(float old_largest, float new_largest)
      : largest(fmaxf(old_largest, new_largest)),
        factor(exp2f(old_largest - largest)),
        new_factor(exp2f(new_largest - largest)) {}

  __device__ float operator()(float old, float added) const {
    return fmaf(added, new_factor, __fmul_rn(old, factor));
  }
};

/// Softmax over 16 keys, for head lane / 4.
struct KeyWeights {
  uint32_t weights[2];  ///< of keys lane % 4 · 2 and the next, of both halves of the 16
  float largest = -INFINITY;
  float total = 0.0F;

  /// Keys [first, first + 16) below `end`, of which there is one.
  __device__ KeyWeights(const KeyBlock& block, const QueryWords& q, int first, int end) {
    constexpr float kScale = 1.4426950408889634F * 0.08838834764831845F;  // log2(e) · head_dim^-½
    const int lane = threadIdx.x % 32;
    float scores[2][2][4] = {};  // even and odd products are added apart, for speed
#pragma unroll
    for (int c = 0; c < 4; ++c) {
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
        const uint4 k = block.key(tile, c);
        multiply_add(scores[tile][0], q[2 * c][0], 0, q[2 * c][1], 0, k.x, k.y);
        multiply_add(scores[tile][1], q[2 * c + 1][0], 0, q[2 * c + 1][1], 0, k.z, k.w);
      }
    }
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& score = scores[tile][0][i];
        const int key = first + tile * 8 + lane % 4 * 2 + i;
        score = key < end ? (score + scores[tile][1][i]) * kScale : -INFINITY;
        largest = fmaxf(largest, score);
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, 2));
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      const float w0 = exp2f(scores[tile][0][0] - largest);
      const float w1 = exp2f(scores[tile][0][1] - largest);
      total += w0 + w1;
      weights[tile] = pack(w0, w1);
    }
    total += __shfl_xor_sync(0xffffffffU, total, 1);
    total += __shfl_xor_sync(0xffffffffU, total, 2);
  }

  /// Calls f(tile, v0, v1) with the weighted sums of dimensions 8 · tile + lane % 4 · 2 and the
  /// next.
  template <class F>
  __device__ void each_sum(const KeyBlock& block, F&& f) const {
#pragma unroll
    for (int tile = 0; tile < kDecodeHeadDim / 8; tile += 2) {
      const uint4 v = block.values(tile);
      float sums[2][4] = {};
      multiply_add(sums[0], weights[0], 0, weights[1], 0, v.x, v.y);
      multiply_add(sums[1], weights[0], 0, weights[1], 0, v.z, v.w);
      f(tile, sums[0][0], sums[0][1]);
      f(tile + 1, sums[1][0], sums[1][1]);
    }
  }
};

/// The result for the keys of a warp so far, for head lane / 4.
struct OnlineSoftmax {
  static constexpr int kTiles = kDecodeHeadDim / 8;
  float2 sums[kTiles] = {};  ///< dimensions 8 · tile + lane % 4 · 2 and the next
  float largest = -INFINITY;
  float total = 0.0F;

  __device__ void add(const KeyBlock& block, const QueryWords& q, int first, int end) {
    const KeyWeights weights(block, q, first, end);
    const SoftmaxJoin join(largest, weights.largest);
    largest = join.largest;
    total = join(total, weights.total);
    weights.each_sum(block, [&](int tile, float v0, float v1) {
      sums[tile] = {join(sums[tile].x, v0), join(sums[tile].y, v1)};
    });
  }
  /// To results [group][kPartial].
  __device__ void store(float* results, int group) const {
    const int lane = threadIdx.x % 32;
    if (lane / 4 >= group) return;
    float* const mine = results + lane / 4 * kPartial;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      *reinterpret_cast<float2*>(mine + tile * 8 + lane % 4 * 2) = sums[tile];
    }
    if (lane % 4 == 0) *reinterpret_cast<float2*>(mine + kDecodeHeadDim) = {largest, total};
  }
  /// The average to out [group][head_dim].
  __device__ void store_average(bf16x1* out, int group) const {
    const int lane = threadIdx.x % 32;
    if (lane / 4 >= group) return;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      *reinterpret_cast<uint32_t*>(out + lane / 4 * kDecodeHeadDim + tile * 8 + lane % 4 * 2) =
          pack(sums[tile].x / total, sums[tile].y / total);
    }
  }
};

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

constexpr int kDecodeBlocks = 3;  ///< on a multiprocessor
constexpr int kMaxGroup = 8;      ///< query heads of a kv head
constexpr int kDecodeSlots = 2;   ///< blocks of keys of a warp
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

/// One unit by a thread block, where there are few: 16 keys a warp. `results`:
/// [warps][group] [kPartial].
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

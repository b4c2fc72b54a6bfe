#pragma once

/// Attention of generated rows over the paged cache. Bound by reading keys and values once. The
/// unit of work is one split of one row's keys for the query heads that share a kv head; a block
/// takes a run of neighbouring units, so that it prepares a query once and reads the next keys
/// while it finishes with those before. Each lane copies the pieces of keys and values that it
/// multiplies itself into shared memory. The last block of a row and kv head to finish adds the
/// splits' results in order. Splits lie at fixed positions, so bits do not depend on who else is
/// there.
///
/// A block also normalises and rotates its queries, and the block whose split has the row's own
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
constexpr int kDecodeWarps = 8;
constexpr int kDecodeBlock = 128;  ///< keys that a thread block takes at a time: 16 a warp

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

/// The row whose splits contain item `item`; first_split ascends.
__device__ inline int row_of_item(const int32_t* first_split, int rows, int item) {
  int low = 0;
  int high = rows;  // first_split[low] <= item < first_split[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (first_split[middle] <= item) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
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
  int row = 0;  ///< of DecodeArgs::rows
  int kv_head = 0;
  int split = 0;  ///< of the row
  int splits = 0;
  int begin = 0;
  int end = 0;
  int start = 0;          ///< keys from here on are of this step
  int64_t first_row = 0;  ///< row of the step that has key `start`
  const int32_t* block_table = nullptr;

  /// Units in the order of rows, kv heads, splits.
  DecodeUnit() = default;
  __device__ DecodeUnit(const DecodeArgs& args, int index) {
    const int kv_heads = args.heads.num_kv_heads;
    const int first_item = args.first_split[0];
    row = row_of_item(args.first_split, args.row_count, first_item + index / kv_heads);
    const int before = args.first_split[row];
    splits = args.first_split[row + 1] - before;
    const int within = index - (before - first_item) * kv_heads;
    kv_head = within / splits;
    split = within % splits;
    const DecodeRow place = args.rows[row];
    const SequenceRows& sequence = args.heads.sequences[place.sequence];
    start = static_cast<int>(sequence.start);
    first_row = sequence.first_row;
    block_table = sequence.block_table;
    const KeySplit keys = key_split(split);
    begin = keys.begin;
    end = min(keys.end, start + place.row + 1);
  }
};

/// The pieces of 16 keys and values of a warp that a lane needs, in shared memory: those of two
/// keys at a time, eight elements a lane.
struct KeyPieces {
  static constexpr int kKeys = 8;  ///< a lane's; the other half of the warp has as many
  static constexpr int kBytes = kDecodeWarps * 2 * kKeys * 32 * 16;
  uint4* mine;

  __device__ explicit KeyPieces(uint4* shared)
      : mine(shared + threadIdx.x / 32 * (2 * kKeys * 32) + threadIdx.x % 32) {}

  __device__ uint4 key(int i) const { return mine[i * 32]; }
  __device__ uint4 value(int i) const { return mine[(kKeys + i) * 32]; }

  static __device__ const bf16x1* address(const HeadArgs& heads, const DecodeUnit& unit, int key) {
    constexpr int kPage = static_cast<int>(kPageTokens);
    return page_keys(heads, unit.block_table[key / kPage], unit.kv_head) +
           key % kPage * kDecodeHeadDim + threadIdx.x % 16 * 8;
  }

  /// Begins to copy keys of earlier steps out of the 128 from `block` on; those beyond the unit's
  /// end read as zero, whatever its page has there.
  __device__ void fetch(const HeadArgs& heads, const DecodeUnit& unit, int block) {
    const int first = block + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 16;
    const int old_end = min(unit.end, unit.start);
    const bf16x1* const from = first < old_end ? address(heads, unit, first) : nullptr;
#pragma unroll
    for (int i = 0; i < kKeys; ++i) {
      if (first + i * 2 < old_end) {
        copy_piece(mine + i * 32, from + i * 2 * kDecodeHeadDim);
        copy_piece(mine + (kKeys + i) * 32, from + i * 2 * kDecodeHeadDim + kValuesAfterKeys);
      } else if (first + i * 2 >= unit.end) {
        mine[i * 32] = uint4{};
        mine[(kKeys + i) * 32] = uint4{};
      }
    }
    commit_copies();
  }

  /// Waits for them, and reads the keys of this step, which this block has written.
  __device__ void complete(const HeadArgs& heads, const DecodeUnit& unit, int block) {
    wait_copies<0>();
    const int first = block + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 16;
    if (first + 2 * kKeys <= unit.start) return;
#pragma unroll
    for (int i = 0; i < kKeys; ++i) {
      const int key = first + i * 2;
      if (key < unit.start || key >= unit.end) continue;
      const bf16x1* const from = address(heads, unit, key);
      mine[i * 32] = *reinterpret_cast<const uint4*>(from);
      mine[(kKeys + i) * 32] = *reinterpret_cast<const uint4*>(from + kValuesAfterKeys);
    }
  }
};

/// Softmax over the keys of a half warp so far, for each query head; eight elements a lane.
template <int kGroup>
struct OnlineSoftmax {
  float sums[kGroup][8] = {};
  float maxima[kGroup];
  float totals[kGroup] = {};

  __device__ OnlineSoftmax() {
#pragma unroll
    for (float& m : maxima) m = -INFINITY;
  }

  /// Keys first, first + 2, … below `end`; q in units of log2.
  __device__ void add(const KeyPieces& pieces, const float (&q)[kGroup][8], int first, int end) {
    float scores[kGroup][KeyPieces::kKeys];
#pragma unroll
    for (int i = 0; i < KeyPieces::kKeys; ++i) {
      const uint4 key = pieces.key(i);
      const float2 k0 = unpack(key.x);
      const float2 k1 = unpack(key.y);
      const float2 k2 = unpack(key.z);
      const float2 k3 = unpack(key.w);
#pragma unroll
      for (int h = 0; h < kGroup; ++h) {
        float s = q[h][0] * k0.x;
        s = fmaf(q[h][1], k0.y, s);
        s = fmaf(q[h][2], k1.x, s);
        s = fmaf(q[h][3], k1.y, s);
        s = fmaf(q[h][4], k2.x, s);
        s = fmaf(q[h][5], k2.y, s);
        s = fmaf(q[h][6], k3.x, s);
        s = fmaf(q[h][7], k3.y, s);
#pragma unroll
        for (int step = 8; step > 0; step /= 2) s += __shfl_xor_sync(0xffffffffU, s, step);
        scores[h][i] = first + i * 2 < end ? s : -INFINITY;
      }
    }
#pragma unroll
    for (int h = 0; h < kGroup; ++h) {
      float largest = maxima[h];
#pragma unroll
      for (int i = 0; i < KeyPieces::kKeys; ++i) largest = fmaxf(largest, scores[h][i]);
      // A half warp may have no key yet; then nothing is scaled.
      const float shift = largest == -INFINITY ? 0.0F : largest;
      const float factor = exp2f(maxima[h] - shift);
      maxima[h] = largest;
      totals[h] *= factor;
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[h][i] *= factor;
#pragma unroll
      for (int i = 0; i < KeyPieces::kKeys; ++i) {
        scores[h][i] = exp2f(scores[h][i] - shift);
        totals[h] += scores[h][i];
      }
    }
#pragma unroll
    for (int i = 0; i < KeyPieces::kKeys; ++i) {
      const uint4 value = pieces.value(i);
      const float2 v0 = unpack(value.x);
      const float2 v1 = unpack(value.y);
      const float2 v2 = unpack(value.z);
      const float2 v3 = unpack(value.w);
#pragma unroll
      for (int h = 0; h < kGroup; ++h) {
        sums[h][0] = fmaf(scores[h][i], v0.x, sums[h][0]);
        sums[h][1] = fmaf(scores[h][i], v0.y, sums[h][1]);
        sums[h][2] = fmaf(scores[h][i], v1.x, sums[h][2]);
        sums[h][3] = fmaf(scores[h][i], v1.y, sums[h][3]);
        sums[h][4] = fmaf(scores[h][i], v2.x, sums[h][4]);
        sums[h][5] = fmaf(scores[h][i], v2.y, sums[h][5]);
        sums[h][6] = fmaf(scores[h][i], v3.x, sums[h][6]);
        sums[h][7] = fmaf(scores[h][i], v3.y, sums[h][7]);
      }
    }
  }

  /// The two halves of a warp together, to `result`.
  __device__ void store(float (&result)[kGroup][kPartial]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int h = 0; h < kGroup; ++h) {
      const float other = __shfl_xor_sync(0xffffffffU, maxima[h], 16);
      const float largest = fmaxf(maxima[h], other);
      const float shift = largest == -INFINITY ? 0.0F : largest;
      const float factor = exp2f(maxima[h] - shift);
      totals[h] *= factor;
      totals[h] += __shfl_xor_sync(0xffffffffU, totals[h], 16);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        sums[h][i] *= factor;
        sums[h][i] += __shfl_xor_sync(0xffffffffU, sums[h][i], 16);
        if (lane < 16) result[h][lane * 8 + i] = sums[h][i];
      }
      if (lane == 0) {
        result[h][kDecodeHeadDim] = largest;
        result[h][kDecodeHeadDim + 1] = totals[h];
      }
    }
  }
};

/// Several results for the same query head as one, added in order; `step` floats lie between them.
struct PartialSum {
  float largest = -INFINITY;
  float sum = 0.0F;
  float total = 0.0F;

  template <class Load>
  __device__ PartialSum(const float* head, int column, int count, int64_t step, const Load& load) {
    for (int i = 0; i < count; ++i) {
      largest = fmaxf(largest, load(head + i * step + kDecodeHeadDim));
    }
    for (int i = 0; i < count; ++i) {
      const float factor = exp2f(load(head + i * step + kDecodeHeadDim) - largest);
      sum += factor * load(head + i * step + column);
      total += factor * load(head + i * step + kDecodeHeadDim + 1);
    }
  }
};

template <int kGroup>
constexpr int kDecodeBlocks = kGroup <= 2   ? 3
                              : kGroup <= 4 ? 2
                                            : 1;  // on a multiprocessor

/// kGroup: query heads of a kv head, at least as many as there are.
template <int kGroup>
__global__ void __launch_bounds__(kDecodeWarps * 32, kDecodeBlocks<kGroup>)
    decode_attention_kernel(const DecodeArgs args) {
  extern __shared__ uint4 decode_shared[];
  __shared__ float queries[kGroup][kDecodeHeadDim];
  __shared__ float results[kDecodeWarps][kGroup][kPartial];
  __shared__ bool is_last;
  const HeadArgs& heads = args.heads;
  const int group = heads.num_heads / heads.num_kv_heads;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  KeyPieces pieces(decode_shared);

  const int first_item = args.first_split[0];
  const int units = (args.first_split[args.row_count] - first_item) * heads.num_kv_heads;
  const int run = (units + gridDim.x - 1) / gridDim.x;
  const int last_unit = min(static_cast<int>(blockIdx.x + 1) * run, units);
  int index = blockIdx.x * run;
  DecodeUnit unit;
  if (index < last_unit) {
    unit = DecodeUnit(args, index);
    pieces.fetch(heads, unit, unit.begin);
  }
  wait_for_inputs();

  float q[kGroup][8];
  for (int held_row = -1, held_head = -1; index < last_unit; ++index) {
    const int64_t row = args.first_row + unit.row;
    // Rows of this step that fall into the split: guesses before this one included. Other blocks
    // may write the same bits to the same place.
    for (int p = max(unit.begin, unit.start) + warp; p < unit.end; p += kDecodeWarps) {
      write_key_value(heads, unit.block_table, unit.first_row + p - unit.start, p, unit.kv_head);
    }
    const bool is_new = held_row != unit.row || held_head != unit.kv_head;
    if (is_new) {
      for (int h = warp; h < kGroup; h += kDecodeWarps) {
        float4 v{};
        if (h < group) {
          v = rotated_head(heads, row, unit.kv_head * group + h, heads.q_weight, heads.q_eps);
        }
        *reinterpret_cast<float4*>(&queries[h][lane * 4]) = v;
      }
    }
    __syncthreads();
    if (is_new) {
      // Scores in units of log2, so that weights are powers of two.
      constexpr float kScale = 1.4426950408889634F * 0.08838834764831845F;  // · head_dim^-½
#pragma unroll
      for (int h = 0; h < kGroup; ++h) {
#pragma unroll
        for (int i = 0; i < 8; ++i) q[h][i] = queries[h][lane % 16 * 8 + i] * kScale;
      }
      held_row = unit.row;
      held_head = unit.kv_head;
    }

    OnlineSoftmax<kGroup> softmax;
    DecodeUnit next;
    for (int block = unit.begin; block < unit.end; block += kDecodeBlock) {
      pieces.complete(heads, unit, block);
      const int first = block + warp * 16;
      if (first < unit.end) softmax.add(pieces, q, first + lane / 16, unit.end);
      if (block + kDecodeBlock < unit.end) {
        pieces.fetch(heads, unit, block + kDecodeBlock);
      } else if (index + 1 < last_unit) {
        next = DecodeUnit(args, index + 1);
        pieces.fetch(heads, next, next.begin);
      }
    }
    softmax.store(results[warp]);
    __syncthreads();

    const int64_t step = int64_t{heads.num_heads} * kPartial;
    float* const of_row = args.partials + (args.first_split[unit.row] - first_item) * step +
                          int64_t{unit.kv_head} * group * kPartial;
    bf16x1* const out = args.out + row * args.ldo + unit.kv_head * group * kDecodeHeadDim;
    for (int i = threadIdx.x; i < group * kDecodeHeadDim; i += blockDim.x) {
      const int h = i / kDecodeHeadDim;
      const int column = i % kDecodeHeadDim;
      const PartialSum all(&results[0][h][0], column, kDecodeWarps, kGroup * kPartial,
                           [](const float* p) { return *p; });
      if (unit.splits == 1) {
        out[i] = __float2bfloat16_rn(all.sum / all.total);
        continue;
      }
      float* const mine = of_row + unit.split * step + h * kPartial;
      mine[column] = all.sum;
      if (column == 0) {
        mine[kDecodeHeadDim] = all.largest;
        mine[kDecodeHeadDim + 1] = all.total;
      }
    }
    if (unit.splits > 1) {
      __threadfence();
      __syncthreads();
      if (threadIdx.x == 0) {
        uint32_t* const count = args.arrivals + unit.row * heads.num_kv_heads + unit.kv_head;
        is_last = atomicAdd(count, 1U) + 1 == static_cast<uint32_t>(unit.splits);
        if (is_last) *count = 0;
      }
      __syncthreads();
      if (is_last) {
        __threadfence();
        for (int i = threadIdx.x; i < group * kDecodeHeadDim; i += blockDim.x) {
          const PartialSum all(of_row + i / kDecodeHeadDim * kPartial, i % kDecodeHeadDim,
                               unit.splits, step, [](const float* p) { return __ldcg(p); });
          out[i] = __float2bfloat16_rn(all.sum / all.total);
        }
      }
    }
    __syncthreads();  // queries and results are used again
    unit = next;
  }
}

template <int kGroup>
void launch_decode_attention(const DecodeArgs& args, const Cuda& cuda) {
  const auto kernel = decode_attention_kernel<kGroup>;
  check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, KeyPieces::kBytes));
  // As many blocks as run at once; a recorded launch serves any context length.
  launch({.grid = static_cast<unsigned>(cuda.sm_count * kDecodeBlocks<kGroup>),
          .block = kDecodeWarps * 32,
          .shared_bytes = KeyPieces::kBytes,
          .stream = cuda.stream,
          .overlaps = cuda.compute_capability >= 90},
         kernel, args);
}

inline void launch_decode_attention(const HeadArgs& heads, const DeviceLists& lists, bf16x1* out,
                                    int64_t ldo, const Cuda& cuda) {
  const int group = heads.num_heads / heads.num_kv_heads;
  require(group <= 8, "device attention: query heads of a kv head");
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
    if (group <= 2) {
      launch_decode_attention<2>(args, cuda);
    } else if (group <= 4) {
      launch_decode_attention<4>(args, cuda);
    } else {
      launch_decode_attention<8>(args, cuda);
    }
  }
}

}  // namespace qvl::device

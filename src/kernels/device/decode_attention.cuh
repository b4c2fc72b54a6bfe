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
  int keys = 0;           ///< of the row
  int start = 0;          ///< keys from here on are of this step
  int64_t first_row = 0;  ///< row of the step that has key `start`
  const int32_t* block_table = nullptr;

  DecodeUnit() = default;
  /// Units in the order of rows, kv heads, splits.
  __device__ DecodeUnit(const DecodeArgs& args, int index) {
    const int kv_heads = args.heads.num_kv_heads;
    const int first_item = args.first_split[0];
    take_row(args, row_of_item(args.first_split, args.row_count, first_item + index / kv_heads));
    const int within = index - (args.first_split[row] - first_item) * kv_heads;
    kv_head = within / splits;
    take_split(within % splits);
  }
  /// The one after this, which there is.
  __device__ DecodeUnit next(const DecodeArgs& args) const {
    DecodeUnit unit = *this;
    if (split + 1 < splits) {
      unit.take_split(split + 1);
      return unit;
    }
    unit.kv_head = kv_head + 1;
    if (unit.kv_head == args.heads.num_kv_heads) {
      unit.kv_head = 0;
      unit.take_row(args, row + 1);
    }
    unit.take_split(0);
    return unit;
  }

 private:
  __device__ void take_row(const DecodeArgs& args, int r) {
    row = r;
    splits = args.first_split[r + 1] - args.first_split[r];
    const DecodeRow place = args.rows[r];
    const SequenceRows& sequence = args.heads.sequences[place.sequence];
    start = static_cast<int>(sequence.start);
    keys = start + place.row + 1;
    first_row = sequence.first_row;
    block_table = sequence.block_table;
  }
  __device__ void take_split(int s) {
    split = s;
    const KeySplit range = key_split(s);
    begin = range.begin;
    end = min(range.end, keys);
  }
};

/// 16 keys and values of a warp in shared memory. Keys lie as the lanes multiply them, each its own
/// 16-byte pieces, dimensions permuted alike in query and key; values lie in rows, padded so that
/// eight rows of a transposed load meet no bank twice.
class KeyBlock {
 public:
  static constexpr int kValueStride = kDecodeHeadDim * 2 + 16;  // bytes
  static constexpr int kKeyBytes = 8 * 32 * 16;
  static constexpr int kBytes = kKeyBytes + 16 * kValueStride;

  __device__ explicit KeyBlock(std::byte* shared)
      : keys_(reinterpret_cast<uint4*>(shared) + threadIdx.x % 32), values_(shared + kKeyBytes) {}

  /// Begins to copy the keys of earlier steps out of the 16 from `first` on; those beyond the
  /// unit's end read as zero, whatever its page has there. All lanes have read what was here
  /// before.
  __device__ void fetch(const HeadArgs& heads, const DecodeUnit& unit, int first) {
    __syncwarp();
    const int there = unit.end - first;
    const int old = min(there, unit.start - first);
    const bf16x1* const from = old > 0 ? first_row(heads, unit, first) : nullptr;
    each_piece([&](void* to, int row, int offset) {
      if (row < old) {
        copy_piece(static_cast<uint4*>(to), from + offset);
      } else if (row >= there) {
        *static_cast<uint4*>(to) = uint4{};
      }
    });
    commit_copies();
  }

  /// Waits for them, and reads the keys of this step, which this block has written.
  __device__ void complete(const HeadArgs& heads, const DecodeUnit& unit, int first) {
    wait_copies<0>();
    const int there = unit.end - first;
    const int old = unit.start - first;
    if (old < 16 && there > 0) {
      const bf16x1* const from = first_row(heads, unit, first);
      each_piece([&](void* to, int row, int offset) {
        if (row >= old && row < there) {
          *static_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from + offset);
        }
      });
    }
    __syncwarp();
  }

  /// Piece c of key lane / 4 + 8·tile: dimensions 32·c + lane % 4 · 8 and on.
  __device__ uint4 key(int tile, int c) const { return keys_[(tile * 4 + c) * 32]; }

  /// Right operands of two tiles of eight dimensions, 8·tile and on: b0, b1, then those of the
  /// next.
  __device__ uint4 values(int tile) const {
    const int lane = threadIdx.x % 32;
    const auto address = static_cast<uint32_t>(
        __cvta_generic_to_shared(values_ + lane % 16 * kValueStride + (tile + lane / 16) * 16));
    uint4 v;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(address)
                 : "memory");
    return v;
  }

 private:
  static __device__ const bf16x1* first_row(const HeadArgs& heads, const DecodeUnit& unit,
                                            int first) {
    constexpr int kPage = static_cast<int>(kPageTokens);
    return page_keys(heads, unit.block_table[first / kPage], unit.kv_head) +
           first % kPage * kDecodeHeadDim;
  }

  /// Calls f(place, row, elements from the first key) for the lane's eight pieces of keys and eight
  /// of values.
  template <class F>
  __device__ void each_piece(F&& f) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = i / 4 * 8 + lane / 4;
      f(keys_ + i * 32, row, row * kDecodeHeadDim + i % 4 * 32 + lane % 4 * 8);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = i * 2 + lane / 16;
      f(values_ + row * kValueStride + lane % 16 * 16, row,
        static_cast<int>(kValuesAfterKeys) + row * kDecodeHeadDim + lane % 16 * 8);
    }
  }

  uint4* keys_;
  std::byte* values_;
};

/// Softmax over the keys of a warp so far, for head lane / 4.
struct OnlineSoftmax {
  static constexpr int kTiles = kDecodeHeadDim / 8;
  float sums[kTiles][4] = {};  ///< dimensions 8·tile + lane % 4 · 2 and the next; rows 8 on: unused
  float largest = -INFINITY;
  float total = 0.0F;  ///< of this lane's keys

  /// Keys [first, first + 16) below `end`; q as KeyBlock::key has keys.
  __device__ void add(const KeyBlock& block, const uint4 (&q)[4], int first, int end) {
    constexpr float kScale = 1.4426950408889634F * 0.08838834764831845F;  // log2(e) · head_dim^-½
    const int lane = threadIdx.x % 32;
    float scores[2][4] = {};
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const uint4 k = block.key(tile, c);
        multiply_add(scores[tile], q[c].x, 0, q[c].y, 0, k.x, k.y);
        multiply_add(scores[tile], q[c].z, 0, q[c].w, 0, k.z, k.w);
      }
    }
    float most = -INFINITY;
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int key = first + tile * 8 + lane % 4 * 2 + i;
        scores[tile][i] = key < end ? scores[tile][i] * kScale : -INFINITY;
        most = fmaxf(most, scores[tile][i]);
      }
    }
    most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, 2));
    const float now = fmaxf(largest, most);  // finite: key `first` is below `end`
    const float factor = exp2f(largest - now);
    largest = now;
    total *= factor;
    uint32_t weights[2];
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      const float w0 = exp2f(scores[tile][0] - now);
      const float w1 = exp2f(scores[tile][1] - now);
      total += w0 + w1;
      weights[tile] = pack(w0, w1);
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; tile += 2) {
      const uint4 v = block.values(tile);
      sums[tile][0] *= factor;
      sums[tile][1] *= factor;
      sums[tile + 1][0] *= factor;
      sums[tile + 1][1] *= factor;
      multiply_add(sums[tile], weights[0], 0, weights[1], 0, v.x, v.y);
      multiply_add(sums[tile + 1], weights[0], 0, weights[1], 0, v.z, v.w);
    }
  }

  /// To results [group][kPartial].
  __device__ void store(float* results, int group) {
    const int lane = threadIdx.x % 32;
    total += __shfl_xor_sync(0xffffffffU, total, 1);
    total += __shfl_xor_sync(0xffffffffU, total, 2);
    if (lane / 4 >= group) return;
    float* const mine = results + lane / 4 * kPartial;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      *reinterpret_cast<float2*>(mine + tile * 8 + lane % 4 * 2) = {sums[tile][0], sums[tile][1]};
    }
    if (lane % 4 == 0) *reinterpret_cast<float2*>(mine + kDecodeHeadDim) = {largest, total};
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

constexpr int kDecodeBlocks = 2;  ///< on a multiprocessor
constexpr int kMaxGroup = 8;      ///< query heads of a kv head

/// Shared memory: the warps' keys and values, then their results [warps][group][kPartial].
constexpr int decode_shared_bytes(int group) {
  return kDecodeWarps * (KeyBlock::kBytes + group * kPartial * 4);
}

static __global__ void __launch_bounds__(kDecodeWarps * 32, kDecodeBlocks)
    decode_attention_kernel(const DecodeArgs args) {
  extern __shared__ uint4 decode_shared[];
  __shared__ uint4 queries[kMaxGroup][kDecodeHeadDim / 8];
  __shared__ bool is_last;
  const HeadArgs& heads = args.heads;
  const int group = heads.num_heads / heads.num_kv_heads;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  auto* const shared = reinterpret_cast<std::byte*>(decode_shared);
  KeyBlock keys(shared + warp * KeyBlock::kBytes);
  auto* const results = reinterpret_cast<float*>(shared + kDecodeWarps * KeyBlock::kBytes);
  let_next_begin();

  const int first_item = args.first_split[0];
  const int units = (args.first_split[args.row_count] - first_item) * heads.num_kv_heads;
  const int run = (units + gridDim.x - 1) / gridDim.x;
  const int last_unit = min(static_cast<int>(blockIdx.x + 1) * run, units);
  const int first_unit = blockIdx.x * run;
  int index = first_unit;
  DecodeUnit unit;
  if (index < last_unit) {
    unit = DecodeUnit(args, index);
    keys.fetch(heads, unit, unit.begin + warp * 16);
  }
  wait_for_inputs();

  uint4 q[4];
  for (int held_row = -1, held_head = -1; index < last_unit; ++index) {
    const int64_t row = args.first_row + unit.row;
    // Rows of this step that fall into the split: guesses before this one included. Other blocks
    // may write the same bits to the same place.
    for (int p = max(unit.begin, unit.start) + warp; p < unit.end; p += kDecodeWarps) {
      write_key_value(heads, unit.block_table, unit.first_row + p - unit.start, p, unit.kv_head);
    }
    const bool is_new = held_row != unit.row || held_head != unit.kv_head;
    if (is_new) {
      for (int h = warp; h < kMaxGroup; h += kDecodeWarps) {
        float4 v{};
        if (h < group) {
          v = rotated_head(heads, row, unit.kv_head * group + h, heads.q_weight, heads.q_eps);
        }
        store_half(v, reinterpret_cast<bf16x1*>(queries[h]));
      }
    }
    __syncthreads();
    if (is_new) {
#pragma unroll
      for (int c = 0; c < 4; ++c) q[c] = queries[lane / 4][c * 4 + lane % 4];
      held_row = unit.row;
      held_head = unit.kv_head;
    }

    OnlineSoftmax softmax;
    DecodeUnit next;
    for (int block = unit.begin; block < unit.end; block += kDecodeBlock) {
      const int first = block + warp * 16;
      keys.complete(heads, unit, first);
      if (first < unit.end) softmax.add(keys, q, first, unit.end);
      if (block + kDecodeBlock < unit.end) {
        keys.fetch(heads, unit, first + kDecodeBlock);
      } else if (index + 1 < last_unit) {
        next = unit.next(args);
        keys.fetch(heads, next, next.begin + warp * 16);
      }
    }
    softmax.store(results + warp * group * kPartial, group);
    __syncthreads();

    const int64_t step = int64_t{heads.num_heads} * kPartial;
    float* const of_row = args.partials + (args.first_split[unit.row] - first_item) * step +
                          int64_t{unit.kv_head} * group * kPartial;
    bf16x1* const out = args.out + row * args.ldo + unit.kv_head * group * kDecodeHeadDim;
    for (int i = threadIdx.x; i < group * kDecodeHeadDim; i += blockDim.x) {
      const int h = i / kDecodeHeadDim;
      const int column = i % kDecodeHeadDim;
      const PartialSum all(results + h * kPartial, column, kDecodeWarps, group * kPartial,
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
      // Whether all splits are there now: those of this block, or, by a count, those of several.
      const int first_of_head = index - unit.split;
      if (first_of_head >= first_unit && first_of_head + unit.splits <= last_unit) {
        is_last = unit.split + 1 == unit.splits;
        __syncthreads();
      } else {
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
          uint32_t* const count = args.arrivals + unit.row * heads.num_kv_heads + unit.kv_head;
          is_last = atomicAdd(count, 1U) + 1 == static_cast<uint32_t>(unit.splits);
          if (is_last) *count = 0;
        }
        __syncthreads();
        if (is_last) __threadfence();
      }
      if (is_last) {
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

inline void launch_decode_attention(const HeadArgs& heads, const DeviceLists& lists, bf16x1* out,
                                    int64_t ldo, const Cuda& cuda) {
  const int group = heads.num_heads / heads.num_kv_heads;
  require(group <= kMaxGroup, "device attention: query heads of a kv head");
  check(cudaFuncSetAttribute(decode_attention_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             decode_shared_bytes(kMaxGroup)));
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
            .shared_bytes = decode_shared_bytes(group),
            .stream = cuda.stream,
            .overlaps = cuda.compute_capability >= 90},
           decode_attention_kernel, args);
  }
}

}  // namespace qvl::device

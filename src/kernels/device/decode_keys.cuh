#pragma once

/// 16 keys and values of a decoding warp, and the softmax over them.

#include "kernels/device/decode_units.cuh"

namespace qvl::device {

constexpr int kDecodeKeys = 16;  ///< that a warp takes at a time

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

}  // namespace qvl::device

#pragma once

/// 64 keys or values of a decoding warp, and the softmax over them.

#include "kernels/device/decode_units.cuh"
#include "kernels/device/mma.cuh"

namespace qvl::device {

constexpr int kDecodeKeys = 64;  ///< that a warp takes at a time, all of one page
static_assert(kDecodeKeys == kPageTokens);

/// The keys of a page, or its values, in shared memory at a multiple of 256 bytes. The 16-byte
/// pieces of a row change places by the row's number, so that eight rows of a matrix load meet no
/// bank twice.
class KeyTile {
 public:
  static constexpr int kRowBytes = kDecodeHeadDim * 2;
  static constexpr int kBytes = kDecodeKeys * kRowBytes;

  __device__ explicit KeyTile(std::byte* shared) : rows_(shared) {}

  /// Begins to copy the first `count` rows of a page; those after them read as zero. All lanes have
  /// read what was here before.
  __device__ void fetch(const bf16x1* page, int count) const {
    const int lane = threadIdx.x % 32;
    const bf16x1* const from = page + lane / 16 * kDecodeHeadDim + lane % 16 * 8;
    if (count >= kDecodeKeys) {
      std::byte* const to = rows_ + lane / 16 * kRowBytes;
      const int piece = (lane % 16 ^ lane / 16) * 16;
#pragma unroll
      for (int i = 0; i < kDecodeKeys / 2; ++i) {
        copy_piece(reinterpret_cast<uint4*>(to + i * 2 * kRowBytes + (piece ^ i % 4 * 32)),
                   from + i * 2 * kDecodeHeadDim);
      }
      return;
    }
#pragma unroll 1
    for (int row = lane / 16; row < kDecodeKeys; row += 2) {
      auto* const to = reinterpret_cast<uint4*>(at(row, lane % 16));
      if (row < count) {
        copy_piece(to, from + (row - lane / 16) * kDecodeHeadDim);
      } else {
        *to = uint4{};
      }
    }
  }

  /// Puts a row in its place, four elements a lane.
  __device__ void store(int row, const float4& v) const {
    const int lane = threadIdx.x % 32;
    *reinterpret_cast<uint2*>(at(row, lane / 2) + lane % 2 * 8) = {pack(v.x, v.y), pack(v.z, v.w)};
  }

  /// Left operand with keys 16 · tile and on as rows, of dimensions 16 · step and on.
  __device__ uint4 keys(int tile, int step) const {
    const int lane = threadIdx.x % 32;
    const int row = tile * 16 + (lane & 8) + lane % 8;
    return load_matrices(rows_ + row * kRowBytes + (((lane / 16 ^ lane % 8) * 16) ^ step * 32));
  }
  /// Left operand with dimensions 16 · tile and on as rows, of keys 16 · step and on.
  __device__ uint4 values(int tile, int step) const {
    const int lane = threadIdx.x % 32;
    const int row = step * 16 + lane / 16 * 8 + lane % 8;
    return load_matrices<true>(rows_ + row * kRowBytes +
                               (((lane / 8 % 2 ^ lane % 8) * 16) ^ tile * 32));
  }

 private:
  __device__ std::byte* at(int row, int piece) const {
    return rows_ + row * kRowBytes + (piece ^ row % 8) * 16;
  }
  std::byte* rows_;
};

/// Right operands of a unit's query heads, head lane / 4: dimensions 16 · i + lane % 4 · 2 and the
/// next, and those 8 further on.
using QueryWords = uint32_t[kDecodeHeadDim / 16][2];

/// The 8 × 8 matrix of a warp, two columns of row lane / 4 a lane, with rows and columns exchanged.
__device__ inline uint32_t transposed(uint32_t v) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(v));
  return out;
}

/// The result for the keys of a warp so far, for heads 2 · pair() and the next.
class OnlineSoftmax {
 public:
  /// Turns the scores of keys [first, first + 64) below `end`, of which there is one, into weights.
  __device__ void add_keys(const KeyTile& tile, const QueryWords& q, int first, int end) {
    constexpr float kScale = 1.4426950408889634F * 0.08838834764831845F;  // log2(e) · head_dim^-½
    float scores[kSteps][4] = {};  // keys lane / 4 and 8 more, for both heads
#pragma unroll
    for (int i = 0; i < kDecodeHeadDim / 16; ++i) {
#pragma unroll
      for (int t = 0; t < kSteps; ++t) {
        const uint4 k = tile.keys(t, i);
        multiply_add(scores[t], k.x, k.y, k.z, k.w, q[i][0], q[i][1]);
      }
    }
    const int left = end - first - static_cast<int>(threadIdx.x) % 32 / 4;
    float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int t = 0; t < kSteps; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[t][i] = t * 16 + i / 2 * 8 < left ? scores[t][i] * kScale : -INFINITY;
        most[i % 2] = fmaxf(most[i % 2], scores[t][i]);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int step = 4; step < 32; step *= 2) {
        most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffU, most[h], step));
      }
      most[h] = fmaxf(most[h], largest_[h]);
      const float factor = exp2f(largest_[h] - most[h]);
      largest_[h] = most[h];
      total_[h] *= factor;
#pragma unroll
      for (auto& sums : sums_) {
        sums[h] *= factor;
        sums[2 + h] *= factor;
      }
    }
#pragma unroll
    for (int t = 0; t < kSteps; ++t) {
      float w[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        w[i] = exp2f(scores[t][i] - largest_[i % 2]);
        total_[i % 2] += w[i];
      }
      weights_[t][0] = transposed(pack(w[0], w[1]));
      weights_[t][1] = transposed(pack(w[2], w[3]));
    }
  }

  /// Adds the values of the keys that were added last.
  __device__ void add_values(const KeyTile& tile) {
#pragma unroll
    for (int d = 0; d < kTiles; ++d) {
#pragma unroll
      for (int t = 0; t < kSteps; ++t) {
        const uint4 v = tile.values(d, t);
        multiply_add(sums_[d], v.x, v.y, v.z, v.w, weights_[t][0], weights_[t][1]);
      }
    }
  }

  /// To results [pair][head_dim][2], and {maximum, sum of weights} of each head after them.
  __device__ void store(float* results, int pairs) {
    add_up_totals();
    if (pair() >= pairs) return;
    each_sum([&](int d, float v0, float v1) {
      reinterpret_cast<float2*>(results)[pair() * kDecodeHeadDim + d] = {v0, v1};
    });
    if (threadIdx.x % 32 < 4) {
      reinterpret_cast<float4*>(results + pairs * 2 * kDecodeHeadDim)[pair()] = {
          largest_[0], total_[0], largest_[1], total_[1]};
    }
  }
  /// The averages to out [group][head_dim].
  __device__ void store_average(bf16x1* out, int group) {
    add_up_totals();
    const int head = 2 * pair();
    const float scales[2] = {1.0F / total_[0], 1.0F / total_[1]};
    each_sum([&](int d, float v0, float v1) {
      bf16x1* const to = out + head * kDecodeHeadDim + d;
      if (head < group) *to = __float2bfloat16_rn(v0 * scales[0]);
      if (head + 1 < group) to[kDecodeHeadDim] = __float2bfloat16_rn(v1 * scales[1]);
    });
  }

 private:
  static constexpr int kTiles = kDecodeHeadDim / 16;
  static constexpr int kSteps = kDecodeKeys / 16;

  static __device__ int pair() { return threadIdx.x % 4; }
  template <class F>
  __device__ void each_sum(F&& f) const {
    const int d = threadIdx.x % 32 / 4;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      f(t * 16 + d, sums_[t][0], sums_[t][1]);
      f(t * 16 + 8 + d, sums_[t][2], sums_[t][3]);
    }
  }
  /// Until here each lane has those of its own keys.
  __device__ void add_up_totals() {
#pragma unroll
    for (float& total : total_) {
#pragma unroll
      for (int step = 4; step < 32; step *= 2) {
        total += __shfl_xor_sync(0xffffffffU, total, step);
      }
    }
  }

  float sums_[kTiles][4] = {};   // dimensions 16 · tile + lane / 4 and 8 more, for both heads
  uint32_t weights_[kSteps][2];  // right operands
  float largest_[2] = {-INFINITY, -INFINITY};
  float total_[2] = {};
};

}  // namespace qvl::device

#pragma once

/// What becomes of the sums of a product: two neighbouring columns of a row at a time, and for
/// kernels whose lanes hold more of a row, a strip of 64 columns at a time in pieces of 16 bytes.
///
/// Strips. The four lanes of a quad share a row; lane q holds, for i in 0..7, the sums of columns
/// 8 i + 2 q and the next. What stands in a strip (`Before`) is loaded while the strip before it is
/// stored: loads that wait for the store before them take as long as the product.

#include "kernels/device/numeric.cuh"

namespace qvl::device {

constexpr int kStripCols = 64;
constexpr int kStripPairs = 8;  ///< of a lane

/// A row's strip from column `col` on. The whole warp stores at a time; lanes whose row is not
/// `valid` only pass on what others hold.
struct Strip {
  int row;
  int col;
  bool valid;
};

/// An epilogue that takes strips too, where `takes_strips()`. `before` holds what stood in strip
/// `at` and is left with what stands in `next`.
template <class Epilogue>
concept TakesStrips = requires {
  typename Epilogue::Before;
};

/// Word i of lane q becomes word q of lane i, in each quad of a warp.
__device__ inline void transpose_quads(uint32_t (&w)[4]) {
  const bool odd = threadIdx.x % 2 != 0;
  const uint32_t a = __shfl_xor_sync(0xffffffffU, odd ? w[0] : w[1], 1);
  const uint32_t b = __shfl_xor_sync(0xffffffffU, odd ? w[2] : w[3], 1);
  (odd ? w[0] : w[1]) = a;
  (odd ? w[2] : w[3]) = b;
  const bool high = threadIdx.x % 4 >= 2;
  const uint32_t c = __shfl_xor_sync(0xffffffffU, high ? w[0] : w[2], 2);
  const uint32_t d = __shfl_xor_sync(0xffffffffU, high ? w[1] : w[3], 2);
  (high ? w[0] : w[2]) = c;
  (high ? w[1] : w[3]) = d;
}

/// Of the pairs i and i + 1 of a strip: one of them whole, four columns from piece_col(i) on.
__device__ inline float4 join_pairs(const float2& left, const float2& right) {
  const bool odd = threadIdx.x % 2 != 0;
  const float x = __shfl_xor_sync(0xffffffffU, odd ? left.x : right.x, 1);
  const float y = __shfl_xor_sync(0xffffffffU, odd ? left.y : right.y, 1);
  return odd ? float4{x, y, right.x, right.y} : float4{left.x, left.y, x, y};
}
__device__ inline int piece_col(int i) {
  const int lane = static_cast<int>(threadIdx.x) % 4;
  return 8 * (i + lane % 2) + lane / 2 * 4;
}

/// Biases of a lane's columns of a strip. They stay in the nearest cache: registers are scarce.
struct StripBias {
  const float2* pairs;  ///< or null

  __device__ StripBias(const float* bias, int col)
      : pairs(bias == nullptr ? nullptr
                              : reinterpret_cast<const float2*>(bias + col) +
                                    static_cast<int>(threadIdx.x) % 4) {}
  __device__ float2 added(int i, const float2& v) const {
    if (pairs == nullptr) return v;
    const float2 b = __ldg(pairs + 4 * i);
    return {v.x + b.x, v.y + b.y};
  }
};
struct Nothing {};

template <class T>
__device__ inline bool in_pieces(const T* data, int64_t stride, int64_t elements) {
  return reinterpret_cast<uintptr_t>(data) % (elements * sizeof(T)) == 0 && stride % elements == 0;
}

/// The same for rows that lie `offset` further on.
template <class Epilogue>
struct Shifted {
  Epilogue epilogue;
  int offset = 0;

  __device__ void operator()(int row, int col, float v0, float v1) const {
    epilogue(row + offset, col, v0, v1);
  }
};

struct NoChange {
  __device__ float operator()(float v) const { return v; }
};
struct GeluTanh {
  __device__ float operator()(float v) const { return gelu_tanh(v); }
};
struct GeluErf {
  __device__ float operator()(float v) const { return gelu_erf(v); }
};

template <class Activation>
struct StoreHalf {
  bf16x1* y;
  int64_t ldy;        ///< even
  const float* bias;  ///< or null

  __device__ void operator()(int row, int col, float v0, float v1) const {
    const Activation act;
    if (bias != nullptr) {
      v0 += bias[col];
      v1 += bias[col + 1];
    }
    *reinterpret_cast<uint32_t*>(y + row * ldy + col) = pack(act(v0), act(v1));
  }

  using Before = Nothing;
  __device__ bool takes_strips() const { return in_pieces(y, ldy, 8); }
  __device__ Before before(const Strip&) const { return {}; }
  __device__ void store_strip(const Strip& at, const Strip&, Before&,
                              const float2 (&v)[kStripPairs]) const {
    const Activation act;
    const StripBias biases(bias, at.col);
    bf16x1* const to = y + at.row * ldy + at.col + static_cast<int>(threadIdx.x) % 4 * 8;
#pragma unroll
    for (int first = 0; first < kStripPairs; first += 4) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 sum = biases.added(first + i, v[first + i]);
        words[i] = pack(act(sum.x), act(sum.y));
      }
      transpose_quads(words);
      if (at.valid) {
        *reinterpret_cast<uint4*>(to + 8 * first) = {words[0], words[1], words[2], words[3]};
      }
    }
  }
};

struct StoreFloat {
  float* y;
  int64_t ldy;
  const float* bias;

  __device__ void operator()(int row, int col, float v0, float v1) const {
    if (bias != nullptr) {
      v0 += bias[col];
      v1 += bias[col + 1];
    }
    *reinterpret_cast<float2*>(y + row * ldy + col) = {v0, v1};
  }

  using Before = Nothing;
  __device__ bool takes_strips() const { return in_pieces(y, ldy, 4); }
  __device__ Before before(const Strip&) const { return {}; }
  __device__ void store_strip(const Strip& at, const Strip&, Before&,
                              const float2 (&v)[kStripPairs]) const {
    const StripBias biases(bias, at.col);
    float* const to = y + at.row * ldy + at.col;
#pragma unroll
    for (int i = 0; i < kStripPairs; i += 2) {
      const float4 sums = join_pairs(biases.added(i, v[i]), biases.added(i + 1, v[i + 1]));
      if (at.valid) *reinterpret_cast<float4*>(to + piece_col(i)) = sums;
    }
  }
};

struct AddTo {
  float* x;
  int64_t ldx;
  const float* bias;

  __device__ void operator()(int row, int col, float v0, float v1) const {
    if (bias != nullptr) {
      v0 += bias[col];
      v1 += bias[col + 1];
    }
    float2* const to = reinterpret_cast<float2*>(x + row * ldx + col);
    const float2 old = *to;
    *to = {old.x + v0, old.y + v1};
  }

  struct Before {
    float4 piece[kStripPairs / 2];
  };
  __device__ bool takes_strips() const { return in_pieces(x, ldx, 4); }
  __device__ Before before(const Strip& at) const {
    Before before;
#pragma unroll
    for (int i = 0; i < kStripPairs; i += 2) before.piece[i / 2] = piece(at, i);
    return before;
  }
  __device__ void store_strip(const Strip& at, const Strip& next, Before& before,
                              const float2 (&v)[kStripPairs]) const {
    const StripBias biases(bias, at.col);
    float* const to = x + at.row * ldx + at.col;
#pragma unroll
    for (int i = 0; i < kStripPairs; i += 2) {
      const float4 old = before.piece[i / 2];
      before.piece[i / 2] = piece(next, i);
      const float4 sums = join_pairs(biases.added(i, v[i]), biases.added(i + 1, v[i + 1]));
      if (at.valid) {
        *reinterpret_cast<float4*>(to + piece_col(i)) = {old.x + sums.x, old.y + sums.y,
                                                         old.z + sums.z, old.w + sums.w};
      }
    }
  }

 private:
  __device__ float4 piece(const Strip& at, int i) const {
    if (!at.valid) return {};
    return *reinterpret_cast<const float4*>(x + at.row * ldx + at.col + piece_col(i));
  }
};

/// Even columns are gates, odd ones their ups: see pack_linear.
struct SiluProduct {
  bf16x1* y;
  int64_t ldy;

  __device__ void operator()(int row, int col, float gate, float up) const {
    y[row * ldy + col / 2] = __float2bfloat16_rn(silu(gate) * up);
  }

  using Before = Nothing;
  __device__ bool takes_strips() const { return in_pieces(y, ldy, 4); }
  __device__ Before before(const Strip&) const { return {}; }
  __device__ void store_strip(const Strip& at, const Strip&, Before&,
                              const float2 (&v)[kStripPairs]) const {
    // The lower halves of the words are the results of pairs 0 to 3, the upper ones of 4 to 7.
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = pack(silu(v[i].x) * v[i].y, silu(v[i + 4].x) * v[i + 4].y);
    }
    transpose_quads(words);
    if (!at.valid) return;
    bf16x1* const to = y + at.row * ldy + at.col / 2 + static_cast<int>(threadIdx.x) % 4 * 4;
    *reinterpret_cast<uint2*>(to) = {__byte_perm(words[0], words[1], 0x5410),
                                     __byte_perm(words[2], words[3], 0x5410)};
    *reinterpret_cast<uint2*>(to + 16) = {__byte_perm(words[0], words[1], 0x7632),
                                          __byte_perm(words[2], words[3], 0x7632)};
  }
};

}  // namespace qvl::device

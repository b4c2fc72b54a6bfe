#pragma once

/// What becomes of the sums of a product: two neighbouring columns of a row at a time.

#include "kernels/device/numeric.cuh"

namespace qvl::device {

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
};

/// Even columns are gates, odd ones their ups: see pack_linear.
struct SiluProduct {
  bf16x1* y;
  int64_t ldy;

  __device__ void operator()(int row, int col, float gate, float up) const {
    y[row * ldy + col / 2] = __float2bfloat16_rn(silu(gate) * up);
  }
};

}  // namespace qvl::device

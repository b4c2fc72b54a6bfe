#pragma once

/// Norms of float32 rows, rounded once to bfloat16. Bound by latency for few rows, by memory for
/// many: one block a row, which stays in registers between the sum and the product.

#include "core/check.h"
#include "kernels/device/launch.cuh"
#include "kernels/device/numeric.cuh"
#include "kernels/norm_linear.h"

namespace qvl::device {

constexpr int kNormThreads = 256;
constexpr int kNormPerThread = 8;  ///< float4 in registers: rows of up to 8192 elements

struct NormArgs {
  const float* x;
  int64_t ldx;
  const int32_t* rows;  ///< the rows to take, or null for all in order
  const float* weight;
  const float* bias;  ///< of a layer norm
  float eps;
  int size;  ///< multiple of 4
  bf16x1* y;
  int64_t ldy;
};

struct NormRow {
  float4 v[kNormPerThread];

  __device__ void load(const float* x, int size) {
#pragma unroll
    for (int i = 0; i < kNormPerThread; ++i) {
      const int at = (i * kNormThreads + threadIdx.x) * 4;
      v[i] = at < size ? *reinterpret_cast<const float4*>(x + at) : float4{};
    }
  }
  /// Calls f(element, index) for the elements of this thread.
  template <class F>
  __device__ void each(int size, F&& f) {
#pragma unroll
    for (int i = 0; i < kNormPerThread; ++i) {
      const int at = (i * kNormThreads + threadIdx.x) * 4;
      if (at < size) f(v[i], at);
    }
  }
};

__device__ inline float sum4(const float4& v) { return (v.x + v.y) + (v.z + v.w); }
__device__ inline float square4(const float4& v) {
  return (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
}

static __global__ void __launch_bounds__(kNormThreads) rms_norm_kernel(const NormArgs args) {
  __shared__ float shared[kNormThreads / 32 + 1];
  wait_for_inputs();
  const int64_t row = args.rows == nullptr ? blockIdx.x : args.rows[blockIdx.x];
  NormRow x;
  x.load(args.x + row * args.ldx, args.size);
  float sum = 0.0F;
  x.each(args.size, [&](const float4& v, int) { sum += square4(v); });
  sum = block_sum<kNormThreads>(sum, shared);
  const float scale = 1.0F / sqrtf(sum / static_cast<float>(args.size) + args.eps);
  bf16x1* const y = args.y + blockIdx.x * args.ldy;
  x.each(args.size, [&](const float4& v, int at) {
    const float4 w = *reinterpret_cast<const float4*>(args.weight + at);
    *reinterpret_cast<uint2*>(y + at) = {pack(w.x * (v.x * scale), w.y * (v.y * scale)),
                                         pack(w.z * (v.z * scale), w.w * (v.w * scale))};
  });
}

static __global__ void __launch_bounds__(kNormThreads) layer_norm_kernel(const NormArgs args) {
  __shared__ float shared[kNormThreads / 32 + 1];
  wait_for_inputs();
  NormRow x;
  x.load(args.x + blockIdx.x * args.ldx, args.size);
  float sum = 0.0F;
  x.each(args.size, [&](const float4& v, int) { sum += sum4(v); });
  const float mean = block_sum<kNormThreads>(sum, shared) / static_cast<float>(args.size);
  float square = 0.0F;
  x.each(args.size, [&](float4& v, int) {
    v = {v.x - mean, v.y - mean, v.z - mean, v.w - mean};
    square += square4(v);
  });
  square = block_sum<kNormThreads>(square, shared);
  const float scale = 1.0F / sqrtf(square / static_cast<float>(args.size) + args.eps);
  bf16x1* const y = args.y + blockIdx.x * args.ldy;
  x.each(args.size, [&](const float4& v, int at) {
    const float4 w = *reinterpret_cast<const float4*>(args.weight + at);
    const float4 b = *reinterpret_cast<const float4*>(args.bias + at);
    *reinterpret_cast<uint2*>(y + at) = {
        pack(w.x * (v.x * scale) + b.x, w.y * (v.y * scale) + b.y),
        pack(w.z * (v.z * scale) + b.z, w.w * (v.w * scale) + b.w)};
  });
}

inline void require_norm(int64_t size) {
  require(size % 4 == 0 && size <= kNormThreads * kNormPerThread * 4, "norm: row width");
}

/// y[i,:] = rms(x[rows[i],:]); `rows` is device memory or null for the rows of y in order.
inline void launch_rms_norm(const Cuda& cuda, Mat<const float> x, const int32_t* rows,
                            const RmsNorm& norm, const ActMat& y) {
  require_norm(x.cols);
  if (y.rows == 0) return;
  launch({.grid = static_cast<unsigned>(y.rows),
          .block = kNormThreads,
          .stream = cuda.stream,
          .overlaps = cuda.compute_capability >= 90},
         rms_norm_kernel,
         NormArgs{x.data, x.stride, rows, norm.weight.data, nullptr, norm.eps,
                  static_cast<int>(x.cols), static_cast<bf16x1*>(y.data), y.stride});
}

/// The elements of x in order, as many at a time as the norm has; x and y lie side by side.
inline void launch_layer_norm(const Cuda& cuda, Mat<const float> x, const LayerNorm& norm,
                              const ActMat& y) {
  const int64_t size = norm.weight.size;
  require_norm(size);
  const int64_t groups = y.rows * y.cols / size;
  if (groups == 0) return;
  launch({.grid = static_cast<unsigned>(groups),
          .block = kNormThreads,
          .stream = cuda.stream,
          .overlaps = cuda.compute_capability >= 90},
         layer_norm_kernel,
         NormArgs{x.data, size, nullptr, norm.weight.data, norm.bias.data, norm.eps,
                  static_cast<int>(size), static_cast<bf16x1*>(y.data), size});
}

}  // namespace qvl::device

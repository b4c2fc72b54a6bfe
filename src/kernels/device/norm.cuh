#pragma once

/// Norms of float32 rows, rounded once to bfloat16. Bound by latency for few rows, by memory for
/// many: a row stays in registers between the sum and the product. Rows of the tower have a warp
/// each, so that no barrier stands between them; a warp with 2,048 elements was slower than a
/// block. The order of a row's sum follows from its width alone.

#include <algorithm>

#include "core/check.h"
#include "kernels/device/launch.cuh"
#include "kernels/device/numeric.cuh"
#include "kernels/norm_linear.h"

namespace qvl::device {

struct NormArgs {
  const float* x;
  int64_t ldx;
  const float* weight;
  const float* bias;  ///< of a layer norm
  float eps;
  int size;   ///< multiple of 4
  int count;  ///< of rows
  bf16x1* y;
  int64_t ldy;
};

/// A row of up to kThreads * kVectors float4, held by the kThreads threads that share it.
template <int kThreads, int kVectors>
struct NormRow {
  static constexpr int kBlockThreads = std::max(kThreads, 128);
  static constexpr int kBlockRows = kBlockThreads / kThreads;

  float4 v[kVectors];

  __device__ static int row() {
    return static_cast<int>(blockIdx.x) * kBlockRows + static_cast<int>(threadIdx.x) / kThreads;
  }
  __device__ static int index(int i) {
    return (i * kThreads + static_cast<int>(threadIdx.x) % kThreads) * 4;
  }
  __device__ void load(const float* x, int size) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      v[i] = index(i) < size ? *reinterpret_cast<const float4*>(x + index(i)) : float4{};
    }
  }
  /// Calls f(element, index) for the elements of this thread.
  template <class F>
  __device__ void each(int size, F&& f) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (index(i) < size) f(v[i], index(i));
    }
  }
  __device__ static float sum(float part) {
    if constexpr (kThreads == 32) {
      return warp_sum(part);
    } else {
      __shared__ float shared[kThreads / 32 + 1];
      return block_sum<kThreads>(part, shared);
    }
  }
};

__device__ inline float sum4(const float4& v) { return (v.x + v.y) + (v.z + v.w); }
__device__ inline float square4(const float4& v) {
  return (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
}

template <class Row>
__global__ void __launch_bounds__(Row::kBlockThreads) rms_norm_kernel(const NormArgs args) {
  wait_for_inputs();
  const int64_t row = Row::row();
  if (row >= args.count) return;
  Row x;
  x.load(args.x + row * args.ldx, args.size);
  float sum = 0.0F;
  x.each(args.size, [&](const float4& v, int) { sum += square4(v); });
  const float scale = 1.0F / sqrtf(Row::sum(sum) / static_cast<float>(args.size) + args.eps);
  bf16x1* const y = args.y + row * args.ldy;
  x.each(args.size, [&](const float4& v, int at) {
    const float4 w = *reinterpret_cast<const float4*>(args.weight + at);
    *reinterpret_cast<uint2*>(y + at) = {pack(w.x * (v.x * scale), w.y * (v.y * scale)),
                                         pack(w.z * (v.z * scale), w.w * (v.w * scale))};
  });
}

template <class Row>
__global__ void __launch_bounds__(Row::kBlockThreads) layer_norm_kernel(const NormArgs args) {
  wait_for_inputs();
  const int64_t row = Row::row();
  if (row >= args.count) return;
  Row x;
  x.load(args.x + row * args.ldx, args.size);
  float sum = 0.0F;
  x.each(args.size, [&](const float4& v, int) { sum += sum4(v); });
  const float mean = Row::sum(sum) / static_cast<float>(args.size);
  float square = 0.0F;
  x.each(args.size, [&](float4& v, int) {
    v = {v.x - mean, v.y - mean, v.z - mean, v.w - mean};
    square += square4(v);
  });
  const float scale = 1.0F / sqrtf(Row::sum(square) / static_cast<float>(args.size) + args.eps);
  bf16x1* const y = args.y + row * args.ldy;
  x.each(args.size, [&](const float4& v, int at) {
    const float4 w = *reinterpret_cast<const float4*>(args.weight + at);
    const float4 b = *reinterpret_cast<const float4*>(args.bias + at);
    *reinterpret_cast<uint2*>(y + at) = {
        pack(w.x * (v.x * scale) + b.x, w.y * (v.y * scale) + b.y),
        pack(w.z * (v.z * scale) + b.z, w.w * (v.w * scale) + b.w)};
  });
}

/// Calls launch(Row) with the kind of row that `size` elements need.
template <class LaunchRows>
void with_norm_row(int64_t size, const LaunchRows& launch_rows) {
  require(size % 4 == 0 && size <= 8192, "norm: row width");
  if (size <= 1152) {
    launch_rows(NormRow<32, 9>{});
  } else if (size <= 2048) {
    launch_rows(NormRow<128, 4>{});
  } else if (size <= 4096) {
    launch_rows(NormRow<256, 4>{});
  } else {
    launch_rows(NormRow<256, 8>{});
  }
}

template <class Row>
Launch norm_blocks(const Cuda& cuda, int64_t rows) {
  return {.grid = static_cast<unsigned>((rows + Row::kBlockRows - 1) / Row::kBlockRows),
          .block = Row::kBlockThreads,
          .stream = cuda.stream,
          .overlaps = overlaps(cuda)};
}

/// y[i,:] = rms(x[i,:]) for the rows of y.
inline void launch_rms_norm(const Cuda& cuda, Mat<const float> x, const RmsNorm& norm,
                            const ActMat& y) {
  if (y.rows == 0) return;
  with_norm_row(x.cols, [&]<class Row>(Row) {
    launch(norm_blocks<Row>(cuda, y.rows), rms_norm_kernel<Row>,
           NormArgs{.x = x.data,
                    .ldx = x.stride,
                    .weight = norm.weight.data,
                    .bias = nullptr,
                    .eps = norm.eps,
                    .size = static_cast<int>(x.cols),
                    .count = static_cast<int>(y.rows),
                    .y = static_cast<bf16x1*>(y.data),
                    .ldy = y.stride});
  });
}

/// The elements of x in order, as many at a time as the norm has; x and y lie side by side.
inline void launch_layer_norm(const Cuda& cuda, Mat<const float> x, const LayerNorm& norm,
                              const ActMat& y) {
  const int64_t size = norm.weight.size;
  const int64_t groups = y.rows * y.cols / size;
  if (groups == 0) return;
  with_norm_row(size, [&]<class Row>(Row) {
    launch(norm_blocks<Row>(cuda, groups), layer_norm_kernel<Row>,
           NormArgs{.x = x.data,
                    .ldx = size,
                    .weight = norm.weight.data,
                    .bias = norm.bias.data,
                    .eps = norm.eps,
                    .size = static_cast<int>(size),
                    .count = static_cast<int>(groups),
                    .y = static_cast<bf16x1*>(y.data),
                    .ldy = size});
  });
}

}  // namespace qvl::device

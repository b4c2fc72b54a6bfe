#pragma once

/// Matrices for the product's check: filled on the device, multiplied in float64, and compared
/// element by element with what an epilogue has stored.

#include "kernels/device/gemm.cuh"

namespace qvl::device::reference {

using bf16 = __nv_bfloat16;

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) { check(cudaMalloc(&data_, size * sizeof(T))); }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  T* get() const { return data_; }
  size_t size() const { return size_; }
  /// 0xFF in every byte is NaN in float32 and in bf16.
  void fill(int byte, cudaStream_t stream) {
    check(cudaMemsetAsync(data_, byte, size_ * sizeof(T), stream));
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

/// A well-mixed 64-bit value of an index (the finaliser of SplitMix64).
__device__ inline uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

/// Normal values times `scale`; the value depends on (row, col) and `seed`, not on the row stride.
static __global__ void fill_normal(bf16* to, int rows, int cols, int64_t stride, uint64_t seed,
                                   float scale) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (index >= int64_t{rows} * cols) return;
  const uint64_t bits = mixed(mixed(seed) ^ static_cast<uint64_t>(index));
  const float u = (static_cast<float>(bits >> 40) + 0.5F) * 0x1p-24F;
  const float v = static_cast<float>((bits >> 8) & 0xFFFFFF) * 0x1p-24F;
  const float normal = sqrtf(-2.F * logf(u)) * cospif(2.F * v);
  to[index / cols * stride + index % cols] = __float2bfloat16(normal * scale);
}

inline void fill(bf16* to, int rows, int cols, int64_t stride, uint64_t seed, float scale,
                 cudaStream_t stream) {
  const int64_t count = int64_t{rows} * cols;
  fill_normal<<<static_cast<unsigned>((count + 255) / 256), 256, 0, stream>>>(to, rows, cols,
                                                                              stride, seed, scale);
  check(cudaGetLastError());
}

/// c[m, n] = sum of a[m, k] * b[n, k] in float64, in order of k. One thread for each element.
static __global__ void reference_kernel(const bf16* a, const bf16* b, double* c, int m, int n,
                                        int k) {
  constexpr int kTile = 32;
  __shared__ double tile_a[kTile][kTile + 1];
  __shared__ double tile_b[kTile][kTile + 1];
  const int x = static_cast<int>(threadIdx.x);
  const int y = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * kTile + y;
  const int col = static_cast<int>(blockIdx.x) * kTile + x;
  const int b_row = static_cast<int>(blockIdx.x) * kTile + y;
  double sum = 0;
  for (int at = 0; at < k; at += kTile) {
    const bool in_k = at + x < k;
    tile_a[y][x] = in_k && row < m ? double{__bfloat162float(a[int64_t{row} * k + at + x])} : 0.0;
    tile_b[y][x] =
        in_k && b_row < n ? double{__bfloat162float(b[int64_t{b_row} * k + at + x])} : 0.0;
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum += tile_a[y][i] * tile_b[x][i];
    __syncthreads();
  }
  if (row < m && col < n) c[int64_t{row} * n + col] = sum;
}

/// Stores float32 and counts the calls for each pair; a call outside the matrix is only counted.
struct CountingStore {
  float* c;
  unsigned* calls;  // [m, n / 2]
  unsigned long long* outside;
  int m;
  int n;

  __device__ void operator()(int row, int col, float v0, float v1) const {
    if (row < 0 || row >= m || col < 0 || col + 1 >= n || col % 2 != 0) {
      atomicAdd(outside, 1ULL);
      return;
    }
    const int64_t index = int64_t{row} * n + col;
    c[index] = v0;
    c[index + 1] = v1;
    atomicAdd(calls + index / 2, 1U);
  }
};

/// An epilogue without its strips.
template <class Epilogue>
struct InPairs {
  Epilogue epilogue;

  __device__ void operator()(int row, int col, float v0, float v1) const {
    epilogue(row, col, v0, v1);
  }
};

/// Elements that share a fault: how many, the first in row-major order, and the box around them.
struct Fault {
  unsigned long long count;
  unsigned long long first;
  int low_row;
  int high_row;
  int low_col;
  int high_col;

  __device__ void add(int64_t index, int row, int col) {
    atomicAdd(&count, 1ULL);
    atomicMin(&first, static_cast<unsigned long long>(index));
    atomicMin(&low_row, row);
    atomicMax(&high_row, row);
    atomicMin(&low_col, col);
    atomicMax(&high_col, col);
  }
};

struct Comparison {
  double error_squares;
  double expected_squares;
  unsigned long long outside;
  Fault not_once;    // calls of the epilogue other than one
  Fault far;         // further than kFar from the float64 sum, or NaN
  Fault other_bits;  // bits unlike the product of all rows
};

constexpr double kFar = 1e-3;  // elements are near 1, rounding leaves 1e-5

static __global__ void compare_kernel(const float* c, const unsigned* calls, const double* expected,
                                      const float* same_bits, int m, int n, Comparison* out) {
  double error_squares = 0;
  double expected_squares = 0;
  const int64_t count = int64_t{m} * n;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int row = static_cast<int>(i / n);
    const int col = static_cast<int>(i % n);
    const double error = double{c[i]} - expected[i];
    error_squares += error * error;
    expected_squares += expected[i] * expected[i];
    if (calls[i / 2] != 1) out->not_once.add(i, row, col);
    if (!(fabs(error) <= kFar)) out->far.add(i, row, col);
    if (same_bits != nullptr && __float_as_uint(c[i]) != __float_as_uint(same_bits[i])) {
      out->other_bits.add(i, row, col);
    }
  }
  atomicAdd(&out->error_squares, error_squares);
  atomicAdd(&out->expected_squares, expected_squares);
}

}  // namespace qvl::device::reference

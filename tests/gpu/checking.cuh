#pragma once

/// What a check on the device needs: memory that frees itself, normal numbers, comparison of a
/// result with its definition and with other runs, and words for where they differ.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "core/cuda.h"
#include "core/dtype.h"
#include "kernels/device/numeric.cuh"

namespace qvl::device {

inline int failures = 0;

inline void fail(const std::string& what) {
  std::printf("FAILED  %s\n", what.c_str());
  ++failures;
}

template <class... Args>
std::string text(const char* format, Args... args) {
  char line[400];
  std::snprintf(line, sizeof(line), format, args...);
  return line;
}

template <class T>
class Buffer {
 public:
  explicit Buffer(size_t size) : size_(size) { check(cudaMalloc(&data_, size * sizeof(T))); }
  explicit Buffer(const std::vector<T>& from) : Buffer(from.size()) {
    check(cudaMemcpy(data_, from.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(data_); }

  T* data() const { return data_; }
  std::vector<T> read() const {
    std::vector<T> to(size_);
    check(cudaMemcpy(to.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return to;
  }
  /// All bytes 0xff: NaN in bf16 and in float.
  void poison() { check(cudaMemset(data_, 0xff, size_ * sizeof(T))); }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

/// Normal with deviation `scale`, the same for the same seed.
static __global__ void normal_kernel(bf16* x, int64_t size, uint64_t seed, float scale) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= size) return;
  uint64_t z = seed * 0x9e3779b97f4a7c15U + static_cast<uint64_t>(i) * 0xd1342543de82ef95U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  z ^= z >> 31;
  const float u = (static_cast<float>(z >> 40) + 1.0F) * 0x1p-24F;
  const float v = static_cast<float>(z & 0xffffffU) * 0x1p-24F;
  const float y = scale * sqrtf(-2.0F * logf(u)) * cospif(2.0F * v);
  x[i].bits = static_cast<uint16_t>(pack(y, 0.0F));
}

inline void fill_normal(bf16* x, int64_t size, uint64_t seed, float scale) {
  normal_kernel<<<static_cast<unsigned>((size + 255) / 256), 256>>>(x, size, seed, scale);
  check(cudaGetLastError());
}

/// A result on the host: heads of one row lie together, rows `stride` apart.
struct Shape {
  int64_t rows = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t stride = 0;
};

/// Names a row of the result: which sequence, which place in it.
using RowName = std::string (*)(const void* of, int64_t row);

/// Relative L2 error below 6e-3, for the whole and for each row and head below 3e-2, no NaN.
inline void compare(const std::string& name, const Shape& shape, const std::vector<bf16>& got,
                    const std::vector<float>& want, RowName row_name, const void* of) {
  double error = 0;
  double norm = 0;
  double worst = 0;
  std::string where;
  int64_t bad = 0;
  int64_t nans = 0;
  std::vector<int64_t> bad_columns(static_cast<size_t>(shape.head_dim / 8));
  std::vector<int64_t> bad_rows(32);
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      double head_error = 0;
      double head_norm = 0;
      for (int64_t i = 0; i < shape.head_dim; ++i) {
        const double g = static_cast<float>(
            got[static_cast<size_t>(row * shape.stride + head * shape.head_dim + i)]);
        const double w = want[static_cast<size_t>((row * shape.heads + head) * shape.head_dim + i)];
        const double d = std::isnan(g) ? 1e3 : g - w;
        nans += std::isnan(g) ? 1 : 0;
        if (std::abs(d) > 0.05 * (std::abs(w) + 0.2)) ++bad_columns[static_cast<size_t>(i / 8)];
        head_error += d * d;
        head_norm += w * w;
      }
      error += head_error;
      norm += head_norm;
      const double relative = std::sqrt(head_error / head_norm);
      if (!(relative <= 3e-2)) {
        if (bad++ == 0)
          where = text(" first bad: %s, head %lld;", row_name(of, row).c_str(),
                       static_cast<long long>(head));
        ++bad_rows[static_cast<size_t>(row % 32)];
      }
      worst = std::max(worst, relative);
    }
  }
  const double relative = std::sqrt(error / norm);
  std::printf("%-58s relative L2 %.2e, worst head %.2e\n", name.c_str(), relative, worst);
  if (relative < 6e-3 && bad == 0) return;
  std::string spread = " columns/8:";
  for (const int64_t n : bad_columns) spread += text(" %lld", static_cast<long long>(n));
  spread += "; rows mod 32:";
  for (const int64_t n : bad_rows) spread += text(" %lld", static_cast<long long>(n));
  fail(name + where +
       text(" %lld of %lld heads of rows, %lld NaN; bad ones by", static_cast<long long>(bad),
            static_cast<long long>(shape.rows * shape.heads), static_cast<long long>(nans)) +
       spread);
}

/// Rows [first, last) have the same bits.
inline void require_same(const std::string& name, const Shape& shape, const std::vector<bf16>& got,
                         const std::vector<bf16>& want, int64_t first, int64_t last,
                         RowName row_name, const void* of) {
  int64_t differing = 0;
  std::string where;
  for (int64_t row = first; row < last; ++row) {
    for (int64_t i = 0; i < shape.heads * shape.head_dim; ++i) {
      const auto at = static_cast<size_t>(row * shape.stride + i);
      if (got[at].bits == want[at].bits) continue;
      if (differing++ == 0) {
        where = text("%s, head %lld, column %lld: %g, expected %g", row_name(of, row).c_str(),
                     static_cast<long long>(i / shape.head_dim),
                     static_cast<long long>(i % shape.head_dim),
                     static_cast<double>(static_cast<float>(got[at])),
                     static_cast<double>(static_cast<float>(want[at])));
      }
    }
  }
  if (differing == 0) return;
  fail(name + text(": %lld elements differ, first ", static_cast<long long>(differing)) + where);
}

}  // namespace qvl::device

#pragma once

/// Non-owning views. The owner is an Arena, a mapped file or a vector; a view never frees.

#include <cstdint>
#include <type_traits>

#include "core/check.h"
#include "core/dtype.h"

namespace qvl {

template <class T>
struct Vec {
  T* data = nullptr;
  int64_t size = 0;

  T& operator[](int64_t i) const { return data[i]; }
  T* begin() const { return data; }
  T* end() const { return data + size; }
  Vec slice(int64_t first, int64_t count) const { return {data + first, count}; }
  operator Vec<const T>() const requires(!std::is_const_v<T>) { return {data, size}; }
};

/// Row-major matrix; `stride` is the distance between rows in elements.
template <class T>
struct Mat {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  T* row(int64_t r) const { return data + r * stride; }
  T& operator()(int64_t r, int64_t c) const { return data[r * stride + c]; }
  Mat slice_rows(int64_t first, int64_t count) const { return {row(first), count, cols, stride}; }
  Mat slice_cols(int64_t first, int64_t count) const { return {data + first, rows, count, stride}; }
  operator Mat<const T>() const requires(!std::is_const_v<T>) { return {data, rows, cols, stride}; }
};

template <class T>
Mat<T> make_mat(T* data, int64_t rows, int64_t cols) {
  return {data, rows, cols, cols};
}

/// Row-major matrix of activations, float32 or bfloat16 as the engine runs.
struct ActMat {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  template <class T>
  Mat<T> as() const {
    require(dtype == dtype_of<std::remove_const_t<T>>(), "activation matrix read as another type");
    return {static_cast<T*>(data), rows, cols, stride};
  }
  ActMat slice_rows(int64_t first, int64_t count) const {
    return {static_cast<char*>(data) + first * stride * dtype_bytes(dtype), dtype, count, cols,
            stride};
  }
  ActMat slice_cols(int64_t first, int64_t count) const {
    return {static_cast<char*>(data) + first * dtype_bytes(dtype), dtype, rows, count, stride};
  }
};

}  // namespace qvl

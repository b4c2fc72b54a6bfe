#pragma once

#include <vector>

#include "kernels/attention.h"
#include "kernels/norm_linear.h"

namespace qvl {

/// Random operands out of one arena. Without an arena it only counts the bytes that the same calls
/// would take, and the views it gives must not be read.
class KernelData {
 public:
  KernelData(Cpu& cpu, Arena* arena) : cpu_(cpu), arena_(arena) {}

  int64_t bytes() const { return bytes_; }

  void* random(DType dtype, int64_t count, float amplitude = 1.0F);
  template <class T>
  Mat<T> matrix(int64_t rows, int64_t cols) {
    return make_mat(static_cast<T*>(random(dtype_of<T>(), rows * cols)), rows, cols);
  }
  ActMat act(ActFormat format, int64_t rows, int64_t cols) {
    return {random(act_dtype(format), rows * cols), act_dtype(format), rows, cols, cols};
  }
  RmsNorm rms_norm(int64_t size) { return {norm_weight(size)}; }
  LayerNorm layer_norm(int64_t size) { return {norm_weight(size), vector(size)}; }
  /// Cosines and sines of random angles.
  RopeTable rope(int64_t rows, int64_t pairs);
  /// Random numbers from [0, limit).
  Vec<const int32_t> indices(int64_t count, int64_t limit);
  /// 0, 1, 2, …
  Vec<const int32_t> count_up(int64_t count);
  /// Packed weights with which a product is about as large as its rows.
  Linear linear(const LinearDesc& desc, bool has_bias);

 private:
  void* take(int64_t bytes);
  Vec<const float> vector(int64_t size) {
    return {static_cast<const float*>(random(DType::f32, size)), size};
  }
  Vec<const float> norm_weight(int64_t size);
  Linear int4_linear(const LinearDesc& desc, const float* bias, float amplitude);

  Cpu& cpu_;
  Arena* arena_;
  int64_t bytes_ = 0;
  uint64_t seed_ = 0;  ///< of the next random matrix
};

}  // namespace qvl

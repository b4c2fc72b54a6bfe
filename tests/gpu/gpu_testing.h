#pragma once

/// What the tests on a GPU share: a device with its scratch memory, and matrices that are copied to
/// it and back.

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "core/cuda.h"
#include "kernels/device_lists.h"
#include "kernels/kernel_testing.h"
#include "kernels/staging.h"
#include "kernels/transfer.h"

namespace qvl {

/// A GPU as the operators see it.
class TestGpu {
 public:
  explicit TestGpu(int64_t scratch_bytes = 256LL << 20) {
    const Result<CudaDeviceInfo> info = open_cuda_device(0);
    if (!info) throw std::runtime_error(info.error().message());
    stream_ = make_stream();
    scratch_ = std::move(*make_device_arena("scratch", scratch_bytes));
    memory_ = std::move(*make_device_arena("test matrices", 2LL << 30));
    const Result<Cuda> cuda = make_cuda();
    if (!cuda) throw std::runtime_error(cuda.error().message());
    cuda_ = *cuda;
    cuda_.stream = stream_.get();
    cuda_.scratch = &scratch_;
    cuda_.read_back = &read_back_;
    cuda_.staging = &staging_;
  }
  ~TestGpu() { EXPECT_EQ(scratch_.used(), 0); }

  Cuda& operator*() { return cuda_; }
  Arena& memory() { return memory_; }

  /// A copy on the device; with its gaps, so that rows keep their distance if that is allowed.
  ActMat put(TestMat& x) {
    const ActMat from = x.act();
    const int64_t size = dtype_bytes(from.dtype);
    const ActMat to = memory_.take_act(from.dtype, x.rows(), x.cols());
    for (int64_t r = 0; r < x.rows(); ++r) {
      upload(cuda_, static_cast<char*>(to.data) + r * to.stride * size,
             static_cast<char*>(from.data) + r * from.stride * size, x.cols() * size);
    }
    return to;
  }
  Mat<float> put_floats(TestMat& x) { return put(x).as<float>(); }
  Vec<const float> put_vector(const std::vector<float>& x) {
    return {put_list(x), static_cast<int64_t>(x.size())};
  }
  template <class T>
  T* put_list(const std::vector<T>& x) {
    const auto n = static_cast<int64_t>(x.size());
    T* const to = memory_.take<T>(n);
    upload(cuda_, to, x.data(), n * static_cast<int64_t>(sizeof(T)));
    return to;
  }
  /// Room for results, filled with NaN.
  ActMat room(DType dtype, int64_t rows, int64_t cols) {
    TestMat x(dtype, rows, cols);
    return put(x);
  }
  TestMat get(const ActMat& x) {
    const ActMat host = qvl::read_back(cuda_, x);
    TestMat out(x.dtype, x.rows, x.cols);
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.cols; ++c) {
        out.set(r, c,
                x.dtype == DType::bf16 ? static_cast<float>(host.as<const bf16>()(r, c))
                                       : host.as<const float>()(r, c));
      }
    }
    return out;
  }
  TestMat get(const Mat<float>& x) {
    return get(ActMat{x.data, DType::f32, x.rows, x.cols, x.stride});
  }

  Linear put_linear(const LinearDesc& desc, const TestWeight& weight, bool biased) {
    const float* bias = biased ? put_list(weight.bias) : nullptr;
    const auto read = [&](int64_t first, int64_t) { return weight.rows(first); };
    return pack_linear(cuda_, desc, read, bias, memory_);
  }

 private:
  CudaStream stream_;
  Arena scratch_;
  Arena memory_;
  std::vector<std::byte> read_back_;
  Staging staging_;
  Cuda cuda_;
};

}  // namespace qvl

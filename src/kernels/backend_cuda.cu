#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/device/products.cuh"
#include "kernels/moe_cuda.h"
#include "kernels/staging.h"
#include "kernels/transfer.h"

namespace qvl {
namespace {

/// Bytes that travel as a parameter of a kernel.
template <int kBytes>
struct Carried {
  uint32_t words[kBytes / 4];
};

template <int kBytes>
__global__ void carry_kernel(const __grid_constant__ Carried<kBytes> from, int count,
                             uint32_t* to) {
  // The next kernel begins when this one has ended: these may be weights.
  device::wait_for_predecessors();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    to[i] = from.words[i];
  }
}

/// A kernel takes less time between two others than a copy does.
template <int kBytes>
void carry(const Cuda& cuda, void* to, const void* from, int64_t bytes) {
  Carried<kBytes> carried;
  std::memcpy(carried.words, from, static_cast<size_t>(bytes));
  device::launch(device::blocks_of(cuda, 1, 128), carry_kernel<kBytes>, carried,
                 static_cast<int>(bytes / 4), static_cast<uint32_t*>(to));
}

constexpr int64_t kFewBytes = 512;

}  // namespace

/// All kernels of a program are built for the same architectures.
Result<Cuda> make_cuda() {
  int device = 0;
  check(cudaGetDevice(&device));
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device));
    return value;
  };
  const int major = attribute(cudaDevAttrComputeCapabilityMajor);
  const int minor = attribute(cudaDevAttrComputeCapabilityMinor);
  cudaFuncAttributes kernel{};
  const cudaError_t error = cudaFuncGetAttributes(&kernel, carry_kernel<kFewBytes>);
  if (error != cudaSuccess) {
    cudaGetLastError();  // not sticky
    const std::string number = std::to_string(major) + std::to_string(minor);
    return Error{ErrorCode::no_gpu,
                 "this program has no kernels for compute capability " + std::to_string(major) +
                     "." + std::to_string(minor) + " (" + cudaGetErrorString(error) +
                     "): build it with -DQVL_CUDA_ARCHITECTURES=" + number + "-real",
                 ""};
  }
  Cuda cuda;
  cuda.compute_capability = std::min(major * 10 + minor, kernel.ptxVersion);
  cuda.sm_count = attribute(cudaDevAttrMultiProcessorCount);
  cuda.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  if (cuda.compute_capability < 80) cuda.shared_bytes = std::min(cuda.shared_bytes, 64 * 1024);
  return cuda;
}

Staging::Staging(int64_t part_bytes, size_t parts)
    : part_bytes_(part_bytes), memory_(make_pinned(part_bytes * static_cast<int64_t>(parts))) {
  for (size_t i = 0; i < parts; ++i) read_.push_back(make_event());
}

std::byte* Staging::take(int64_t bytes, cudaStream_t stream) {
  require(bytes <= part_bytes_, "a piece of an upload exceeds a part");
  if (used_ + bytes > part_bytes_) {
    check(cudaEventRecord(read_[part_].get(), stream));
    part_ = (part_ + 1) % read_.size();
    used_ = 0;
    check(cudaEventSynchronize(read_[part_].get()));
  }
  std::byte* const room = memory_.get() + static_cast<int64_t>(part_) * part_bytes_ + used_;
  used_ += bytes;
  return room;
}

void Staging::copy(void* to, const void* from, int64_t bytes, cudaStream_t stream) {
  for (int64_t done = 0; done < bytes;) {
    const int64_t free = part_bytes_ - used_;
    const int64_t count = std::min(bytes - done, free > 0 ? free : part_bytes_);
    std::byte* const room = take(count, stream);
    std::memcpy(room, static_cast<const std::byte*>(from) + done, static_cast<size_t>(count));
    check(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, room, static_cast<size_t>(count),
                          cudaMemcpyHostToDevice, stream));
    done += count;
  }
}

int64_t scratch_bytes(const Cuda& cuda, const OperatorShapes& shapes) {
  // Rows of one operator in bfloat16; of patches also their bytes.
  return Arena::padded(shapes.max_input_elements * 2) + Arena::padded(shapes.max_input_elements) +
         Arena::padded(shapes.max_rows * 4) + moe_scratch_bytes(cuda, shapes.moe);
}

void upload(Cuda& cuda, void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  constexpr int64_t kMany = 4000;
  const bool words = bytes % 4 == 0 && reinterpret_cast<uintptr_t>(to) % 4 == 0;
  if (words && bytes <= kFewBytes) return carry<kFewBytes>(cuda, to, from, bytes);
  if (words && bytes <= kMany) return carry<kMany>(cuda, to, from, bytes);
  if (cuda.staging != nullptr) return cuda.staging->copy(to, from, bytes, cuda.stream);
  // From pageable memory: the driver has its own copy when the call returns.
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, cuda.stream));
}

ActMat read_back(Cuda& cuda, ActMat x) {
  const int64_t width = x.cols * dtype_bytes(x.dtype);
  cuda.read_back->resize(static_cast<size_t>(std::max<int64_t>(1, x.rows * width)));
  std::byte* const to = cuda.read_back->data();
  if (x.rows > 0) {
    check(cudaMemcpy2DAsync(to, static_cast<size_t>(width), x.data,
                            static_cast<size_t>(x.stride * dtype_bytes(x.dtype)),
                            static_cast<size_t>(width), static_cast<size_t>(x.rows),
                            cudaMemcpyDeviceToHost, cuda.stream));
  }
  check(cudaStreamSynchronize(cuda.stream));
  return {to, x.dtype, x.rows, x.cols, x.cols};
}

}  // namespace qvl

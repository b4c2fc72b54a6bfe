#include "core/cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace qvl {
namespace {

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

void release_device_memory(std::byte* data, int64_t /*bytes*/) { cudaFree(data); }

}  // namespace

void throw_cuda_error(cudaError_t error, const char* file, int line) {
  throw CudaError(fmt::format("{}:{}: {} ({})", file, line, cudaGetErrorString(error),
                              cudaGetErrorName(error)));
}

CudaStream make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return CudaStream(stream);
}

CudaEvent make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event));
  return CudaEvent(event);
}

PinnedMemory make_pinned(int64_t bytes) {
  void* data = nullptr;
  const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  check(cudaHostAlloc(&data, size, cudaHostAllocDefault));
  std::memset(data, 0, size);
  return PinnedMemory(static_cast<std::byte*>(data));
}

Result<Arena> make_device_arena(std::string name, int64_t bytes) {
  if (bytes == 0) return Arena{};
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky
    return Error{ErrorCode::does_not_fit,
                 fmt::format("{} bytes for {} were refused by the device, {} are free", bytes, name,
                             cuda_free_bytes()),
                 ""};
  }
  check(error);
  check(cudaMemset(data, 0, static_cast<size_t>(bytes)));
  check(cudaDeviceSynchronize());  // streams of ours do not wait for it
  return Arena::adopt(std::move(name), static_cast<std::byte*>(data), bytes, release_device_memory);
}

Result<CudaDeviceInfo> open_cuda_device(int index) {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) {
    return Error{ErrorCode::no_gpu, "no NVIDIA driver is loaded", ""};
  }
  if (driver / 1000 < CUDART_VERSION / 1000) {
    return Error{ErrorCode::no_gpu,
                 fmt::format("the driver offers CUDA {}, this build needs {} (driver 580 or later)",
                             version_text(driver), version_text(CUDART_VERSION)),
                 ""};
  }
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && index >= count) error = cudaErrorNoDevice;
  if (error == cudaSuccess) error = cudaSetDeviceFlags(cudaDeviceScheduleSpin);
  if (error == cudaSuccess) error = cudaSetDevice(index);
  cudaDeviceProp properties{};
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, index);
  if (error == cudaSuccess) error = cudaFree(nullptr);  // makes the context
  if (error != cudaSuccess) {
    return Error{ErrorCode::no_gpu,
                 fmt::format("device {} cannot be used: {}", index, cudaGetErrorString(error)), ""};
  }
  CudaDeviceInfo info{.index = index,
                      .name = properties.name,
                      .compute_capability = properties.major * 10 + properties.minor,
                      .sm_count = properties.multiProcessorCount,
                      .total_bytes = static_cast<int64_t>(properties.totalGlobalMem),
                      .free_bytes = cuda_free_bytes()};
  if (info.compute_capability < 75) {
    return Error{ErrorCode::no_gpu,
                 fmt::format("{} has compute capability {}.{}, 7.5 or later is needed", info.name,
                             properties.major, properties.minor),
                 ""};
  }
  return info;
}

int64_t cuda_free_bytes() {
  size_t free = 0;
  size_t total = 0;
  check(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(free);
}

}  // namespace qvl

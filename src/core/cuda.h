#pragma once

/// CUDA's handles as C++ owners, and its errors as one exception. The only header beside those of
/// kernels/device that includes the toolkit's.

#include <cuda_runtime.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "core/arena.h"
#include "qvl/result.h"

namespace qvl {

/// A call of the CUDA runtime failed. Errors of a device are often sticky: nothing runs on it any
/// more, and only ending the process helps.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void throw_cuda_error(cudaError_t error, const char* file, int line);

/// Throws CudaError unless `error` is success.
inline void check(cudaError_t error, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (error != cudaSuccess) throw_cuda_error(error, file, line);
}

struct StreamDelete {
  void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
using CudaStream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, StreamDelete>;
CudaStream make_stream();

struct EventDelete {
  void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
};
using CudaEvent = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, EventDelete>;
CudaEvent make_event();

struct GraphDelete {
  void operator()(cudaGraphExec_t graph) const noexcept { cudaGraphExecDestroy(graph); }
};
using CudaGraph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, GraphDelete>;

/// Records what `work` launches on `stream` without running it.
template <class Work>
CudaGraph record_graph(cudaStream_t stream, Work&& work) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  work();
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t made = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&made, graph, 0);
  cudaGraphDestroy(graph);
  check(error);
  return CudaGraph(made);
}

/// Host memory that the device copies from and to without a detour; zeroed.
struct PinnedFree {
  void operator()(std::byte* data) const noexcept { cudaFreeHost(data); }
};
using PinnedMemory = std::unique_ptr<std::byte[], PinnedFree>;
PinnedMemory make_pinned(int64_t bytes);

/// Memory of the current device, zeroed. Error does_not_fit.
Result<Arena> make_device_arena(std::string name, int64_t bytes);

/// What the device is and has.
struct CudaDeviceInfo {
  int index = 0;
  std::string name;
  int compute_capability = 0;  ///< 90 for 9.0; operators choose by that of make_cuda
  int sm_count = 0;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

/// Makes the context of device `index`. Error no_gpu: no device, no driver, or one that is older
/// than this build's toolkit needs; or a device before compute capability 7.5.
Result<CudaDeviceInfo> open_cuda_device(int index);

/// Free memory of the current device now.
int64_t cuda_free_bytes();

}  // namespace qvl

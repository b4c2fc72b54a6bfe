#pragma once

/// How kernels are launched: each may begin while the one before it still runs, and waits for its
/// results itself. What a kernel does before `wait_for_inputs` overlaps with its predecessor, so
/// only what no kernel of the step writes is read there: weights, the step's lists, which are
/// copied before it begins, and keys of earlier steps.

#include "core/cuda.h"
#include "kernels/backend.h"

namespace qvl::device {

/// Lets the next kernel's blocks start where there is room, once all blocks of this one have
/// started.
__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

/// The kernels before this one have ended and their results are visible after it.
__device__ inline void wait_for_predecessors() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

/// Every kernel calls it before its first access to anything but weights.
__device__ inline void wait_for_inputs() {
  let_next_begin();
  wait_for_predecessors();
}
/// The same for kernels that are short of time more than of room: the next one's blocks come when
/// those before this one have left, and spread over all multiprocessors, where they would crowd on
/// the first that are free.
__device__ inline void wait_for_inputs_alone() {
  wait_for_predecessors();
  let_next_begin();
}

/// Whether kernels may begin while the one before them runs.
inline bool overlaps(const Cuda& cuda) { return cuda.compute_capability >= 90; }

/// Whether tensor cores multiply bfloat16; float16 ends at 65,504.
inline bool multiplies_bfloat16(const Cuda& cuda) { return cuda.compute_capability >= 80; }

/// Whether there are bulk tensor copies and the products of warpgroups, which no other generation
/// has.
inline bool has_wgmma(const Cuda& cuda) { return cuda.compute_capability / 10 == 9; }

struct Launch {
  dim3 grid;
  dim3 block;
  int shared_bytes = 0;
  unsigned cluster = 1;  ///< blocks of a cluster, along x
  cudaStream_t stream = nullptr;
  bool overlaps = true;  ///< with the kernel before it; needs compute capability 9.0
};

template <class... Parameters, class... Arguments>
void launch(const Launch& how, void (*kernel)(Parameters...), Arguments&&... arguments) {
  cudaLaunchAttribute attributes[2]{};
  unsigned count = 0;
  if (how.overlaps) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (how.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {how.cluster, 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = how.grid;
  config.blockDim = how.block;
  config.dynamicSmemBytes = static_cast<size_t>(how.shared_bytes);
  config.stream = how.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...));
}

}  // namespace qvl::device

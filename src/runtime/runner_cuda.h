#pragma once

#include <optional>

#include "runtime/runner.h"

namespace qvl {

bool has_cuda_backend();
/// True if this build has the CUDA backend and kernels for the GPU, and it can be used.
bool has_gpu();

/// Memory of the GPU, or nullopt if there is none that can be used.
std::optional<int64_t> gpu_memory_bytes();

/// A runner on the GPU. Error no_gpu if there is none, or this build has no CUDA backend.
Result<std::unique_ptr<Runner>> make_cuda_runner(const ModelFiles& model,
                                                 const EngineConfig& config);

}  // namespace qvl

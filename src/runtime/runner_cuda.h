#pragma once

#include "runtime/runner.h"

namespace qvl {

/// True if this build has the CUDA backend and a GPU can be used.
bool has_gpu();

/// A runner on the GPU. Error no_gpu if there is none, or this build has no CUDA backend.
Result<std::unique_ptr<Runner>> make_cuda_runner(const ModelFiles& model,
                                                 const EngineConfig& config);

}  // namespace qvl

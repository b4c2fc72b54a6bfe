#include "runtime/runner_cuda.h"

namespace qvl {

bool has_cuda_backend() { return false; }
bool has_gpu() { return false; }

std::optional<int64_t> gpu_memory_bytes() { return std::nullopt; }

Result<std::unique_ptr<Runner>> make_cuda_runner(const ModelFiles&, const EngineConfig&) {
  return Error{ErrorCode::no_gpu, "this build has no CUDA backend", ""};
}

}  // namespace qvl

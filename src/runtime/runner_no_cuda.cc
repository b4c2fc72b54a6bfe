#include "runtime/runner_cuda.h"

namespace qvl {

bool has_gpu() { return false; }

Result<std::unique_ptr<Runner>> make_cuda_runner(const ModelFiles&, const EngineConfig&) {
  return Error{ErrorCode::no_gpu, "this build has no CUDA backend", ""};
}

}  // namespace qvl

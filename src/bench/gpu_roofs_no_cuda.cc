#include "bench/gpu_roofs.h"

namespace qvl {

Result<GpuRoofs> measure_gpu_roofs() {
  return Error{ErrorCode::no_gpu, "this build has no CUDA backend", ""};
}

}  // namespace qvl

#include "kernels/simd_avx2.h"
#include "kernels/table_kernel.h"

namespace qvl {

const CpuKernels& avx2_kernels() {
  static constexpr CpuKernels kTable = kernel_table<Avx2>();
  return kTable;
}

}  // namespace qvl

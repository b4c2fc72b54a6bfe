#include "kernels/simd_avx512.h"
#include "kernels/table_kernel.h"

namespace qvl {

const CpuKernels& avx512_kernels() {
  static constexpr CpuKernels kTable = kernel_table<Avx512<false>>();
  return kTable;
}

}  // namespace qvl

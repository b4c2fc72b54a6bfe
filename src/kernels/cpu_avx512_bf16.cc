#include "kernels/simd_avx512.h"
#include "kernels/table_kernel.h"

namespace qvl {

const CpuKernels& avx512_bf16_kernels() {
  static constexpr CpuKernels kTable = kernel_table<Avx512<true>>();
  return kTable;
}

}  // namespace qvl

#pragma once

#include "kernels/attention_kernel.h"
#include "kernels/gemm_kernel.h"
#include "kernels/peak_kernel.h"
#include "kernels/rows_kernel.h"

namespace qvl {

template <class Simd>
constexpr CpuKernels kernel_table() {
  CpuKernels table;
  table.bf16_rows = Simd::kDotPairs ? RowFormat::bf16_pairs : RowFormat::rounded_f32;
  table.gemm = &GemmKernel<Simd>::gemm;
  table.finish = &RowsKernel<Simd>::finish;
  table.norm = &RowsKernel<Simd>::norm;
  table.rows = &RowsKernel<Simd>::rows;
  table.head = &AttentionKernel<Simd>::head;
  table.softmax = &AttentionKernel<Simd>::softmax;
  table.join = &AttentionKernel<Simd>::join;
  table.divide = &AttentionKernel<Simd>::divide;
  table.blend = &RowsKernel<Simd>::blend;
  table.corners = &RowsKernel<Simd>::corners;
  table.peak = &PeakKernel<Simd>::peak;
  return table;
}

}  // namespace qvl

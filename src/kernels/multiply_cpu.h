#pragma once

/// The matrix product behind every Linear operator of the Cpu backend: rows are prepared once as a
/// left operand in scratch memory, the product is shared out over threads by column groups and
/// row blocks, and finished sums go to their place.

#include "core/function_ref.h"
#include "kernels/cpu_kernels.h"
#include "kernels/linear.h"

namespace qvl {

/// Rows of a left operand.
struct OperandRows {
  void* data = nullptr;
  int64_t stride = 0;  ///< in elements
  RowFormat format = RowFormat::f32;
};

constexpr int64_t element_bytes(RowFormat format) {
  return format == RowFormat::bf16_pairs ? 2 : 4;
}
/// Where prepared rows of `in` elements lie apart: one cache line beyond a whole number of them,
/// for rows of 4096 bytes would share their cache sets.
constexpr int64_t operand_stride(int64_t in) { return (in + 31) / 32 * 32 + 32; }

/// Prepares rows [first, first + count); `to` is the first one's place.
using PrepareRows = FunctionRef<void(int64_t first, int64_t count, const OperandRows& to)>;

struct Product {
  Finish finish = Finish::store;
  ActMat y;
};

/// How this backend wants the rows of x.
RowFormat row_format(const Cpu& cpu, const LinearDesc& desc);
constexpr ValueType value_type(DType dtype) {
  return dtype == DType::bf16 ? ValueType::bf16 : ValueType::f32;
}

/// Rows of one thread's sums at a time; with kGroupCols columns they stay in the second-level
/// cache.
constexpr int64_t kBlockRows = 192;
/// sums = rows [first, first + count) of `a` by panels [panel, panel + panels) of w, at most
/// kBlockRows by kGroupPanels of them, without bias.  sums: [count, kGroupCols]
void multiply_panels(const Cpu& cpu, const OperandRows& a, int64_t first, int64_t count,
                     const Linear& w, int64_t panel, int64_t panels, float* sums);

/// y.rows rows of the product, from rows that `prepare` makes.
void multiply(Cpu& cpu, PrepareRows prepare, const Linear& w, const Product& product);
/// The same, from rows that are a left operand already.
void multiply(Cpu& cpu, const OperandRows& rows, const Linear& w, const Product& product);

/// Scratch bytes of a product: the prepared rows, at most 960 of them, and each thread's sums.
int64_t multiply_scratch_bytes(const Cpu& cpu, int64_t rows, int64_t in);

}  // namespace qvl

#pragma once

/// y = x·Wᵀ + b: the weight's format and the activations' format are both part of what a Linear is.

#include <cstdint>

#include "core/arena.h"
#include "core/function_ref.h"
#include "core/view.h"
#include "kernels/backend.h"

namespace qvl {

/// int4: q and zero points of 4 bits, a float32 scale per group of columns, as core/int4_row.h; the
/// products are those of q − zero, exact in every activation format, and the scale is applied to
/// each group's sum.
enum class WeightFormat : uint8_t { f32, f16, bf16, int4 };

/// bf16: the rows of x are rounded to bfloat16 before they are multiplied; products and sums are
/// float32.
enum class ActFormat : uint8_t { f32, bf16 };

constexpr DType act_dtype(ActFormat format) {
  return format == ActFormat::bf16 ? DType::bf16 : DType::f32;
}

/// How the rows of W relate to each other. gate_up: the first half of W is the gate, the second
/// half the up projection, which a backend may interleave.
enum class LinearKind : uint8_t { plain, gate_up };

struct LinearDesc {
  int64_t out = 0;
  int64_t in = 0;
  WeightFormat weight = WeightFormat::bf16;
  ActFormat activation = ActFormat::bf16;
  LinearKind kind = LinearKind::plain;
  int64_t group_size = 0;  ///< of int4: columns that share a scale
};

/// A view of packed weights; the layout behind `data` is the backend's own. Immutable and
/// shareable.
struct Linear {
  LinearDesc desc;
  const void* data = nullptr;
  const float* bias = nullptr;  ///< [out], or null
};

/// True if products with this int4 W exist; else it must be packed as floats.
bool keeps_int4(const Ref&, const LinearDesc& desc);
bool keeps_int4(const Cpu&, const LinearDesc& desc);
bool keeps_int4(const Cuda&, const LinearDesc& desc);

/// Scratch bytes that products with this W take beyond scratch_bytes: not of a W that only a few
/// rows of a step are multiplied by, as the head's are.
inline int64_t product_scratch_bytes(const Ref&, const LinearDesc&) { return 0; }
inline int64_t product_scratch_bytes(const Cpu&, const LinearDesc&) { return 0; }
int64_t product_scratch_bytes(const Cuda&, const LinearDesc& desc);

/// Gives rows [first, first + count) of W, row-major in the weight's format, valid until the next
/// call.
using RowReader = FunctionRef<const void*(int64_t first, int64_t count)>;

/// Arena bytes of a packed W of this shape.
int64_t packed_bytes(const Ref&, const LinearDesc& desc);
int64_t packed_bytes(const Cpu&, const LinearDesc& desc);
int64_t packed_bytes(const Cuda&, const LinearDesc& desc);

/// Reads W once, in order, and packs it into `arena`; `bias` is [out] float32 with the arena's
/// lifetime or null.
Linear pack_linear(Ref&, const LinearDesc& desc, RowReader rows, const float* bias, Arena& arena);
Linear pack_linear(Cpu&, const LinearDesc& desc, RowReader rows, const float* bias, Arena& arena);
Linear pack_linear(Cuda&, const LinearDesc& desc, RowReader rows, const float* bias, Arena& arena);

/// y = act(x·Wᵀ + b).  x: [rows, in] of the Linear's activation dtype; y: [rows, out] of any
/// activation dtype. y must not overlap x.
void linear(Ref&, RowRoles roles, ActMat x, const Linear& w, ActMat y);
void linear(Cpu&, RowRoles roles, ActMat x, const Linear& w, ActMat y);
void linear(Cuda&, RowRoles roles, ActMat x, const Linear& w, ActMat y);

/// x += a·Wᵀ + b, the sum over `in` finished in float32 before it is added.  a: [rows, in], x:
/// [rows, out]. Attention output, MLP down projection and their vision counterparts.
void linear_residual(Ref&, RowRoles roles, ActMat a, const Linear& w, Mat<float> x);
void linear_residual(Cpu&, RowRoles roles, ActMat a, const Linear& w, Mat<float> x);
void linear_residual(Cuda&, RowRoles roles, ActMat a, const Linear& w, Mat<float> x);

/// x[i,:] = W[ids[i],:] widened to float32: the embedding, from the same packed copy that a tied
/// head uses; not of an int4 W. ids must lie in [0, out).
void gather_rows(Ref&, Vec<const int32_t> ids, const Linear& w, Mat<float> x);
void gather_rows(Cpu&, Vec<const int32_t> ids, const Linear& w, Mat<float> x);
void gather_rows(Cuda&, Vec<const int32_t> ids, const Linear& w, Mat<float> x);

}  // namespace qvl

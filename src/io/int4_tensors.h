#pragma once

/// Weights of 4 and 8 bits in groups that share a scale and a zero point, in the three layouts that
/// are published. W is [out, in]; a 4-bit W becomes an i4 tensor (core/int4_row.h), one of 8 bits,
/// or with columns in no order of groups, an exact float32 one.

#include <memory>
#include <string>

#include "io/derived_tensor.h"
#include "io/quantization_config.h"
#include "qvl/result.h"

namespace qvl {

/// The stored tensors of one Linear; null: not there.
struct GroupedParts {
  std::string name;  ///< of W: "….q_proj.weight"
  const TensorInfo* values = nullptr;
  const TensorInfo* scales = nullptr;
  const TensorInfo* zeros = nullptr;
  const TensorInfo* group_index = nullptr;
};

using DerivedResult = Result<std::unique_ptr<DerivedTensor>>;

/// AWQ "gemm": qweight int32 [in, out / 8], qzeros int32 [groups, out / 8], scales [groups, out].
/// Nibble p of a word is column [0, 2, 4, 6, 1, 3, 5, 7][p] of its eight. W = (q − z)·s.
DerivedResult awq_tensor(const TensorSource& source, const GroupedParts& parts);

/// GPTQ: qweight int32 [in · bits / 32, out], low bits first along `in`; qzeros int32 [groups,
/// out · bits / 32], natural order, stored less one unless "gptq_v2"; scales [groups, out]; g_idx
/// int32 [in] or absent. W = (q − z)·s.
DerivedResult gptq_tensor(const TensorSource& source, const GroupedParts& parts,
                          const QuantizationConfig& config);

/// compressed-tensors "pack-quantized": weight_packed int32 [out, in · bits / 32], low bits first,
/// stored plus 2^(bits − 1); weight_scale [out, groups]; weight_zero_point int32
/// [out · bits / 32, groups], packed along `out`, or absent: symmetric; weight_g_idx int32 [in] or
/// absent. W = (q − z)·s. The number of bits follows from the shapes and `in`.
DerivedResult packed_tensor(const TensorSource& source, const GroupedParts& parts, int bits);

}  // namespace qvl

#pragma once

/// Weights of 8 bits, one element each, times a scale per tensor, per row or per block: FP8 of all
/// kinds and INT8. They become exact float32 tensors.

#include <memory>
#include <string>

#include "io/derived_tensor.h"
#include "io/quantization_config.h"
#include "qvl/result.h"

namespace qvl {

/// W[n, k] = values[n, k] · scale. values: FP8 or INT8 [out, in]. scales: one element; or [out] or
/// [out, 1]; or [⌈out / block_rows⌉, ⌈in / block_cols⌉]. `extras` belong to the format and are not
/// needed (scales of activations).
Result<std::unique_ptr<DerivedTensor>> scaled_tensor(const TensorSource& source, std::string name,
                                                     const TensorInfo& values,
                                                     const TensorInfo& scales,
                                                     const QuantizationConfig& config,
                                                     const std::vector<const TensorInfo*>& extras);

}  // namespace qvl

#pragma once

/// A checkpoint's tensors as the model asks for them: one matrix per projection, floats or i4 rows,
/// whatever form the file has.

#include <memory>

#include "io/model_config.h"
#include "io/tensor_source.h"
#include "qvl/result.h"

namespace qvl {

/// Takes over `stored`, canonical names as open_checkpoint gives them. What a tensor is follows
/// from the tensors that are there, as different exporters quantise different parts of a model; the
/// config only says what tensors cannot. Tensors that belong to a format and are not needed
/// (activation and cache scales, stored shapes) are left out, all others come through. Only headers
/// and the column orders of GPTQ are read. Errors: missing_tensor, bad_tensor, unsupported_model.
Result<std::unique_ptr<TensorSource>> model_tensors(std::unique_ptr<TensorSource> stored,
                                                    const ModelConfig& config);

}  // namespace qvl

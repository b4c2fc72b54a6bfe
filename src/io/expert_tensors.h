#pragma once

/// The experts of a layer, stored as one tensor of three dimensions, as a matrix per projection and
/// expert: the form in which quantised checkpoints have them anyway.

#include <memory>
#include <string>
#include <vector>

#include "io/derived_tensor.h"
#include "io/model_config.h"
#include "qvl/result.h"

namespace qvl {

/// `fused` is "….mlp.experts.gate_up_proj" or "….mlp.experts.down_proj", and `scales` the FP8
/// block scales in the same order of axes, or null. Published files have [experts, in, out], some
/// re-saved ones [experts, out, in]: the axis that has hidden_size elements tells; if both have,
/// it is the published order. Gives "….mlp.experts.E.gate_proj.weight" and up_proj, or down_proj,
/// [out, in] each, gates before ups in the fused tensor.
Result<std::vector<std::unique_ptr<DerivedTensor>>> expert_tensors(const TensorSource& source,
                                                                   const TensorInfo& fused,
                                                                   const TensorInfo* scales,
                                                                   const ModelConfig& config);

}  // namespace qvl

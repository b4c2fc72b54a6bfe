#pragma once

/// What a checkpoint is made of, from the headers of its files alone. It also describes checkpoints
/// that the engine cannot run.

#include <string>
#include <vector>

#include "io/tensor_source.h"

namespace qvl {

/// Tensors of one part of the model that are stored alike.
struct TensorGroup {
  std::string part;        ///< "vision", "embedding", "attention", "mlp", "experts", "router",
                           ///< "norms", "head", "other"
  std::string format;      ///< "BF16", "F8_E4M3", "4-bit", …
  int64_t tensors = 0;     ///< that hold parameters; scales and the like are not counted
  int64_t parameters = 0;  ///< as the model sees them: eight of 4 bits in an I32
  int64_t bytes = 0;       ///< with scales, zero points and indices

  auto operator<=>(const TensorGroup&) const = default;
};

struct DTypeShare {
  DType dtype;
  int64_t tensors = 0;
  int64_t bytes = 0;
};

struct CheckpointSummary {
  int64_t text_parameters = 0;  ///< everything but the vision tower
  int64_t vision_parameters = 0;
  int64_t tensors = 0;
  int64_t tensor_bytes = 0;
  std::vector<DTypeShare> dtypes;   ///< most bytes first
  std::vector<TensorGroup> groups;  ///< in the order of the list above, then by format
};

/// `packed_bits` is the width of a weight in an AWQ, GPTQ or compressed-tensors file, which only
/// config.json knows; 0 counts as 4.
CheckpointSummary summarize(const TensorSource& weights, int packed_bits);

}  // namespace qvl

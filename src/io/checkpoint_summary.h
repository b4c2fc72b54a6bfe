#pragma once

/// What a checkpoint is made of, from config.json and the headers of its files alone: parameters,
/// formats and how it is quantised. It also describes checkpoints that the engine cannot run.

#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_source.h"

namespace qvl {

/// The quantization_config of config.json, as far as the common methods agree.
struct Quantization {
  std::string method;      ///< "awq", "gptq", "fp8", …; empty: not quantised
  int bits = 0;            ///< of a weight; 0: not said
  int64_t group_size = 0;  ///< weights that share a scale; -1: a whole channel; 0: not said
  std::vector<std::string> details;  ///< "zero points", "act-order", "blocks of 128×128", …
  std::vector<std::string> skipped;  ///< modules that stay as they were, names or patterns

  /// "awq, 4 bits, groups of 128, gemm"; "none".
  std::string text() const;
};

/// Fields that are not as expected are left out: only config.json as a whole has to be valid JSON.
Result<Quantization> parse_quantization(std::string_view config_json);

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
  Quantization quantization;
  int64_t text_parameters = 0;  ///< everything but the vision tower
  int64_t vision_parameters = 0;
  int64_t tensors = 0;
  int64_t tensor_bytes = 0;
  std::vector<DTypeShare> dtypes;   ///< most bytes first
  std::vector<TensorGroup> groups;  ///< in the order of the list above, then by format
};

CheckpointSummary summarize(const Quantization& quantization, const TensorSource& weights);

}  // namespace qvl

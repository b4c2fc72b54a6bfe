#pragma once

/// quantization_config of config.json: how a checkpoint's Linears are stored. What a single tensor
/// is follows from the tensors themselves (io/model_tensors.h); this says what they cannot.

#include <cstdint>
#include <string>

namespace qvl {

class JsonReader;

enum class QuantMethod : uint8_t { none, awq, gptq, compressed_tensors, fp8 };

struct QuantizationConfig {
  QuantMethod method = QuantMethod::none;
  int bits = 0;            ///< of a weight; 0: several, or not said
  int64_t group_size = 0;  ///< weights along `in` that share a scale; -1: a whole row, 0: not said
  /// GPTQ stores zero points less one, except in checkpoint_format "gptq_v2".
  bool gptq_v2 = false;
  int64_t block_rows = 128;  ///< of W that share a block-wise FP8 scale
  int64_t block_cols = 128;
};

/// Reads `quantization_config`, or the older `compression_config`, of an object that has one. What
/// this engine cannot read (bitsandbytes, NVFP4, sparse weights, …) becomes unsupported_model.
QuantizationConfig read_quantization(JsonReader& parent);

/// "AWQ, 4 bits, groups of 128"; empty for none.
std::string quantization_text(const QuantizationConfig& config);

}  // namespace qvl

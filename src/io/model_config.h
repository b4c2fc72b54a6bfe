#pragma once

/// config.json of a Qwen3-VL checkpoint as plain numbers. Both spellings are read: rope_theta +
/// rope_scaling (transformers 4) and rope_parameters (transformers 5).

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/quantization_config.h"
#include "qvl/result.h"

namespace qvl {

struct TextConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  float rms_norm_eps = 1e-6F;
  double rope_theta = 0;
  std::array<int, 3> mrope_section{};  ///< frequencies per axis: T, H, W; they sum to head_dim / 2
  int64_t num_experts = 0;             ///< of every layer's MLP; 0: a dense model
  int64_t num_experts_per_tok = 0;
  int64_t moe_intermediate_size = 0;  ///< of one expert; a dense model has intermediate_size

  int64_t q_size() const { return num_attention_heads * head_dim; }
  int64_t kv_size() const { return num_key_value_heads * head_dim; }
  bool is_moe() const { return num_experts > 0; }
};

struct VisionConfig {
  int64_t depth = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_heads = 0;
  int64_t out_hidden_size = 0;
  int64_t num_position_embeddings = 0;  ///< a square number: side × side
  int patch_size = 16;
  int temporal_patch_size = 2;
  int spatial_merge_size = 2;
  std::vector<int> deepstack_visual_indexes;

  int64_t head_dim() const { return hidden_size / num_heads; }
  int64_t patch_dim() const { return int64_t{3} * temporal_patch_size * patch_size * patch_size; }
  int64_t merge_unit() const { return int64_t{spatial_merge_size} * spatial_merge_size; }
};

struct ModelConfig {
  TextConfig text;
  VisionConfig vision;
  QuantizationConfig quantization;
  bool tie_word_embeddings = false;
  int32_t image_token_id = -1;
  int32_t video_token_id = -1;
  int32_t vision_start_token_id = -1;
  int32_t vision_end_token_id = -1;
};

/// Every number is range-checked; what this engine cannot run (YaRN, unknown quantisation, layers
/// that mix experts and dense MLPs) is unsupported_model and says which field.
Result<ModelConfig> parse_model_config(std::string_view json);

/// The config.json text of `config`, in the published form; of quantised ones only AWQ is written.
std::string model_config_json(const ModelConfig& config);

}  // namespace qvl

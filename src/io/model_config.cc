#include "io/model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <set>

#include "io/json.h"

namespace qvl {
namespace {

using nlohmann::json;

constexpr const char* kFile = "config.json";

// Limits far above every published model and so low that products of them fit 63 bits.
constexpr IntRange kLayers = {1, 1024};
constexpr IntRange kWidth = {1, 65'536};
constexpr IntRange kMlpWidth = {1, int64_t{1} << 20};
constexpr IntRange kExperts = {1, 1024};
constexpr IntRange kHeads = {1, 4096};
constexpr IntRange kHeadDim = {2, 4096};
constexpr int64_t kMaxAttentionWidth = int64_t{1} << 20;
constexpr IntRange kVocabulary = {1, int64_t{1} << 22};
constexpr IntRange kContext = {1, int64_t{1} << 27};
constexpr IntRange kGrid = {1, int64_t{1} << 20};
constexpr IntRange kPatch = {1, 64};

/// What `field` must be for this engine, if it is there at all.
void expect_text(JsonReader& reader, std::string_view field, std::string_view expected) {
  if (reader.text(field, expected) != expected) {
    reader.fail(field, in_quotes(expected), ErrorCode::unsupported_model);
  }
}

void expect_boolean(JsonReader& reader, std::string_view field, bool expected) {
  if (reader.boolean(field, expected) != expected) {
    reader.fail(field, expected ? "true" : "false", ErrorCode::unsupported_model);
  }
}

void expect_integer(JsonReader& reader, std::string_view field, int64_t expected) {
  if (reader.integer(field, {0, kWidth.max}, expected) != expected) {
    reader.fail(field, fmt::to_string(expected), ErrorCode::unsupported_model);
  }
}

/// Refuses other families by the field that gives them away, before any number is read. True for
/// the mixture-of-experts family.
bool check_family(JsonReader& root, JsonReader& text) {
  if (!root.has("model_type")) root.fail("model_type", "\"qwen3_vl\" or \"qwen3_vl_moe\"");
  const std::string type = root.text("model_type", "qwen3_vl");
  const bool is_moe = type == "qwen3_vl_moe";
  if (!is_moe && type != "qwen3_vl") {
    root.fail("model_type", "\"qwen3_vl\" or \"qwen3_vl_moe\"", ErrorCode::unsupported_model);
  }
  expect_text(text, "model_type", is_moe ? "qwen3_vl_moe_text" : "qwen3_vl_text");
  for (const char* field : {"num_experts", "num_local_experts"}) {
    const json* const experts = text.find(field);
    if (!is_moe && experts != nullptr && *experts != 0) {
      text.fail(field, "none with the model_type \"qwen3_vl\"", ErrorCode::unsupported_model);
    }
  }
  return is_moe;
}

void read_experts(JsonReader& reader, TextConfig& text) {
  text.num_experts = reader.integer("num_experts", kExperts);
  text.num_experts_per_tok = reader.integer("num_experts_per_tok", kExperts);
  text.moe_intermediate_size = reader.integer("moe_intermediate_size", kMlpWidth);
  expect_integer(reader, "decoder_sparse_step", 1);
  if (reader.has("mlp_only_layers") &&
      !reader.integers("mlp_only_layers", {0, kLayers.max}, static_cast<size_t>(kLayers.max))
           .empty()) {
    reader.fail("mlp_only_layers", "an empty list", ErrorCode::unsupported_model);
  }
  if (text.num_experts_per_tok > text.num_experts) {
    reader.fail("num_experts_per_tok", fmt::format("at most num_experts, {}", text.num_experts));
  }
}

void read_rope(JsonReader& text, TextConfig& config) {
  JsonReader rope =
      text.optional_object(text.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  expect_text(rope, rope.has("rope_type") ? "rope_type" : "type", "default");
  expect_boolean(rope, "mrope_interleaved", true);
  // Never a default: the reference's own has changed between versions.
  config.rope_theta = (rope.has("rope_theta") ? rope : text).number("rope_theta", {1, 1e12});
  if (!rope.has("mrope_section")) {
    config.mrope_section = {24, 20, 20};  // as the reference does
    return;
  }
  const std::vector<int64_t> section = rope.integers("mrope_section", {0, kHeadDim.max}, 3);
  if (section.size() != 3) {
    rope.fail("mrope_section", "a list of 3 whole numbers");
    return;
  }
  std::copy(section.begin(), section.end(), config.mrope_section.begin());
}

TextConfig read_text(JsonReader& reader, bool is_moe) {
  TextConfig text;
  text.vocab_size = reader.integer("vocab_size", kVocabulary);
  text.hidden_size = reader.integer("hidden_size", kWidth);
  if (is_moe) {
    read_experts(reader, text);
  } else {
    text.intermediate_size = reader.integer("intermediate_size", kMlpWidth);
  }
  text.num_hidden_layers = reader.integer("num_hidden_layers", kLayers);
  text.num_attention_heads = reader.integer("num_attention_heads", kHeads);
  text.num_key_value_heads = reader.integer("num_key_value_heads", kHeads);
  text.head_dim = reader.integer("head_dim", kHeadDim);
  text.max_position_embeddings = reader.integer("max_position_embeddings", kContext);
  text.rms_norm_eps =
      static_cast<float>(reader.number("rms_norm_eps", {1e-12, 1}, double{text.rms_norm_eps}));
  expect_text(reader, "hidden_act", "silu");
  expect_boolean(reader, "attention_bias", false);
  read_rope(reader, text);
  return text;
}

VisionConfig read_vision(JsonReader& reader) {
  VisionConfig vision;
  vision.depth = reader.integer("depth", kLayers);
  vision.hidden_size = reader.integer("hidden_size", kWidth);
  vision.intermediate_size = reader.integer("intermediate_size", kMlpWidth);
  vision.num_heads = reader.integer("num_heads", kHeads);
  vision.out_hidden_size = reader.integer("out_hidden_size", kWidth);
  vision.num_position_embeddings = reader.integer("num_position_embeddings", kGrid);
  vision.patch_size = static_cast<int>(reader.integer("patch_size", kPatch, vision.patch_size));
  expect_integer(reader, "temporal_patch_size", vision.temporal_patch_size);
  expect_integer(reader, "spatial_merge_size", vision.spatial_merge_size);
  expect_integer(reader, "in_channels", 3);
  expect_text(reader, "hidden_act", "gelu_pytorch_tanh");
  for (const int64_t index : reader.integers("deepstack_visual_indexes", {0, kLayers.max},
                                             static_cast<size_t>(kLayers.max))) {
    vision.deepstack_visual_indexes.push_back(static_cast<int>(index));
  }
  return vision;
}

void check_text(JsonReader& reader, const TextConfig& text) {
  if (text.num_attention_heads % text.num_key_value_heads != 0) {
    reader.fail("num_attention_heads",
                fmt::format("a multiple of num_key_value_heads, {}", text.num_key_value_heads));
  }
  if (text.head_dim % 2 != 0) reader.fail("head_dim", "an even number");
  if (text.q_size() > kMaxAttentionWidth) {
    reader.fail("num_attention_heads",
                fmt::format("num_attention_heads × head_dim of at most {}", kMaxAttentionWidth));
  }
  const auto& section = text.mrope_section;
  if (std::accumulate(section.begin(), section.end(), 0) != text.head_dim / 2) {
    reader.fail("head_dim", fmt::format("twice the sum of mrope_section, {} + {} + {}", section[0],
                                        section[1], section[2]));
  }
}

void check_vision(JsonReader& reader, const VisionConfig& vision, const TextConfig& text) {
  if (vision.hidden_size % (4 * vision.num_heads) != 0) {
    reader.fail("hidden_size",
                fmt::format("a multiple of 4 × num_heads, {}", 4 * vision.num_heads));
  }
  if (vision.out_hidden_size != text.hidden_size) {
    reader.fail("out_hidden_size",
                fmt::format("the hidden_size of text_config, {}", text.hidden_size));
  }
  const int64_t side = std::lround(std::sqrt(static_cast<double>(vision.num_position_embeddings)));
  if (side * side != vision.num_position_embeddings) {
    reader.fail("num_position_embeddings", "a square number");
  }
  const auto& indexes = vision.deepstack_visual_indexes;
  if (indexes.size() > static_cast<size_t>(text.num_hidden_layers)) {
    reader.fail("deepstack_visual_indexes",
                fmt::format("at most one per layer of the text model, {}", text.num_hidden_layers));
  }
  int previous = -1;
  for (const int index : indexes) {
    if (index <= previous || index >= vision.depth) {
      reader.fail("deepstack_visual_indexes",
                  fmt::format("ascending numbers below depth, {}, but found {} after {}",
                              vision.depth, index, previous));
    }
    previous = index;
  }
}

void read_token_ids(JsonReader& root, ModelConfig& config) {
  const IntRange ids = {0, config.text.vocab_size - 1};
  std::set<int64_t> distinct;
  const auto read = [&](std::string_view field) {
    const int64_t id = root.integer(field, ids);
    if (!distinct.insert(id).second) root.fail(field, "a different id for each special token");
    return static_cast<int32_t>(id);
  };
  config.image_token_id = read("image_token_id");
  config.video_token_id = read("video_token_id");
  config.vision_start_token_id = read("vision_start_token_id");
  config.vision_end_token_id = read("vision_end_token_id");
}

/// The double that prints as `value` does: 1e-06, not 9.999999974752427e-07.
double shortest_double(float value) {
  return std::strtod(fmt::format("{}", value).c_str(), nullptr);
}

json text_json(const ModelConfig& config) {
  const TextConfig& text = config.text;
  json document = {
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      // The tokenizer's ids of <|endoftext|> and <|im_end|>, as in every published size.
      {"bos_token_id", 151'643},
      {"dtype", "bfloat16"},
      {"eos_token_id", 151'645},
      {"head_dim", text.head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", text.hidden_size},
      {"initializer_range", 0.02},
      {"max_position_embeddings", text.max_position_embeddings},
      {"model_type", text.is_moe() ? "qwen3_vl_moe_text" : "qwen3_vl_text"},
      {"num_attention_heads", text.num_attention_heads},
      {"num_hidden_layers", text.num_hidden_layers},
      {"num_key_value_heads", text.num_key_value_heads},
      {"rms_norm_eps", shortest_double(text.rms_norm_eps)},
      {"rope_scaling",
       {{"mrope_interleaved", true},
        {"mrope_section", text.mrope_section},
        {"rope_type", "default"}}},
      {"rope_theta", text.rope_theta},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"use_cache", true},
      {"vocab_size", text.vocab_size},
  };
  if (text.is_moe()) {
    document["decoder_sparse_step"] = 1;
    document["mlp_only_layers"] = json::array();
    document["moe_intermediate_size"] = text.moe_intermediate_size;
    document["norm_topk_prob"] = true;
    document["num_experts"] = text.num_experts;
    document["num_experts_per_tok"] = text.num_experts_per_tok;
  } else {
    document["intermediate_size"] = text.intermediate_size;
  }
  return document;
}

json vision_json(const VisionConfig& vision, const char* model_type) {
  return {
      {"deepstack_visual_indexes", vision.deepstack_visual_indexes},
      {"depth", vision.depth},
      {"hidden_act", "gelu_pytorch_tanh"},
      {"hidden_size", vision.hidden_size},
      {"in_channels", 3},
      {"initializer_range", 0.02},
      {"intermediate_size", vision.intermediate_size},
      {"model_type", model_type},
      {"num_heads", vision.num_heads},
      {"num_position_embeddings", vision.num_position_embeddings},
      {"out_hidden_size", vision.out_hidden_size},
      {"patch_size", vision.patch_size},
      {"spatial_merge_size", vision.spatial_merge_size},
      {"temporal_patch_size", vision.temporal_patch_size},
  };
}

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view text) {
  const Result<json> document = parse_json(text);
  if (!document) return Error{document.error().code, document.error().detail, kFile};

  std::optional<Error> error;
  JsonReader root(*document, kFile, error);
  JsonReader text_reader = root.optional_object("text_config");
  const bool is_moe = check_family(root, text_reader);
  ModelConfig config;
  config.quantization = read_quantization(root);
  if (config.quantization.method == QuantMethod::none) {
    config.quantization = read_quantization(text_reader);
  }
  text_reader = root.object("text_config");
  JsonReader vision_reader = root.object("vision_config");
  config.text = read_text(text_reader, is_moe);
  config.vision = read_vision(vision_reader);
  config.tie_word_embeddings =
      root.boolean("tie_word_embeddings", text_reader.boolean("tie_word_embeddings", false));
  // The relations divide by what was read: only when all of it is in range.
  if (error) return *error;
  check_text(text_reader, config.text);
  check_vision(vision_reader, config.vision, config.text);
  read_token_ids(root, config);
  if (error) return *error;
  return config;
}

std::string model_config_json(const ModelConfig& config) {
  const bool is_moe = config.text.is_moe();
  const char* const model_type = is_moe ? "qwen3_vl_moe" : "qwen3_vl";
  json document = {
      {"architectures",
       {is_moe ? "Qwen3VLMoeForConditionalGeneration" : "Qwen3VLForConditionalGeneration"}},
      {"image_token_id", config.image_token_id},
      {"model_type", model_type},
      {"text_config", text_json(config)},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"transformers_version", "4.57.0.dev0"},
      {"video_token_id", config.video_token_id},
      {"vision_config", vision_json(config.vision, model_type)},
      {"vision_end_token_id", config.vision_end_token_id},
      {"vision_start_token_id", config.vision_start_token_id},
  };
  if (config.quantization.method == QuantMethod::awq) {
    json& quantization = document["quantization_config"];
    quantization = {{"bits", config.quantization.bits},
                    {"quant_method", "awq"},
                    {"version", "gemm"},
                    {"zero_point", true}};
    if (config.quantization.group_size > 0) {
      quantization["group_size"] = config.quantization.group_size;
    }
  }
  return document.dump(4) + "\n";
}

}  // namespace qvl

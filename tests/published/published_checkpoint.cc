#include "published_checkpoint.h"

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace qvl::published {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kVocabulary = 151'936;
constexpr int64_t kHeadDim = 128;
constexpr int64_t kShardBytes = 5'000'000'000;

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;

  int64_t bytes() const {
    int64_t n = dtype == "I64"                      ? 8
                : dtype == "F32" || dtype == "I32"  ? 4
                : dtype == "F16" || dtype == "BF16" ? 2
                                                    : 1;
    for (const int64_t d : shape) n *= d;
    return n;
  }
};

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

bool is_unfused(Format format) {
  return format != Format::bf16 && format != Format::bf16_transposed && format != Format::fp8_block;
}

/// The tensors of one checkpoint, by their published names.
class Writer {
 public:
  Writer(const Size& size, Format format) : size_(size), format_(format) {}

  std::vector<Tensor> tensors() && {
    add_vision();
    add_text();
    return std::move(tensors_);
  }

 private:
  void plain(std::string name, std::vector<int64_t> shape) {
    tensors_.push_back({std::move(name), float_type(), std::move(shape)});
  }
  void add(std::string name, std::string dtype, std::vector<int64_t> shape) {
    tensors_.push_back({std::move(name), std::move(dtype), std::move(shape)});
  }

  /// What is left as it was: AWQ and GPTQ tools write half precision.
  std::string float_type() const {
    switch (format_) {
      case Format::awq:
      case Format::gptq:
      case Format::gptq_act_order:
      case Format::bnb_int8:
        return "F16";
      default:
        return "BF16";
    }
  }

  /// The weight [n, k] of a Linear that the format quantises.
  void quantised(const std::string& module, int64_t n, int64_t k) {
    const std::string weight = module + ".weight";
    switch (format_) {
      case Format::bf16:
      case Format::bf16_unfused:
      case Format::bf16_transposed:
        plain(weight, {n, k});
        return;
      case Format::fp8_block:
      case Format::fp8_block_unfused:
        add(weight, "F8_E4M3", {n, k});
        add(weight + "_scale_inv", format_ == Format::fp8_block ? "BF16" : "F32",
            {blocks(n, 128), blocks(k, 128)});
        return;
      case Format::fp8_block_compressed:
        add(weight, "F8_E4M3", {n, k});
        add(weight + "_scale", "BF16", {blocks(n, 128), blocks(k, 128)});
        return;
      case Format::fp8_tensor:
        add(weight, "F8_E4M3", {n, k});
        add(weight + "_scale", "F32", {});
        add(module + ".input_scale", "F32", {});
        return;
      case Format::fp8_channel:
        add(weight, "F8_E4M3", {n, k});
        add(weight + "_scale", "BF16", {n, 1});
        return;
      case Format::awq:
        add(module + ".qweight", "I32", {k, n / 8});
        add(module + ".qzeros", "I32", {k / 128, n / 8});
        add(module + ".scales", "F16", {k / 128, n});
        return;
      case Format::gptq:
      case Format::gptq_act_order:
        add(module + ".qweight", "I32", {k / 8, n});
        add(module + ".qzeros", "I32", {k / 128, n / 8});
        add(module + ".scales", "F16", {k / 128, n});
        add(module + ".g_idx", "I32", {k});
        return;
      case Format::w4a16_group128:
      case Format::w4a16_group32:
      case Format::w4a16_channel: {
        const int64_t group = format_ == Format::w4a16_group128  ? 128
                              : format_ == Format::w4a16_group32 ? 32
                                                                 : k;
        add(weight + "_packed", "I32", {n, k / 8});
        add(weight + "_scale", "BF16", {n, k / group});
        add(weight + "_shape", "I64", {2});
        if (format_ == Format::w4a16_group32) {
          add(weight + "_zero_point", "I32", {n / 8, k / group});
        }
        return;
      }
      case Format::bnb_int8:
        add(weight, "I8", {n, k});
        add(module + ".SCB", "F32", {n});
        add(weight + "_format", "U8", {});
        return;
    }
  }

  void layer_norm(const std::string& name, int64_t n) {
    plain(name + ".weight", {n});
    plain(name + ".bias", {n});
  }

  /// Most tools leave the vision tower as it was.
  void vision_linear(const std::string& name, int64_t n, int64_t k) {
    if (format_ == Format::w4a16_channel) {
      quantised(name, n, k);
    } else {
      plain(name + ".weight", {n, k});
    }
    plain(name + ".bias", {n});
  }

  void merger(const std::string& name, int64_t norm) {
    const int64_t four = 4 * size_.vision_hidden;
    layer_norm(name + "norm", norm);
    vision_linear(name + "linear_fc1", four, four);
    vision_linear(name + "linear_fc2", size_.hidden, four);
  }

  void add_vision() {
    const int64_t d = size_.vision_hidden;
    const std::string visual = "model.visual.";
    plain(visual + "patch_embed.proj.weight", {d, 3, 2, 16, 16});
    plain(visual + "patch_embed.proj.bias", {d});
    plain(visual + "pos_embed.weight", {48 * 48, d});
    for (int64_t i = 0; i < size_.vision_depth; ++i) {
      const std::string block = fmt::format("{}blocks.{}.", visual, i);
      layer_norm(block + "norm1", d);
      layer_norm(block + "norm2", d);
      vision_linear(block + "attn.qkv", 3 * d, d);
      vision_linear(block + "attn.proj", d, d);
      vision_linear(block + "mlp.linear_fc1", size_.vision_mlp, d);
      vision_linear(block + "mlp.linear_fc2", d, size_.vision_mlp);
    }
    merger(visual + "merger.", d);
    for (size_t i = 0; i < size_.deepstack.size(); ++i) {
      merger(fmt::format("{}deepstack_merger_list.{}.", visual, i), 4 * d);
    }
  }

  void add_experts(const std::string& mlp) {
    const int64_t h = size_.hidden;
    const int64_t m = size_.expert_mlp;
    const int64_t e = size_.experts;
    plain(mlp + "gate.weight", {e, h});
    const std::string experts = mlp + "experts.";
    if (is_unfused(format_)) {
      for (int64_t i = 0; i < e; ++i) {
        const std::string expert = fmt::format("{}{}.", experts, i);
        quantised(expert + "gate_proj", m, h);
        quantised(expert + "up_proj", m, h);
        quantised(expert + "down_proj", h, m);
      }
    } else if (format_ == Format::fp8_block) {
      add(experts + "gate_up_proj", "F8_E4M3", {e, h, 2 * m});
      add(experts + "gate_up_proj_scale_inv", "BF16", {e, blocks(h, 128), blocks(2 * m, 128)});
      add(experts + "down_proj", "F8_E4M3", {e, m, h});
      add(experts + "down_proj_scale_inv", "BF16", {e, blocks(m, 128), blocks(h, 128)});
    } else if (format_ == Format::bf16_transposed) {
      plain(experts + "gate_up_proj", {e, 2 * m, h});
      plain(experts + "down_proj", {e, h, m});
    } else {
      plain(experts + "gate_up_proj", {e, h, 2 * m});
      plain(experts + "down_proj", {e, m, h});
    }
  }

  void add_text() {
    const int64_t h = size_.hidden;
    const int64_t q = size_.heads * kHeadDim;
    const int64_t kv = size_.kv_heads * kHeadDim;
    const std::string text = "model.language_model.";
    plain(text + "embed_tokens.weight", {kVocabulary, h});
    for (int64_t i = 0; i < size_.layers; ++i) {
      const std::string layer = fmt::format("{}layers.{}.", text, i);
      const std::string attention = layer + "self_attn.";
      const std::string mlp = layer + "mlp.";
      plain(layer + "input_layernorm.weight", {h});
      plain(layer + "post_attention_layernorm.weight", {h});
      quantised(attention + "q_proj", q, h);
      quantised(attention + "k_proj", kv, h);
      quantised(attention + "v_proj", kv, h);
      quantised(attention + "o_proj", h, q);
      plain(attention + "q_norm.weight", {kHeadDim});
      plain(attention + "k_norm.weight", {kHeadDim});
      if (format_ == Format::fp8_tensor) {
        add(attention + "k_scale", "F32", {});
        add(attention + "v_scale", "F32", {});
      }
      if (size_.experts > 0) {
        add_experts(mlp);
      } else {
        quantised(mlp + "gate_proj", size_.mlp, h);
        quantised(mlp + "up_proj", size_.mlp, h);
        quantised(mlp + "down_proj", h, size_.mlp);
      }
    }
    plain(text + "norm.weight", {h});
    if (!size_.tied) plain("lm_head.weight", {kVocabulary, h});
  }

  const Size& size_;
  Format format_;
  std::vector<Tensor> tensors_;
};

std::string spelled(const std::string& name, Prefix prefix) {
  constexpr std::string_view kVision = "model.visual.";
  constexpr std::string_view kText = "model.language_model.";
  const auto replace = [&](std::string_view from, std::string_view to) {
    return std::string(to) + name.substr(from.size());
  };
  const bool is_vision = name.starts_with(kVision);
  const bool is_text = name.starts_with(kText);
  switch (prefix) {
    case Prefix::published:
      return name;
    case Prefix::flat:
      return is_vision ? replace(kVision, "visual.") : is_text ? replace(kText, "model.") : name;
    case Prefix::language_model:
      return is_vision ? replace(kVision, "vision_tower.")
             : is_text ? replace(kText, "language_model.model.")
                       : "language_model." + name;
  }
  return name;
}

Json compressed_tensors(const Json& weights, const Json& inputs, const char* format,
                        const Json& ignore) {
  return {{"quant_method", "compressed-tensors"},
          {"config_groups",
           {{"group_0",
             {{"input_activations", inputs},
              {"output_activations", nullptr},
              {"targets", {"Linear"}},
              {"weights", weights}}}}},
          {"format", format},
          {"global_compression_ratio", nullptr},
          {"ignore", ignore},
          {"kv_cache_scheme", nullptr},
          {"quantization_status", "compressed"}};
}

Json packed_weights(Json group_size, bool symmetric, const char* strategy) {
  return {{"actorder", nullptr},  {"block_structure", nullptr},
          {"dynamic", false},     {"group_size", std::move(group_size)},
          {"num_bits", 4},        {"observer", "minmax"},
          {"strategy", strategy}, {"symmetric", symmetric},
          {"type", "int"}};
}

Json fp8_part(const char* strategy, bool dynamic) {
  return {{"dynamic", dynamic},   {"group_size", nullptr}, {"num_bits", 8},
          {"strategy", strategy}, {"symmetric", true},     {"type", "float"}};
}

Json quantization_config(Format format) {
  const Json text_only = {"lm_head", "re:.*visual.*", "re:.*mlp.gate$"};
  switch (format) {
    case Format::bf16:
    case Format::bf16_unfused:
    case Format::bf16_transposed:
      return nullptr;
    case Format::fp8_block:
    case Format::fp8_block_unfused:
      return {{"activation_scheme", "dynamic"},
              {"fmt", "e4m3"},
              {"modules_to_not_convert",
               {"lm_head", "model.visual", "model.language_model.layers.0.mlp.gate"}},
              {"quant_method", "fp8"},
              {"weight_block_size", {128, 128}}};
    case Format::fp8_tensor:
      return compressed_tensors(fp8_part("tensor", false), fp8_part("tensor", false),
                                "float-quantized", text_only);
    case Format::fp8_block_compressed: {
      Json weights = fp8_part("block", false);
      weights["block_structure"] = {128, 128};
      Json inputs = fp8_part("group", true);
      inputs["group_size"] = 128;
      return compressed_tensors(weights, inputs, "float-quantized", text_only);
    }
    case Format::fp8_channel:
      return compressed_tensors(fp8_part("channel", false), fp8_part("token", true),
                                "float-quantized", text_only);
    case Format::awq:
      return {{"bits", 4},
              {"group_size", 128},
              {"modules_to_not_convert", {"visual", "lm_head", "mlp.gate"}},
              {"quant_method", "awq"},
              {"version", "gemm"},
              {"zero_point", true}};
    case Format::gptq:
    case Format::gptq_act_order:
      return {{"bits", 4},
              {"checkpoint_format", "gptq"},
              {"damp_percent", 0.1},
              {"desc_act", format == Format::gptq_act_order},
              {"group_size", 128},
              {"lm_head", false},
              {"quant_method", "gptq"},
              {"sym", format == Format::gptq},
              {"true_sequential", true}};
    case Format::w4a16_group128:
      return compressed_tensors(packed_weights(128, true, "group"), nullptr, "pack-quantized",
                                text_only);
    case Format::w4a16_group32:
      return compressed_tensors(packed_weights(32, false, "group"), nullptr, "pack-quantized",
                                text_only);
    case Format::w4a16_channel:
      return compressed_tensors(packed_weights(nullptr, true, "channel"), nullptr, "pack-quantized",
                                {"lm_head", "re:.*mlp.gate$"});
    case Format::bnb_int8:
      return {{"bnb_4bit_quant_type", "fp4"}, {"llm_int8_skip_modules", {"lm_head", "visual"}},
              {"llm_int8_threshold", 6.0},    {"load_in_4bit", false},
              {"load_in_8bit", true},         {"quant_method", "bitsandbytes"}};
  }
  return nullptr;
}

Json text_config(const Size& size, const Spelling& spelling) {
  Json text = {{"attention_bias", false},
               {"attention_dropout", 0.0},
               {"bos_token_id", 151'643},
               {"eos_token_id", 151'645},
               {"head_dim", kHeadDim},
               {"hidden_act", "silu"},
               {"hidden_size", size.hidden},
               {"initializer_range", 0.02},
               {"intermediate_size", size.mlp},
               {"max_position_embeddings", 262'144},
               {"model_type", size.experts > 0 ? "qwen3_vl_moe_text" : "qwen3_vl_text"},
               {"num_attention_heads", size.heads},
               {"num_hidden_layers", size.layers},
               {"num_key_value_heads", size.kv_heads},
               {"rms_norm_eps", 1e-6},
               {"use_cache", true},
               {"vocab_size", kVocabulary}};
  const Json section = {24, 20, 20};
  if (spelling.config == ConfigStyle::transformers4) {
    text["torch_dtype"] = "bfloat16";
    text["rope_scaling"] = {
        {"mrope_interleaved", true}, {"mrope_section", section}, {"rope_type", "default"}};
    text["rope_theta"] = 5'000'000;
  } else {
    text["dtype"] = "bfloat16";
    text["rope_parameters"] = {{"mrope_interleaved", true},
                               {"mrope_section", section},
                               {"rope_theta", 5'000'000},
                               {"rope_type", "default"}};
  }
  if (size.experts > 0) {
    text["decoder_sparse_step"] = 1;
    text["mlp_only_layers"] = Json::array();
    text["moe_intermediate_size"] = size.expert_mlp;
    text["norm_topk_prob"] = true;
    text["num_experts"] = size.experts;
    text["num_experts_per_tok"] = 8;
  }
  text["tie_word_embeddings"] =
      size.tied || spelling.tying == Tying::text_wrong || spelling.tying == Tying::wrong;
  return text;
}

Json config(const Size& size, Format format, const Spelling& spelling) {
  const bool is_moe = size.experts > 0;
  const std::string type = is_moe ? "qwen3_vl_moe" : "qwen3_vl";
  const bool is_new = spelling.config == ConfigStyle::transformers5;
  Json config = {
      {"architectures",
       {is_moe ? "Qwen3VLMoeForConditionalGeneration" : "Qwen3VLForConditionalGeneration"}},
      {"image_token_id", 151'655},
      {"model_type", type},
      {"text_config", text_config(size, spelling)},
      {"transformers_version", is_new ? "5.1.0" : "4.57.0.dev0"},
      {"video_token_id", 151'656},
      {"vision_config",
       {{"deepstack_visual_indexes", size.deepstack},
        {"depth", size.vision_depth},
        {"hidden_act", "gelu_pytorch_tanh"},
        {"hidden_size", size.vision_hidden},
        {"in_channels", 3},
        {"initializer_range", 0.02},
        {"intermediate_size", size.vision_mlp},
        {"model_type", is_new ? type + "_vision" : type},
        {"num_heads", 16},
        {"num_position_embeddings", 2304},
        {"out_hidden_size", size.hidden},
        {"patch_size", 16},
        {"spatial_merge_size", 2},
        {"temporal_patch_size", 2}}},
      {"vision_end_token_id", 151'653},
      {"vision_start_token_id", 151'652}};
  if (spelling.tying != Tying::text_only)
    config["tie_word_embeddings"] = size.tied || spelling.tying == Tying::wrong;
  if (is_new) config["dtype"] = "bfloat16";
  const Json quantization = quantization_config(format);
  if (!quantization.is_null()) config["quantization_config"] = quantization;
  return config;
}

Json processor(const char* type, const char* type_value, int64_t shortest, int64_t longest) {
  return {{"size", {{"longest_edge", longest}, {"shortest_edge", shortest}}},
          {"patch_size", 16},
          {"temporal_patch_size", 2},
          {"merge_size", 2},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}},
          {"processor_class", "Qwen3VLProcessor"},
          {type, type_value}};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

/// The group of each of `columns` columns; with act-order every group has its columns all over.
std::vector<int32_t> column_groups(int64_t columns, Format format) {
  std::vector<int32_t> groups(static_cast<size_t>(columns));
  for (int64_t k = 0; k < columns; ++k) {
    const int64_t group = format == Format::gptq_act_order ? k % (columns / 128) : k / 128;
    groups[static_cast<size_t>(k)] = static_cast<int32_t>(group);
  }
  return groups;
}

/// Header and hole. The text is put together by hand: a JSON library takes seconds for the hundred
/// thousand tensors of a large mixture of experts.
/// The groups of GPTQ columns are no hole: readers look at them to tell act-order.
void write_shard(const std::filesystem::path& path, const std::vector<const Tensor*>& tensors,
                 const std::vector<std::string>& names, Format format) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  int64_t offset = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t end = offset + tensors[i]->bytes();
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", names[i],
                          tensors[i]->dtype, fmt::join(tensors[i]->shape, ","), offset, end);
    offset = end;
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i));
  write_text(path, length + header);
  std::filesystem::resize_file(path, 8 + header.size() + static_cast<size_t>(offset));
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  offset = static_cast<int64_t>(8 + header.size());
  for (const Tensor* tensor : tensors) {
    if (tensor->name.ends_with(".g_idx")) {
      const std::vector<int32_t> groups = column_groups(tensor->shape[0], format);
      file.seekp(offset);
      file.write(reinterpret_cast<const char*>(groups.data()), tensor->bytes());
    }
    offset += tensor->bytes();
  }
}

}  // namespace

const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {
      {"2B",
       2048,
       28,
       6144,
       16,
       8,
       0,
       0,
       true,
       24,
       1024,
       4096,
       {5, 11, 17},
       406'957'056,
       1'720'574'976,
       315,
       310},
      {"4B",
       2560,
       36,
       9728,
       32,
       8,
       0,
       0,
       true,
       24,
       1024,
       4096,
       {5, 11, 17},
       415'347'712,
       4'022'468'096,
       315,
       398},
      {"8B",
       4096,
       36,
       12288,
       32,
       8,
       0,
       0,
       false,
       27,
       1152,
       4304,
       {8, 16, 24},
       576'388'336,
       8'190'735'360,
       351,
       399},
      {"32B",
       5120,
       64,
       25600,
       64,
       8,
       0,
       0,
       false,
       27,
       1152,
       4304,
       {8, 16, 24},
       595'266'800,
       32'762'123'264,
       351,
       707},
      {"30B-A3B",
       2048,
       48,
       6144,
       32,
       4,
       128,
       768,
       false,
       27,
       1152,
       4304,
       {8, 16, 24},
       538'631'408,
       30'532'122'624,
       351,
       531},
      {"235B-A22B",
       4096,
       94,
       12288,
       64,
       4,
       128,
       1536,
       false,
       27,
       1152,
       4304,
       {8, 16, 24},
       576'388'336,
       235'093'634'560,
       351,
       1037},
  };
  return all;
}

const Size& size(std::string_view name) {
  for (const Size& size : sizes()) {
    if (size.name == name) return size;
  }
  throw std::runtime_error("no such size");
}

Written write(const std::string& folder, const Size& size, Format format,
              const Spelling& spelling) {
  const std::filesystem::path root = folder;
  const std::vector<Tensor> tensors = Writer(size, format).tensors();
  std::vector<std::vector<const Tensor*>> shards(1);
  int64_t shard_bytes = 0;
  Written written;
  for (const Tensor& tensor : tensors) {
    if (shard_bytes > 0 && shard_bytes + tensor.bytes() > kShardBytes) {
      shards.emplace_back();
      shard_bytes = 0;
    }
    shards.back().push_back(&tensor);
    shard_bytes += tensor.bytes();
    written.bytes += tensor.bytes();
    ++written.tensors;
  }
  written.shards = static_cast<int64_t>(shards.size());
  std::string weight_map;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string file =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    std::vector<std::string> names;
    for (const Tensor* tensor : shards[i]) {
      names.push_back(spelled(tensor->name, spelling.prefix));
      weight_map +=
          fmt::format("{}\"{}\":\"{}\"", weight_map.empty() ? "" : ",", names.back(), file);
    }
    write_shard(root / file, shards[i], names, format);
  }
  if (shards.size() > 1) {
    write_text(root / "model.safetensors.index.json",
               fmt::format(R"({{"metadata":{{"total_size":{}}},"weight_map":{{{}}}}})",
                           written.bytes, weight_map));
  }
  const Json generation = {{"bos_token_id", 151'643},
                           {"do_sample", true},
                           {"eos_token_id", {151'645, 151'643}},
                           {"pad_token_id", 151'643},
                           {"repetition_penalty", 1.0},
                           {"temperature", 0.7},
                           {"top_k", 20},
                           {"top_p", 0.8},
                           {"transformers_version", "4.57.0.dev0"}};
  write_text(root / "config.json", config(size, format, spelling).dump(4) + "\n");
  write_text(root / "generation_config.json", generation.dump(4) + "\n");
  write_text(
      root / "preprocessor_config.json",
      processor("image_processor_type", "Qwen2VLImageProcessorFast", 65'536, 16'777'216).dump(4) +
          "\n");
  write_text(
      root / "video_preprocessor_config.json",
      processor("video_processor_type", "Qwen3VLVideoProcessor", 4096, 25'165'824).dump(4) + "\n");
  return written;
}

}  // namespace qvl::published

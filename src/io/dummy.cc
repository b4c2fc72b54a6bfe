#include "io/dummy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "core/check.h"

namespace qvl {
namespace {

struct Preset {
  std::string_view name;
  std::string_view size;  ///< as the published models write it
  int64_t hidden_size;
  int64_t intermediate_size;  ///< 0 for a mixture of experts
  int64_t num_hidden_layers;
  int64_t num_attention_heads;
  int64_t num_key_value_heads;
  int64_t num_experts;
  int64_t moe_intermediate_size;
  bool tie_word_embeddings;
  int64_t vision_depth;
  int64_t vision_hidden_size;
  int64_t vision_intermediate_size;
  std::array<int, 3> deepstack_visual_indexes;
};

constexpr std::array kPresets = {
    Preset{"2b", "2B", 2048, 6144, 28, 16, 8, 0, 0, true, 24, 1024, 4096, {5, 11, 17}},
    Preset{"4b", "4B", 2560, 9728, 36, 32, 8, 0, 0, true, 24, 1024, 4096, {5, 11, 17}},
    Preset{"8b", "8B", 4096, 12288, 36, 32, 8, 0, 0, false, 27, 1152, 4304, {8, 16, 24}},
    Preset{"32b", "32B", 5120, 25600, 64, 64, 8, 0, 0, false, 27, 1152, 4304, {8, 16, 24}},
    Preset{"30b-a3b", "30B-A3B", 2048, 0, 48, 32, 4, 128, 768, false, 27, 1152, 4304, {8, 16, 24}},
    Preset{"235b-a22b",
           "235B-A22B",
           4096,
           0,
           94,
           64,
           4,
           128,
           1536,
           false,
           27,
           1152,
           4304,
           {8, 16, 24}},
};
constexpr int64_t kExpertsPerToken = 8;
constexpr std::string_view kThinking = "-thinking";
constexpr std::string_view kAwq = "-awq";
constexpr int64_t kAwqGroup = 128;
constexpr int64_t kPerWord = 8;  ///< values of 4 bits

/// A preset's name and what stands behind it.
struct PresetName {
  std::string_view name;
  bool is_thinking = false;
  bool is_awq = false;

  explicit PresetName(std::string_view full) : name(full) {
    is_awq = take(kAwq);
    is_thinking = take(kThinking);
  }

 private:
  bool take(std::string_view ending) {
    if (!name.ends_with(ending)) return false;
    name.remove_suffix(ending.size());
    return true;
  }
};

class TensorList {
 public:
  void add(std::string name, std::vector<int64_t> shape) {
    tensors_.push_back({std::move(name), DType::bf16, std::move(shape)});
  }
  void add_linear(const std::string& name, int64_t out, int64_t in) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }
  void add_layer_norm(const std::string& name, int64_t size) {
    add(name + ".weight", {size});
    add(name + ".bias", {size});
  }
  std::vector<TensorInfo> sorted() && {
    std::sort(tensors_.begin(), tensors_.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
    return std::move(tensors_);
  }

 private:
  std::vector<TensorInfo> tensors_;
};

void add_text(const ModelConfig& config, TensorList& list) {
  const TextConfig& text = config.text;
  const int64_t hidden = text.hidden_size;
  const std::string root = "model.language_model.";
  list.add(root + "embed_tokens.weight", {text.vocab_size, hidden});
  list.add(root + "norm.weight", {hidden});
  if (!config.tie_word_embeddings) list.add("lm_head.weight", {text.vocab_size, hidden});
  for (int64_t n = 0; n < text.num_hidden_layers; ++n) {
    const std::string layer = fmt::format("{}layers.{}.", root, n);
    list.add(layer + "input_layernorm.weight", {hidden});
    list.add(layer + "post_attention_layernorm.weight", {hidden});
    list.add(layer + "self_attn.q_proj.weight", {text.q_size(), hidden});
    list.add(layer + "self_attn.k_proj.weight", {text.kv_size(), hidden});
    list.add(layer + "self_attn.v_proj.weight", {text.kv_size(), hidden});
    list.add(layer + "self_attn.o_proj.weight", {hidden, text.q_size()});
    list.add(layer + "self_attn.q_norm.weight", {text.head_dim});
    list.add(layer + "self_attn.k_norm.weight", {text.head_dim});
    if (text.is_moe()) {  // all experts of a layer in one tensor, stored [experts, in, out]
      const int64_t width = text.moe_intermediate_size;
      list.add(layer + "mlp.gate.weight", {text.num_experts, hidden});
      list.add(layer + "mlp.experts.gate_up_proj", {text.num_experts, hidden, 2 * width});
      list.add(layer + "mlp.experts.down_proj", {text.num_experts, width, hidden});
    } else {
      list.add(layer + "mlp.gate_proj.weight", {text.intermediate_size, hidden});
      list.add(layer + "mlp.up_proj.weight", {text.intermediate_size, hidden});
      list.add(layer + "mlp.down_proj.weight", {hidden, text.intermediate_size});
    }
  }
}

/// `norm_size`: the norm stands before the merge of patches or behind it.
void add_merger(const VisionConfig& vision, const std::string& name, int64_t norm_size,
                TensorList& list) {
  const int64_t merged = vision.hidden_size * vision.merge_unit();
  list.add_layer_norm(name + ".norm", norm_size);
  list.add_linear(name + ".linear_fc1", merged, merged);
  list.add_linear(name + ".linear_fc2", vision.out_hidden_size, merged);
}

void add_vision(const VisionConfig& vision, TensorList& list) {
  const int64_t hidden = vision.hidden_size;
  const std::string root = "model.visual.";
  list.add(root + "patch_embed.proj.weight",
           {hidden, 3, vision.temporal_patch_size, vision.patch_size, vision.patch_size});
  list.add(root + "patch_embed.proj.bias", {hidden});
  list.add(root + "pos_embed.weight", {vision.num_position_embeddings, hidden});
  for (int64_t n = 0; n < vision.depth; ++n) {
    const std::string block = fmt::format("{}blocks.{}.", root, n);
    list.add_layer_norm(block + "norm1", hidden);
    list.add_layer_norm(block + "norm2", hidden);
    list.add_linear(block + "attn.qkv", 3 * hidden, hidden);
    list.add_linear(block + "attn.proj", hidden, hidden);
    list.add_linear(block + "mlp.linear_fc1", vision.intermediate_size, hidden);
    list.add_linear(block + "mlp.linear_fc2", hidden, vision.intermediate_size);
  }
  add_merger(vision, root + "merger", hidden, list);
  for (size_t n = 0; n < vision.deepstack_visual_indexes.size(); ++n) {
    add_merger(vision, fmt::format("{}deepstack_merger_list.{}", root, n),
               hidden * vision.merge_unit(), list);
  }
}

/// In place of a text layer's projections what AWQ stores of them.
std::vector<TensorInfo> awq_tensors(const std::vector<TensorInfo>& plain) {
  std::vector<TensorInfo> out;
  for (const TensorInfo& tensor : plain) {
    constexpr std::string_view kEnd = "_proj.weight";
    if (!tensor.name.ends_with(kEnd)) {
      out.push_back(tensor);
      continue;
    }
    const std::string stem = tensor.name.substr(0, tensor.name.rfind('.'));
    const int64_t rows = tensor.shape[0];
    const int64_t cols = tensor.shape[1];
    require(rows % kPerWord == 0 && cols % kAwqGroup == 0,
            "AWQ: a shape of whole words and groups");
    out.push_back({stem + ".qweight", DType::i32, {cols, rows / kPerWord}});
    out.push_back({stem + ".qzeros", DType::i32, {cols / kAwqGroup, rows / kPerWord}});
    out.push_back({stem + ".scales", DType::f16, {cols / kAwqGroup, rows}});
  }
  std::sort(out.begin(), out.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  return out;
}

struct Distribution {
  float mean;
  float std;

  auto operator<=>(const Distribution&) const = default;
};

/// Spreads with which activations neither vanish nor explode through the depth of the model.
Distribution distribution_of(const TensorInfo& tensor) {
  const auto contains = [&](std::string_view part) {
    return tensor.name.find(part) != std::string::npos;
  };
  const bool is_scale = tensor.name.ends_with(".scales");
  const int64_t inputs = is_scale                ? tensor.shape[0] * kAwqGroup
                         : contains(".experts.") ? tensor.shape[1]
                                                 : tensor.cols();
  const float per_input = 1.0F / std::sqrt(static_cast<float>(inputs));
  // 4 bits less 8, equally likely, have a standard deviation of 4.6.
  if (is_scale) return {1.25F * per_input / 4.6F, 0.15F * per_input / 4.6F};
  if (tensor.name.ends_with(".bias")) return {0, 0.1F};
  if (contains("norm")) return {1, 0.15F};
  if (contains("embed_tokens")) return {0, 0.18F};
  if (contains("pos_embed")) return {0, 0.3F};
  if (contains("patch_embed")) return {0, 1.6F * per_input};
  if (contains("lm_head")) return {0, 2.0F * per_input};
  return {0, 1.25F * per_input};
}

constexpr int kTableBits = 12;

/// The values a tensor takes, equally likely: quantiles of a triangular distribution, bell-like and
/// without outliers. Computed with nothing but the exactly rounded operations of IEEE 754, so that
/// every machine makes the same model.
using ValueTable = std::array<bf16, size_t{1} << kTableBits>;

ValueTable make_table(Distribution distribution) {
  const double scale = double{distribution.std} * std::sqrt(6.0);  // from [-1, 1] with std 1/√6
  ValueTable table;
  for (size_t i = 0; i < table.size(); ++i) {
    const double p = (static_cast<double>(i) + 0.5) / static_cast<double>(table.size());
    const double q = p < 0.5 ? std::sqrt(2 * p) - 1 : 1 - std::sqrt(2 * (1 - p));
    table[i] = bf16(static_cast<float>(double{distribution.mean} + scale * q));
  }
  return table;
}

uint64_t name_hash(std::string_view name) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

/// 64 well-mixed bits of a counter: the finaliser of SplitMix64.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

/// Four consecutive elements share one hash; each takes the upper bits of its 16.
constexpr uint64_t kPerHash = 4;

uint64_t hash_of(uint64_t seed, uint64_t element) {
  return mix(seed + element / kPerHash * 0x9e3779b97f4a7c15U);
}

bf16 pick(const ValueTable& table, uint64_t hash, uint64_t lane) {
  constexpr uint64_t kMask = (uint64_t{1} << kTableBits) - 1;
  return table[(hash >> (16 * lane + 16 - kTableBits)) & kMask];
}

/// Elements [first, first + count) of a tensor; the same values whatever the range.
void generate(const ValueTable& table, uint64_t seed, uint64_t first, uint64_t count, bf16* out) {
  const uint64_t last = first + count;
  uint64_t i = first;
  for (; i < last && i % kPerHash != 0; ++i) *out++ = pick(table, hash_of(seed, i), i % kPerHash);
  for (; i + kPerHash <= last; i += kPerHash) {
    const uint64_t hash = hash_of(seed, i);
    for (uint64_t lane = 0; lane < kPerHash; ++lane) *out++ = pick(table, hash, lane);
  }
  for (; i < last; ++i) *out++ = pick(table, hash_of(seed, i), i % kPerHash);
}

/// The same value as float16: exact for what a scale may be.
uint16_t to_f16(bf16 value) {
  require(value.bits >= 0x3880 && value.bits < 0x4780, "a scale between 2^-14 and 2^16");
  return static_cast<uint16_t>((value.bits - 0x3800U) << 3);
}

/// Of AWQ's tensors: scales as generate() makes them; random words; zero points of 8.
void generate_awq(const TensorInfo& tensor, const ValueTable& table, uint64_t seed, uint64_t first,
                  uint64_t count, void* out) {
  if (tensor.dtype == DType::f16) {
    auto* const values = static_cast<bf16*>(out);
    generate(table, seed, first, count, values);
    for (uint64_t i = 0; i < count; ++i) values[i].bits = to_f16(values[i]);
    return;
  }
  const bool is_zeros = tensor.name.ends_with(".qzeros");
  auto* const words = static_cast<uint32_t*>(out);
  for (uint64_t i = 0; i < count; ++i) {
    words[i] =
        is_zeros ? 0x88888888U : static_cast<uint32_t>(hash_of(seed, (first + i) * kPerHash));
  }
}

struct DummyTensor : TensorInfo {
  uint64_t seed;
  const ValueTable* table;
};

class DummySource final : public TensorSource {
 public:
  explicit DummySource(const ModelConfig& config) {
    std::vector<TensorInfo> all = expected_tensors(config);
    if (config.quantization.method == QuantMethod::awq) all = awq_tensors(all);
    for (TensorInfo& info : all) {
      const Distribution distribution = distribution_of(info);
      auto at = tables_.find(distribution);
      if (at == tables_.end()) at = tables_.emplace(distribution, make_table(distribution)).first;
      const uint64_t seed = mix(name_hash(info.name));
      tensors_.push_back({std::move(info), seed, &at->second});
    }
  }

  const TensorInfo* find(std::string_view name) const override {
    const auto at = std::lower_bound(
        tensors_.begin(), tensors_.end(), name,
        [](const DummyTensor& tensor, std::string_view key) { return tensor.name < key; });
    return at == tensors_.end() || at->name != name ? nullptr : &*at;
  }

  std::vector<const TensorInfo*> tensors() const override {
    std::vector<const TensorInfo*> all;
    all.reserve(tensors_.size());
    for (const DummyTensor& tensor : tensors_) all.push_back(&tensor);
    return all;
  }

  const void* rows(const TensorInfo& tensor, int64_t first, int64_t count,
                   void* scratch) const override {
    require(first >= 0 && count >= 0 && first <= tensor.rows() && count <= tensor.rows() - first,
            "rows outside the tensor");
    const auto& dummy = static_cast<const DummyTensor&>(tensor);
    const auto cols = static_cast<uint64_t>(tensor.cols());
    const uint64_t from = static_cast<uint64_t>(first) * cols;
    const uint64_t elements = static_cast<uint64_t>(count) * cols;
    if (tensor.dtype == DType::bf16) {
      generate(*dummy.table, dummy.seed, from, elements, static_cast<bf16*>(scratch));
    } else {
      generate_awq(tensor, *dummy.table, dummy.seed, from, elements, scratch);
    }
    return scratch;
  }

  void release(const TensorInfo&, int64_t, int64_t) const override {}

 private:
  std::map<Distribution, ValueTable> tables_;
  std::vector<DummyTensor> tensors_;  ///< sorted by name
};

}  // namespace

Variant preset_variant(std::string_view name) {
  return PresetName(name).is_thinking ? Variant::thinking : Variant::instruct;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  names.reserve(kPresets.size());
  for (const Preset& preset : kPresets) names.emplace_back(preset.name);
  return names;
}

std::string size_name(const ModelConfig& config) {
  for (const Preset& preset : kPresets) {
    const TextConfig& text = config.text;
    if (text.hidden_size == preset.hidden_size &&
        text.num_hidden_layers == preset.num_hidden_layers &&
        text.num_attention_heads == preset.num_attention_heads &&
        text.num_key_value_heads == preset.num_key_value_heads &&
        text.num_experts == preset.num_experts &&
        (text.is_moe() ? text.moe_intermediate_size == preset.moe_intermediate_size
                       : text.intermediate_size == preset.intermediate_size) &&
        config.vision.depth == preset.vision_depth &&
        config.vision.hidden_size == preset.vision_hidden_size) {
      return std::string(preset.size);
    }
  }
  return "";
}

Result<ModelConfig> preset_config(std::string_view full_name) {
  const PresetName wanted(full_name);
  const auto* const preset = std::find_if(kPresets.begin(), kPresets.end(),
                                          [&](const Preset& p) { return p.name == wanted.name; });
  if (preset == kPresets.end() || (wanted.is_awq && preset->num_experts > 0)) {
    return Error{ErrorCode::bad_flag,
                 fmt::format("found the preset \"{}\", expected one of {}, or one of them with "
                             "{}, or a dense one with {} at its end",
                             full_name, fmt::join(preset_names(), ", "), kThinking, kAwq),
                 {}};
  }
  ModelConfig config;
  config.text = {.vocab_size = 151'936,
                 .hidden_size = preset->hidden_size,
                 .intermediate_size = preset->intermediate_size,
                 .num_hidden_layers = preset->num_hidden_layers,
                 .num_attention_heads = preset->num_attention_heads,
                 .num_key_value_heads = preset->num_key_value_heads,
                 .head_dim = 128,
                 .max_position_embeddings = 262'144,
                 .rms_norm_eps = 1e-6F,
                 .rope_theta = 5e6,
                 .mrope_section = {24, 20, 20},
                 .num_experts = preset->num_experts,
                 .num_experts_per_tok = preset->num_experts > 0 ? kExpertsPerToken : 0,
                 .moe_intermediate_size = preset->moe_intermediate_size};
  config.vision = {.depth = preset->vision_depth,
                   .hidden_size = preset->vision_hidden_size,
                   .intermediate_size = preset->vision_intermediate_size,
                   .num_heads = 16,
                   .out_hidden_size = preset->hidden_size,
                   .num_position_embeddings = 2304,  // 48 × 48
                   .patch_size = 16,
                   .temporal_patch_size = 2,
                   .spatial_merge_size = 2,
                   .deepstack_visual_indexes = {preset->deepstack_visual_indexes.begin(),
                                                preset->deepstack_visual_indexes.end()}};
  config.tie_word_embeddings = preset->tie_word_embeddings;
  config.image_token_id = 151'655;
  config.video_token_id = 151'656;
  config.vision_start_token_id = 151'652;
  config.vision_end_token_id = 151'653;
  if (wanted.is_awq) {
    config.quantization = {.method = QuantMethod::awq, .bits = 4, .group_size = kAwqGroup};
  }
  return config;
}

std::vector<TensorInfo> expected_tensors(const ModelConfig& config) {
  TensorList list;
  add_text(config, list);
  add_vision(config.vision, list);
  return std::move(list).sorted();
}

std::unique_ptr<TensorSource> make_dummy_source(const ModelConfig& config) {
  return std::make_unique<DummySource>(config);
}

}  // namespace qvl

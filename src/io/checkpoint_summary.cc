#include "io/checkpoint_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "io/json.h"

namespace qvl {
namespace {

using nlohmann::json;

constexpr size_t kMaxSkipped = 10'000;

const json* member(const json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_of(const json& object, std::string_view name) {
  const json* const value = member(object, name);
  const auto* text = value ? value->get_ptr<const json::string_t*>() : nullptr;
  return text ? *text : "";
}

bool is_true(const json& object, std::string_view name) {
  const json* const value = member(object, name);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

bool is_false(const json& object, std::string_view name) {
  const json* const value = member(object, name);
  return value != nullptr && value->is_boolean() && !value->get<bool>();
}

/// A whole number of at most six digits, or 0.
int64_t number_of(const json& object, std::string_view name) {
  const json* const value = member(object, name);
  if (value == nullptr || !value->is_number_integer()) return 0;
  const auto number = value->get<int64_t>();
  return number > -1'000'000 && number < 1'000'000 ? number : 0;
}

void add_skipped(const json& object, std::string_view name, std::vector<std::string>& skipped) {
  const json* const list = member(object, name);
  if (list == nullptr || !list->is_array()) return;
  for (const json& item : *list) {
    const auto* text = item.get_ptr<const json::string_t*>();
    if (text != nullptr && skipped.size() < kMaxSkipped) skipped.push_back(*text);
  }
}

void read_compressed_tensors(const json& config, Quantization& out) {
  if (const std::string format = text_of(config, "format"); !format.empty()) {
    out.details.push_back(format);
  }
  const json* const groups = member(config, "config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty()) return;
  if (groups->size() > 1) out.details.push_back(fmt::format("{} schemes", groups->size()));
  const json* const weights = member(*groups->begin(), "weights");
  if (weights == nullptr) return;
  out.bits = static_cast<int>(number_of(*weights, "num_bits"));
  out.group_size = number_of(*weights, "group_size");
  const std::string strategy = text_of(*weights, "strategy");
  if (strategy == "channel") out.group_size = -1;
  if (strategy == "tensor" || strategy == "block") out.details.push_back("per " + strategy);
  if (const std::string type = text_of(*weights, "type"); !type.empty())
    out.details.push_back(type);
  if (is_true(*weights, "symmetric")) out.details.emplace_back("symmetric");
  if (is_false(*weights, "symmetric")) out.details.emplace_back("zero points");
  if (member(*weights, "actorder") != nullptr) out.details.emplace_back("act-order");
  if (const json* const inputs = member(*groups->begin(), "input_activations")) {
    out.details.push_back(fmt::format("{} activations of {} bits",
                                      is_true(*inputs, "dynamic") ? "dynamic" : "static",
                                      number_of(*inputs, "num_bits")));
  }
}

void read_fp8(const json& config, Quantization& out) {
  out.bits = 8;
  const json* const block = member(config, "weight_block_size");
  if (block != nullptr && block->is_array() && block->size() == 2 && (*block)[0].is_number() &&
      (*block)[1].is_number()) {
    out.details.push_back(fmt::format("blocks of {}×{}", (*block)[0].dump(), (*block)[1].dump()));
  }
  if (const std::string scheme = text_of(config, "activation_scheme"); !scheme.empty()) {
    out.details.push_back(scheme + " activations");
  }
}

/// The part of the model that a tensor belongs to; the order is the one in which parts are listed.
enum class Part { vision, embedding, attention, mlp, experts, router, norms, head, other };

constexpr std::array kPartNames = {"vision", "embedding", "attention", "mlp",  "experts",
                                   "router", "norms",     "head",      "other"};

Part part_of(std::string_view name) {
  const auto has = [&](std::string_view piece) {
    return name.find(piece) != std::string_view::npos;
  };
  if (name.starts_with("model.visual.")) return Part::vision;
  if (name.starts_with("lm_head.")) return Part::head;
  if (!name.starts_with("model.language_model.")) return Part::other;
  if (has(".embed_tokens.")) return Part::embedding;
  if (has("norm.")) return Part::norms;
  if (has(".self_attn.")) return Part::attention;
  if (has(".mlp.experts.")) return Part::experts;
  if (has(".mlp.gate.")) return Part::router;
  if (has(".mlp.")) return Part::mlp;
  return Part::other;
}

/// Scales, zero points, indices: what only serves to read another tensor.
bool is_auxiliary(std::string_view name) {
  constexpr std::array kSuffixes = {".qzeros",
                                    ".scales",
                                    ".g_idx",
                                    ".weight_scale",
                                    ".weight_zero_point",
                                    ".weight_shape",
                                    ".weight_g_idx",
                                    ".weight_format",
                                    ".SCB",
                                    ".absmax",
                                    ".quant_map",
                                    ".input_scale",
                                    ".output_scale",
                                    ".k_scale",
                                    ".v_scale",
                                    "_scale_inv",
                                    "_global_scale",
                                    ".nested_absmax",
                                    ".nested_quant_map"};
  return name.find(".quant_state.") != std::string_view::npos ||
         std::any_of(kSuffixes.begin(), kSuffixes.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

/// Several weights share one stored element of these.
int packed_bits(const TensorInfo& tensor, const Quantization& quantization) {
  if (tensor.name.ends_with(".qweight") ||
      (tensor.name.ends_with(".weight_packed") && tensor.dtype == DType::i32)) {
    const int bits = quantization.bits;
    return bits == 2 || bits == 3 || bits == 8 ? bits : 4;
  }
  return tensor.dtype == DType::u8 &&
                 (tensor.name.ends_with(".weight") || tensor.name.ends_with(".weight_packed"))
             ? 4
             : 0;
}

}  // namespace

std::string Quantization::text() const {
  if (method.empty()) return "none";
  std::string out = method;
  if (bits > 0) out += fmt::format(", {} bits", bits);
  if (group_size > 0) out += fmt::format(", groups of {}", group_size);
  if (group_size < 0) out += ", one scale per channel";
  for (const std::string& detail : details) out += ", " + detail;
  return out;
}

Result<Quantization> parse_quantization(std::string_view config_json) {
  const Result<json> document = parse_json(config_json);
  if (!document) return document.error();
  Quantization out;
  const json* config = member(*document, "quantization_config");
  if (config == nullptr) config = member(*document, "compression_config");
  if (const json* const text = member(*document, "text_config"); config == nullptr && text) {
    config = member(*text, "quantization_config");
  }
  if (config == nullptr) return out;
  out.method = text_of(*config, "quant_method");
  if (out.method.empty()) out.method = "unknown";
  out.bits = static_cast<int>(number_of(*config, "bits"));
  out.group_size = number_of(*config, "group_size");
  if (out.method == "compressed-tensors") read_compressed_tensors(*config, out);
  if (out.method == "fp8") read_fp8(*config, out);
  if (is_true(*config, "load_in_8bit")) out.bits = 8;
  if (is_true(*config, "load_in_4bit")) {
    out.bits = 4;
    out.details.push_back(text_of(*config, "bnb_4bit_quant_type"));
  }
  for (const char* name : {"version", "checkpoint_format"}) {
    const std::string value = text_of(*config, name);
    if (!value.empty() && out.method != "compressed-tensors") out.details.push_back(value);
  }
  if (is_true(*config, "zero_point") || is_false(*config, "sym")) {
    out.details.emplace_back("zero points");
  }
  if (is_true(*config, "desc_act")) out.details.emplace_back("act-order");
  for (const char* name :
       {"modules_to_not_convert", "ignored_layers", "ignore", "llm_int8_skip_modules"}) {
    add_skipped(*config, name, out.skipped);
  }
  return out;
}

CheckpointSummary summarize(const Quantization& quantization, const TensorSource& weights) {
  CheckpointSummary out;
  out.quantization = quantization;
  std::map<DType, DTypeShare> dtypes;
  std::map<std::string, std::string> format_of_module;  // of what a scale belongs to
  std::map<std::pair<Part, std::string>, TensorGroup> groups;
  const auto module_of = [](std::string_view name) {
    if (name.find(".mlp.experts.") != std::string_view::npos &&
        (name.ends_with("_proj") || name.ends_with("_proj_scale_inv"))) {
      return std::string(name.substr(0, name.rfind("_proj") + 5));  // fused: no ".weight"
    }
    if (const size_t state = name.find(".weight."); state != std::string_view::npos) {
      return std::string(name.substr(0, state));  // "X.weight.absmax" of bitsandbytes
    }
    return std::string(name.substr(0, name.rfind('.')));
  };
  const auto account = [&](const TensorInfo& tensor, const std::string& format) -> TensorGroup& {
    const Part part = part_of(tensor.name);
    TensorGroup& group = groups[{part, format}];
    group.part = kPartNames[static_cast<size_t>(part)];
    group.format = format;
    group.bytes += tensor.elements() * dtype_bytes(tensor.dtype);
    return group;
  };
  const std::vector<const TensorInfo*> tensors = weights.tensors();
  for (const TensorInfo* tensor : tensors) {
    const int64_t bytes = tensor->elements() * dtype_bytes(tensor->dtype);
    DTypeShare& share = dtypes[tensor->dtype];
    share.dtype = tensor->dtype;
    ++share.tensors;
    share.bytes += bytes;
    ++out.tensors;
    out.tensor_bytes += bytes;
    if (is_auxiliary(tensor->name)) continue;
    const int bits = packed_bits(*tensor, quantization);
    const std::string format =
        bits > 0 ? fmt::format("{}-bit", bits) : std::string(dtype_name(tensor->dtype));
    const int64_t parameters =
        bits > 0 ? tensor->elements() * dtype_bytes(tensor->dtype) * 8 / bits : tensor->elements();
    if (!tensor->name.ends_with(".bias")) format_of_module[module_of(tensor->name)] = format;
    TensorGroup& group = account(*tensor, format);
    ++group.tensors;
    group.parameters += parameters;
    (part_of(tensor->name) == Part::vision ? out.vision_parameters : out.text_parameters) +=
        parameters;
  }
  for (const TensorInfo* tensor : tensors) {
    if (!is_auxiliary(tensor->name)) continue;
    const auto at = format_of_module.find(module_of(tensor->name));
    account(*tensor,
            at == format_of_module.end() ? std::string(dtype_name(tensor->dtype)) : at->second);
  }
  for (const auto& [dtype, share] : dtypes) out.dtypes.push_back(share);
  std::stable_sort(out.dtypes.begin(), out.dtypes.end(),
                   [](const DTypeShare& a, const DTypeShare& b) { return a.bytes > b.bytes; });
  for (auto& [key, group] : groups) out.groups.push_back(std::move(group));
  return out;
}

}  // namespace qvl

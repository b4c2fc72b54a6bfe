#include "io/checkpoint_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

namespace qvl {
namespace {

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
/// 0: an element is a parameter.
int bits_of(const TensorInfo& tensor, int packed_bits) {
  if (tensor.name.ends_with(".qweight") ||
      (tensor.name.ends_with(".weight_packed") && tensor.dtype == DType::i32)) {
    return packed_bits > 0 ? packed_bits : 4;
  }
  return tensor.dtype == DType::u8 &&
                 (tensor.name.ends_with(".weight") || tensor.name.ends_with(".weight_packed"))
             ? 4
             : 0;
}

}  // namespace

CheckpointSummary summarize(const TensorSource& weights, int packed_bits) {
  CheckpointSummary out;
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
    const int bits = bits_of(*tensor, packed_bits);
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

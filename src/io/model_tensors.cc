#include "io/model_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_set>
#include <utility>

#include "core/check.h"
#include "io/expert_tensors.h"
#include "io/int4_tensors.h"
#include "io/scaled_tensors.h"

namespace qvl {
namespace {

using DerivedList = std::vector<std::unique_ptr<DerivedTensor>>;

class ModelTensors final : public TensorSource {
 public:
  ModelTensors(std::unique_ptr<TensorSource> stored, DerivedList derived,
               const std::unordered_set<const TensorInfo*>& consumed)
      : stored_(std::move(stored)), derived_(std::move(derived)) {
    for (const auto& tensor : derived_) {
      all_.push_back(tensor.get());
      is_derived_.insert(tensor.get());
    }
    for (const TensorInfo* tensor : stored_->tensors()) {
      if (!consumed.contains(tensor)) all_.push_back(tensor);
    }
    std::sort(all_.begin(), all_.end(),
              [](const TensorInfo* a, const TensorInfo* b) { return a->name < b->name; });
  }

  const TensorInfo* find(std::string_view name) const override {
    const auto at =
        std::lower_bound(all_.begin(), all_.end(), name,
                         [](const TensorInfo* t, std::string_view key) { return t->name < key; });
    return at == all_.end() || (*at)->name != name ? nullptr : *at;
  }

  std::vector<const TensorInfo*> tensors() const override { return all_; }

  const void* rows(const TensorInfo& tensor, int64_t first, int64_t count,
                   void* scratch) const override {
    const DerivedTensor* const derived = as_derived(tensor);
    if (derived == nullptr) return stored_->rows(tensor, first, count, scratch);
    require(first >= 0 && count >= 0 && first + count <= tensor.rows(), "rows outside the tensor");
    derived->read(first, count, scratch);
    return scratch;
  }

  void release(const TensorInfo& tensor, int64_t first, int64_t count) const override {
    const DerivedTensor* const derived = as_derived(tensor);
    if (derived == nullptr) return stored_->release(tensor, first, count);
    // Its rows may lie across all of what is stored.
    if (first + count == tensor.rows()) derived->release();
  }

 private:
  const DerivedTensor* as_derived(const TensorInfo& tensor) const {
    return is_derived_.contains(&tensor) ? static_cast<const DerivedTensor*>(&tensor) : nullptr;
  }

  std::unique_ptr<TensorSource> stored_;
  DerivedList derived_;
  std::unordered_set<const TensorInfo*> is_derived_;
  std::vector<const TensorInfo*> all_;  ///< sorted by name
};

/// Finds what belongs together among the stored tensors.
class Assembler {
 public:
  Assembler(const TensorSource& stored, const ModelConfig& config)
      : stored_(stored), config_(config) {}

  Status run() {
    for (const TensorInfo* tensor : stored_.tensors()) {
      if (Status status = add(*tensor); !status) return status;
    }
    for (const auto& derived : derived_) {
      if (const TensorInfo* twin = stored_.find(derived->name);
          twin != nullptr && !consumed_.contains(twin)) {
        return Error{ErrorCode::bad_checkpoint,
                     fmt::format("{} is there twice, as it is and as {}", twin->name,
                                 derived->inputs()[0]->name),
                     ""};
      }
    }
    return {};
  }

  DerivedList take_derived() { return std::move(derived_); }
  const std::unordered_set<const TensorInfo*>& consumed() const { return consumed_; }

 private:
  Status add(const TensorInfo& tensor) {
    std::string_view stem = tensor.name;
    if (strip_end(stem, ".qweight")) return add_qweight(std::string(stem), tensor);
    if (strip_end(stem, ".weight_packed")) return add_packed(std::string(stem), tensor);
    if (stem.ends_with(".mlp.experts.gate_up_proj") || stem.ends_with(".mlp.experts.down_proj")) {
      return add_experts(tensor);
    }
    if (is_needless(stem)) {
      consumed_.insert(&tensor);
      return {};
    }
    if (strip_end(stem, ".weight")) return add_weight(std::string(stem), tensor);
    return {};
  }

  Status add_qweight(const std::string& stem, const TensorInfo& values) {
    GroupedParts parts{.name = stem + ".weight",
                       .values = &values,
                       .scales = find(stem + ".scales"),
                       .zeros = find(stem + ".qzeros"),
                       .group_index = find(stem + ".g_idx")};
    for (const char* part : {".scales", ".qzeros"}) {
      if (stored_.find(stem + part) == nullptr) return missing(stem + part);
    }
    return keep(is_awq(parts) ? awq_tensor(stored_, parts)
                              : gptq_tensor(stored_, parts, config_.quantization));
  }

  /// The packed axis tells: AWQ packs along `out`, so that qweight is as wide as qzeros.
  bool is_awq(const GroupedParts& parts) const {
    const auto& values = parts.values->shape;
    const auto& zeros = parts.zeros->shape;
    const bool looks_awq = parts.group_index == nullptr && values.size() == 2 &&
                           zeros.size() == 2 && values[1] == zeros[1];
    return config_.quantization.method == QuantMethod::none
               ? looks_awq
               : config_.quantization.method == QuantMethod::awq;
  }

  Status add_packed(const std::string& stem, const TensorInfo& values) {
    const GroupedParts parts{.name = stem + ".weight",
                             .values = &values,
                             .scales = find(stem + ".weight_scale"),
                             .zeros = find(stem + ".weight_zero_point"),
                             .group_index = find(stem + ".weight_g_idx")};
    if (parts.scales == nullptr) return missing(stem + ".weight_scale");
    const TensorInfo* const shape = find(stem + ".weight_shape");
    if (shape != nullptr) consumed_.insert(shape);
    int bits = config_.quantization.bits;
    if (bits == 0) {
      if (shape == nullptr) return missing(stem + ".weight_shape");
      if (shape->dtype != DType::i64 || shape->shape != std::vector<int64_t>{2}) {
        return Error{ErrorCode::bad_tensor,
                     fmt::format("{} is {} of shape [{}], expected I64 of shape [2]", shape->name,
                                 dtype_name(shape->dtype), fmt::join(shape->shape, ", ")),
                     ""};
      }
      int64_t scratch = 0;
      const int64_t in = *static_cast<const int64_t*>(stored_.rows(*shape, 1, 1, &scratch));
      bits = values.cols() * 8 == in ? 4 : 8;
    }
    return keep(packed_tensor(stored_, parts, bits));
  }

  Status add_experts(const TensorInfo& fused) {
    if (!config_.text.is_moe()) return {};
    const TensorInfo* scales = find(fused.name + "_scale_inv");
    if (scales == nullptr) scales = find(fused.name + "_scale");
    Result<DerivedList> experts = expert_tensors(stored_, fused, scales, config_);
    if (!experts) return experts.error();
    consumed_.insert(&fused);
    if (scales != nullptr) consumed_.insert(scales);
    for (auto& expert : *experts) derived_.push_back(std::move(expert));
    return {};
  }

  /// FP8 and INT8 of one element per byte; all other dtypes come through as they are.
  Status add_weight(const std::string& stem, const TensorInfo& values) {
    if (values.dtype == DType::i8 && stored_.find(stem + ".SCB") != nullptr) {
      return bitsandbytes(values);
    }
    if (values.dtype == DType::u8 &&
        (stored_.find(stem + ".weight.absmax") != nullptr || values.cols() == 1)) {
      return bitsandbytes(values);
    }
    if (values.dtype != DType::f8_e4m3 && values.dtype != DType::i8) return {};
    const TensorInfo* scales = nullptr;
    for (const char* part : {".weight_scale_inv", ".weight_scale"}) {
      if (scales == nullptr) scales = find(stem + part);
    }
    if (scales == nullptr) return missing(stem + ".weight_scale");
    std::vector<const TensorInfo*> extras;
    for (const char* part : {".weight_shape", ".weight_zero_point"}) {
      if (const TensorInfo* extra = find(stem + part)) extras.push_back(extra);
    }
    for (const TensorInfo* extra : extras) {
      if (extra->name.ends_with("zero_point") && extra->elements() > 0) {
        return Error{ErrorCode::unsupported_model,
                     fmt::format("{} was found, expected symmetric weights of 8 bits", extra->name),
                     ""};
      }
    }
    return keep(
        scaled_tensor(stored_, stem + ".weight", values, *scales, config_.quantization, extras));
  }

  static Error bitsandbytes(const TensorInfo& values) {
    return {ErrorCode::unsupported_model,
            fmt::format("{} is a weight of bitsandbytes, expected the BF16 checkpoint that this "
                        "one was made from, or its AWQ, GPTQ or FP8 version",
                        values.name),
            ""};
  }

  /// What formats carry for other programs: scales of activations and of a quantised cache.
  static bool is_needless(std::string_view name) {
    constexpr std::array<std::string_view, 10> kEnds = {".input_scale",
                                                        ".input_zero_point",
                                                        ".input_global_scale",
                                                        ".activation_scale",
                                                        ".input_scale_inv",
                                                        ".k_scale",
                                                        ".v_scale",
                                                        ".q_scale",
                                                        ".output_scale",
                                                        ".rotary_emb.inv_freq"};
    return std::any_of(kEnds.begin(), kEnds.end(),
                       [&](std::string_view end) { return name.ends_with(end); });
  }

  Status keep(DerivedResult result) {
    if (!result) return result.error();
    for (const TensorInfo* input : (*result)->inputs()) consumed_.insert(input);
    derived_.push_back(std::move(*result));
    return {};
  }

  const TensorInfo* find(const std::string& name) const { return stored_.find(name); }
  static Error missing(const std::string& name) {
    return {ErrorCode::missing_tensor, fmt::format("{} was not found", name), ""};
  }
  static bool strip_end(std::string_view& text, std::string_view end) {
    if (!text.ends_with(end)) return false;
    text.remove_suffix(end.size());
    return true;
  }

  const TensorSource& stored_;
  const ModelConfig& config_;
  DerivedList derived_;
  std::unordered_set<const TensorInfo*> consumed_;
};

}  // namespace

Result<std::unique_ptr<TensorSource>> model_tensors(std::unique_ptr<TensorSource> stored,
                                                    const ModelConfig& config) {
  Assembler assembler(*stored, config);
  if (Status status = assembler.run(); !status) return status.error();
  DerivedList derived = assembler.take_derived();
  if (derived.empty() && assembler.consumed().empty()) return stored;
  return std::unique_ptr<TensorSource>(
      std::make_unique<ModelTensors>(std::move(stored), std::move(derived), assembler.consumed()));
}

}  // namespace qvl

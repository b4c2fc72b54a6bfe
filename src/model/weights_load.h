#pragma once

/// How weights are planned and loaded, for the files that instantiate it for a backend.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_set>
#include <utility>

#include "kernels/transfer.h"
#include "model/weight_reader.h"
#include "model/weights.h"

namespace qvl {

struct LinearSpec {
  std::vector<std::string> parts;  ///< tensors whose rows follow each other
  std::string bias;                ///< empty: none
  int64_t out = 0;
  int64_t in = 0;
  LinearKind kind = LinearKind::plain;
  bool gathered = false;  ///< rows are read one by one too: not to be held in 4 bits
  bool routes = false;    ///< a router: takes float32 rows whatever the activations are
  bool of_expert = false;
  bool is_head = false;  ///< multiplied by few rows of a step
};

/// Walks the model once, asking `sink` for every weight by its published name. The planner and the
/// loader are two sinks, so what is planned is what is loaded.
template <class Sink>
ModelWeights walk(const ModelConfig& config, Sink& sink) {
  ModelWeights weights;
  const TextConfig& t = config.text;
  const int64_t h = t.hidden_size;
  const std::string text = "model.language_model.";
  const auto rms = [&](const std::string& name, int64_t n) {
    return RmsNorm{sink.vector(name, n), t.rms_norm_eps};
  };
  weights.text.embedding = sink.linear({.parts = {text + "embed_tokens.weight"},
                                        .bias = {},
                                        .out = t.vocab_size,
                                        .in = h,
                                        .gathered = true});
  for (int64_t l = 0; l < t.num_hidden_layers; ++l) {
    const std::string p = fmt::format("{}layers.{}.", text, l);
    const std::string a = p + "self_attn.";
    TextLayerWeights layer;
    layer.input_norm = rms(p + "input_layernorm.weight", h);
    layer.qkv =
        sink.linear({.parts = {a + "q_proj.weight", a + "k_proj.weight", a + "v_proj.weight"},
                     .bias = {},
                     .out = t.q_size() + 2 * t.kv_size(),
                     .in = h});
    layer.attention = {t.num_attention_heads, rms(a + "q_norm.weight", t.head_dim),
                       rms(a + "k_norm.weight", t.head_dim)};
    layer.output =
        sink.linear({.parts = {a + "o_proj.weight"}, .bias = {}, .out = h, .in = t.q_size()});
    layer.post_attention_norm = rms(p + "post_attention_layernorm.weight", h);
    const bool is_moe = t.is_moe();
    const auto gate_up = [&](const std::string& mlp, int64_t width) {
      return sink.linear({.parts = {mlp + "gate_proj.weight", mlp + "up_proj.weight"},
                          .bias = {},
                          .out = 2 * width,
                          .in = h,
                          .kind = LinearKind::gate_up,
                          .of_expert = is_moe});
    };
    const auto down = [&](const std::string& mlp, int64_t width) {
      return sink.linear({.parts = {mlp + "down_proj.weight"},
                          .bias = {},
                          .out = h,
                          .in = width,
                          .of_expert = is_moe});
    };
    if (is_moe) {
      layer.experts.top_k = t.num_experts_per_tok;
      layer.experts.router = sink.linear({.parts = {p + "mlp.gate.weight"},
                                          .bias = {},
                                          .out = t.num_experts,
                                          .in = h,
                                          .routes = true});
      for (int64_t e = 0; e < t.num_experts; ++e) {
        const std::string expert = fmt::format("{}mlp.experts.{}.", p, e);
        layer.experts.gate_up.push_back(gate_up(expert, t.moe_intermediate_size));
        layer.experts.down.push_back(down(expert, t.moe_intermediate_size));
      }
    } else {
      layer.gate_up = gate_up(p + "mlp.", t.intermediate_size);
      layer.down = down(p + "mlp.", t.intermediate_size);
    }
    weights.text.layers.push_back(layer);
  }
  weights.text.norm = rms(text + "norm.weight", h);
  // A stored head wins over what the config says: re-saved configs are often wrong about tying.
  const bool tied = config.tie_word_embeddings && !sink.has("lm_head.weight");
  weights.text.head = tied ? weights.text.embedding
                           : sink.linear({.parts = {"lm_head.weight"},
                                          .bias = {},
                                          .out = t.vocab_size,
                                          .in = h,
                                          .is_head = true});

  const VisionConfig& v = config.vision;
  const int64_t d = v.hidden_size;
  const std::string visual = "model.visual.";
  constexpr float kLayerNormEps = 1e-6F;  // fixed in the reference's classes
  const auto ln = [&](const std::string& name, int64_t n) {
    return LayerNorm{sink.vector(name + ".weight", n), sink.vector(name + ".bias", n),
                     kLayerNormEps};
  };
  const auto biased = [&](const std::string& name, int64_t out, int64_t in) {
    return sink.linear({.parts = {name + ".weight"}, .bias = name + ".bias", .out = out, .in = in});
  };
  weights.vision.patch_embed = biased(visual + "patch_embed.proj", d, v.patch_dim());
  weights.vision.position_table =
      sink.matrix(visual + "pos_embed.weight", v.num_position_embeddings, d);
  for (int64_t b = 0; b < v.depth; ++b) {
    const std::string p = fmt::format("{}blocks.{}.", visual, b);
    weights.vision.blocks.push_back({
        .norm1 = ln(p + "norm1", d),
        .qkv = biased(p + "attn.qkv", 3 * d, d),
        .proj = biased(p + "attn.proj", d, d),
        .norm2 = ln(p + "norm2", d),
        .fc1 = biased(p + "mlp.linear_fc1", v.intermediate_size, d),
        .fc2 = biased(p + "mlp.linear_fc2", d, v.intermediate_size),
    });
  }
  const int64_t merged = v.merge_unit() * d;
  const auto merger = [&](const std::string& p, int64_t norm_size) {
    return MergerWeights{ln(p + "norm", norm_size), biased(p + "linear_fc1", merged, merged),
                         biased(p + "linear_fc2", v.out_hidden_size, merged)};
  };
  weights.vision.merger = merger(visual + "merger.", d);
  for (size_t k = 0; k < v.deepstack_visual_indexes.size(); ++k) {
    weights.vision.deepstack.push_back(
        merger(fmt::format("{}deepstack_merger_list.{}.", visual, k), merged));
  }
  return weights;
}

inline std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

inline bool is_weight(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::i4;
}

/// Finds tensors and checks them against what the model expects; remembers the first complaint.
class Finder {
 public:
  Finder(const TensorSource& source, ActFormat activation)
      : source_(source), activation_(activation) {}

  bool has(const std::string& name) const { return source_.find(name) != nullptr; }
  const std::optional<Error>& error() const { return error_; }

  /// The tensor, seen as rows × cols, or null after a complaint.
  const TensorInfo* find(const std::string& name, int64_t rows, int64_t cols) {
    const TensorInfo* tensor = source_.find(name);
    if (tensor == nullptr) {
      complain({ErrorCode::missing_tensor, fmt::format("{} was not found", name), ""});
      return nullptr;
    }
    used_.insert(tensor);
    if (!is_weight(tensor->dtype)) {
      complain({ErrorCode::unsupported_model,
                fmt::format("{} is {}, expected BF16, F16 or F32", name, dtype_name(tensor->dtype)),
                ""});
      return nullptr;
    }
    const bool fits =
        rows < 0 ? tensor->elements() == cols : tensor->rows() == rows && tensor->cols() == cols;
    if (!fits) {
      complain(
          {ErrorCode::bad_tensor,
           fmt::format("{} has shape {}, expected {}", name, shape_text(tensor->shape),
                       rows < 0 ? fmt::format("[{}]", cols) : fmt::format("[{}, {}]", rows, cols)),
           ""});
      return nullptr;
    }
    return tensor;
  }

  /// The parts of a Linear; empty after a complaint. `desc` then lacks only its format.
  WeightParts find_parts(const LinearSpec& spec, LinearDesc& desc) {
    WeightParts parts;
    int64_t rows = 0;
    for (const std::string& name : spec.parts) {
      const TensorInfo* tensor = source_.find(name);
      tensor = find(name, tensor == nullptr ? 0 : tensor->rows(), spec.in);
      if (tensor == nullptr) return {};
      rows += tensor->rows();
      parts.push_back(tensor);
    }
    if (rows != spec.out || (spec.kind == LinearKind::gate_up && parts[0]->rows() * 2 != rows)) {
      complain(
          {ErrorCode::bad_tensor,
           fmt::format("{} has {} rows, expected {}", fmt::join(spec.parts, " + "), rows, spec.out),
           ""});
      return {};
    }
    desc = {.out = spec.out,
            .in = spec.in,
            .activation = spec.routes ? ActFormat::f32 : activation_,
            .kind = spec.kind,
            .group_size = parts[0]->group_size};
    return parts;
  }

  void complain(Error error) {
    if (!error_) error_ = std::move(error);
  }

  std::vector<std::string> unused() const {
    std::vector<std::string> out;
    for (const TensorInfo* tensor : source_.tensors()) {
      if (!used_.contains(tensor)) out.push_back(tensor->name);
    }
    return out;
  }

 private:
  const TensorSource& source_;
  ActFormat activation_;
  std::optional<Error> error_;
  std::unordered_set<const TensorInfo*> used_;
};

/// Settles the format in which `backend` holds the parts.
template <class Backend>
void settle_format(const Backend& backend, const LinearSpec& spec, const WeightParts& parts,
                   LinearDesc& desc) {
  desc.weight = WeightFormat::int4;
  const bool keeps = !spec.gathered && (!spec.of_expert || experts_keep_int4(backend)) &&
                     keeps_int4(backend, desc);
  desc.weight = held_format(parts, desc.activation, keeps);
}

inline std::string_view format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return "F32";
    case WeightFormat::f16:
      return "F16";
    case WeightFormat::bf16:
      return "BF16";
    case WeightFormat::int4:
      break;
  }
  return "INT4";
}

template <class Backend>
class Planner {
 public:
  Planner(const Backend& backend, const TensorSource& source, ActFormat activation)
      : backend_(backend), finder_(source, activation) {}

  bool has(const std::string& name) const { return finder_.has(name); }
  Linear linear(const LinearSpec& spec) {
    LinearDesc desc;
    const WeightParts parts = finder_.find_parts(spec, desc);
    if (!parts.empty()) {
      settle_format(backend_, spec, parts, desc);
      bytes_ += packed_bytes(backend_, desc);
      if (!spec.is_head) {
        scratch_bytes_ = std::max(scratch_bytes_, product_scratch_bytes(backend_, desc));
      }
      for (const TensorInfo* part : parts) {
        if (part->quantised.empty()) continue;
        held_[{part->quantised, format_name(desc.weight)}] += part->stored_bytes;
      }
    }
    if (!spec.bias.empty()) vector(spec.bias, spec.out);
    return {};
  }
  Vec<const float> vector(const std::string& name, int64_t n) {
    finder_.find(name, -1, n);
    bytes_ += Arena::padded(n * 4);
    return {};
  }
  Mat<const float> matrix(const std::string& name, int64_t rows, int64_t cols) {
    finder_.find(name, rows, cols);
    bytes_ += Arena::padded(rows * cols * 4);
    return {};
  }

  const Finder& finder() const { return finder_; }
  WeightPlan plan() const {
    WeightPlan plan{bytes_, finder_.unused(), {}, scratch_bytes_};
    for (const auto& [formats, bytes] : held_) {
      plan.quantised.push_back({formats.first, formats.second, bytes});
    }
    return plan;
  }

 private:
  const Backend& backend_;
  Finder finder_;
  int64_t bytes_ = 0;
  int64_t scratch_bytes_ = 0;
  std::map<std::pair<std::string_view, std::string_view>, int64_t> held_;
};

/// Threads of the host that help with loading; or null.
inline Threads* threads_of(const Ref&) { return nullptr; }
template <class Backend>
Threads* threads_of(const Backend& backend) {
  return backend.threads;
}

template <class Backend>
class Loader {
 public:
  Loader(Backend& backend, const TensorSource& source, ActFormat activation, Arena& arena,
         LoadProgress progress)
      : backend_(backend),
        finder_(source, activation),
        arena_(arena),
        reader_(source, progress, threads_of(backend)) {}

  bool has(const std::string& name) const { return finder_.has(name); }

  Linear linear(const LinearSpec& spec) {
    LinearDesc desc;
    const WeightParts parts = finder_.find_parts(spec, desc);
    const float* bias = spec.bias.empty() ? nullptr : vector(spec.bias, spec.out).data;
    if (finder_.error()) return {};
    settle_format(backend_, spec, parts, desc);
    const auto read = [&](int64_t first, int64_t count) {
      return reader_.rows(parts, desc.weight, first, count);
    };
    return pack_linear(backend_, desc, read, bias, arena_);
  }

  Vec<const float> vector(const std::string& name, int64_t n) {
    return {matrix(name, -1, n).data, n};
  }

  Mat<const float> matrix(const std::string& name, int64_t rows, int64_t cols) {
    const TensorInfo* tensor = finder_.find(name, rows, cols);
    const Mat<float> out = arena_.take_mat<float>(rows < 0 ? 1 : rows, cols);
    if (finder_.error()) return out;
    // A vector is a column of as many rows: several at a time.
    constexpr int64_t kBytesAtOnce = 1 << 20;
    const int64_t width = tensor->cols() * 4;
    const int64_t step = std::max<int64_t>(1, kBytesAtOnce / std::max<int64_t>(1, width));
    for (int64_t first = 0; first < tensor->rows(); first += step) {
      const int64_t count = std::min(step, tensor->rows() - first);
      upload(backend_, out.data + first * tensor->cols(),
             reader_.rows({tensor}, WeightFormat::f32, first, count), count * width);
    }
    return out;
  }

  std::optional<Error> finish() {
    reader_.finish();
    return finder_.error() ? finder_.error() : reader_.error();
  }

 private:
  Backend& backend_;
  Finder finder_;
  Arena& arena_;
  WeightReader reader_;
};

template <class Backend>
Result<WeightPlan> plan_weights(const Backend& backend, const ModelConfig& config,
                                const TensorSource& source, ActFormat activation) {
  Planner<Backend> planner(backend, source, activation);
  walk(config, planner);
  if (planner.finder().error()) return *planner.finder().error();
  return planner.plan();
}

template <class Backend>
Result<ModelWeights> load_weights(Backend& backend, const ModelConfig& config,
                                  const TensorSource& source, ActFormat activation, Arena& arena,
                                  LoadProgress progress) {
  Loader<Backend> loader(backend, source, activation, arena, progress);
  ModelWeights weights = walk(config, loader);
  if (const auto error = loader.finish()) return *error;
  return weights;
}

}  // namespace qvl

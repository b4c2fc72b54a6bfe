#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_set>

namespace qvl {
namespace {

struct LinearSpec {
  std::vector<std::string> parts;  ///< tensors whose rows follow each other
  std::string bias;                ///< empty: none
  int64_t out = 0;
  int64_t in = 0;
  LinearKind kind = LinearKind::plain;
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
  weights.text.embedding = sink.linear(
      {.parts = {text + "embed_tokens.weight"}, .bias = {}, .out = t.vocab_size, .in = h});
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
    layer.gate_up = sink.linear({.parts = {p + "mlp.gate_proj.weight", p + "mlp.up_proj.weight"},
                                 .bias = {},
                                 .out = 2 * t.intermediate_size,
                                 .in = h,
                                 .kind = LinearKind::gate_up});
    layer.down = sink.linear(
        {.parts = {p + "mlp.down_proj.weight"}, .bias = {}, .out = h, .in = t.intermediate_size});
    weights.text.layers.push_back(layer);
  }
  weights.text.norm = rms(text + "norm.weight", h);
  // A stored head wins over what the config says: re-saved configs are often wrong about tying.
  const bool tied = config.tie_word_embeddings && !sink.has("lm_head.weight");
  weights.text.head =
      tied ? weights.text.embedding
           : sink.linear({.parts = {"lm_head.weight"}, .bias = {}, .out = t.vocab_size, .in = h});

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

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::optional<WeightFormat> weight_format(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return WeightFormat::f32;
    case DType::f16:
      return WeightFormat::f16;
    case DType::bf16:
      return WeightFormat::bf16;
    default:
      return std::nullopt;
  }
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
    if (!weight_format(tensor->dtype)) {
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

  /// The parts of a Linear, all of one format; empty after a complaint.
  std::vector<const TensorInfo*> find_parts(const LinearSpec& spec, LinearDesc& desc) {
    std::vector<const TensorInfo*> parts;
    int64_t rows = 0;
    for (const std::string& name : spec.parts) {
      const TensorInfo* tensor = source_.find(name);
      tensor = find(name, tensor == nullptr ? 0 : tensor->rows(), spec.in);
      if (tensor == nullptr) return {};
      if (!parts.empty() && tensor->dtype != parts[0]->dtype) {
        complain({ErrorCode::unsupported_model,
                  fmt::format("{} is {} but {} is {}", name, dtype_name(tensor->dtype),
                              spec.parts[0], dtype_name(parts[0]->dtype)),
                  ""});
        return {};
      }
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
    desc = {spec.out, spec.in, *weight_format(parts[0]->dtype), activation_, spec.kind};
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

template <class Backend>
class Planner {
 public:
  Planner(const Backend& backend, const TensorSource& source, ActFormat activation)
      : backend_(backend), finder_(source, activation) {}

  bool has(const std::string& name) const { return finder_.has(name); }
  Linear linear(const LinearSpec& spec) {
    LinearDesc desc;
    if (!finder_.find_parts(spec, desc).empty()) bytes_ += packed_bytes(backend_, desc);
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
  int64_t bytes() const { return bytes_; }

 private:
  const Backend& backend_;
  Finder finder_;
  int64_t bytes_ = 0;
};

/// NaN and infinity have all exponent bits set.
bool all_finite(const void* data, int64_t elements, DType dtype) {
  uint32_t bad = 0;
  if (dtype == DType::f32) {
    const auto* p = static_cast<const uint32_t*>(data);
    for (int64_t i = 0; i < elements; ++i) bad |= (p[i] & 0x7f800000U) == 0x7f800000U ? 1U : 0U;
  } else {
    const auto* p = static_cast<const uint16_t*>(data);
    const uint16_t mask = dtype == DType::bf16 ? 0x7f80 : 0x7c00;
    for (int64_t i = 0; i < elements; ++i) bad |= (p[i] & mask) == mask ? 1U : 0U;
  }
  return bad == 0;
}

template <class Backend>
class Loader {
 public:
  Loader(Backend& backend, const TensorSource& source, ActFormat activation, Arena& arena,
         LoadProgress progress)
      : backend_(backend),
        source_(source),
        finder_(source, activation),
        arena_(arena),
        progress_(progress) {}

  bool has(const std::string& name) const { return finder_.has(name); }

  Linear linear(const LinearSpec& spec) {
    LinearDesc desc;
    const std::vector<const TensorInfo*> parts = finder_.find_parts(spec, desc);
    const float* bias = spec.bias.empty() ? nullptr : vector(spec.bias, spec.out).data;
    if (finder_.error()) return {};
    const auto read = [&](int64_t first, int64_t count) { return read_rows(parts, first, count); };
    return pack_linear(backend_, desc, read, bias, arena_);
  }

  Vec<const float> vector(const std::string& name, int64_t n) {
    return {matrix(name, -1, n).data, n};
  }

  Mat<const float> matrix(const std::string& name, int64_t rows, int64_t cols) {
    const TensorInfo* tensor = finder_.find(name, rows, cols);
    const Mat<float> out = arena_.take_mat<float>(rows < 0 ? 1 : rows, cols);
    if (finder_.error()) return out;
    const std::vector<const TensorInfo*> part{tensor};
    for (int64_t r = 0; r < tensor->rows(); ++r) {
      widen(read_rows(part, r, 1), tensor->dtype, tensor->cols(), out.data + r * tensor->cols());
    }
    return out;
  }

  const Finder& finder() const { return finder_; }
  void finish() { release_before(nullptr, 0); }

 private:
  static void widen(const void* data, DType dtype, int64_t n, float* out) {
    for (int64_t i = 0; i < n; ++i) {
      if (dtype == DType::f32) out[i] = static_cast<const float*>(data)[i];
      if (dtype == DType::bf16) out[i] = static_cast<float>(static_cast<const bf16*>(data)[i]);
      if (dtype == DType::f16) out[i] = static_cast<float>(static_cast<const f16*>(data)[i]);
    }
  }

  /// Rows of the concatenated parts; rows of two parts are copied together.
  const void* read_rows(const std::vector<const TensorInfo*>& parts, int64_t first, int64_t count) {
    const int64_t row_bytes = parts[0]->cols() * dtype_bytes(parts[0]->dtype);
    int64_t done = 0;
    int64_t part_first = 0;
    joined_.resize(static_cast<size_t>(count * row_bytes));
    const void* only = nullptr;
    for (const TensorInfo* part : parts) {
      const int64_t from = std::max(first + done, part_first);
      const int64_t to = std::min(first + count, part_first + part->rows());
      if (from < to) {
        const int64_t n = to - from;
        release_before(part, from - part_first);
        scratch_.resize(static_cast<size_t>(n * row_bytes));
        const void* rows = source_.rows(*part, from - part_first, n, scratch_.data());
        if (!all_finite(rows, n * part->cols(), part->dtype)) {
          finder_.complain({ErrorCode::bad_tensor,
                            fmt::format("{} holds NaN or infinity in rows {} to {}", part->name,
                                        from - part_first, to - part_first - 1),
                            ""});
        }
        if (n == count) {
          only = rows;
        } else {
          std::memcpy(joined_.data() + done * row_bytes, rows, static_cast<size_t>(n * row_bytes));
        }
        done += n;
        source_bytes_ += n * row_bytes;
      }
      part_first += part->rows();
    }
    require_equal(done, count, "rows of a packed tensor");
    return only != nullptr ? only : joined_.data();
  }

  /// Pages that were read count as the process's memory until they are given back: a few megabytes
  /// at a time, all rows before `first` of this tensor and whatever is left of the one before it.
  void release_before(const TensorInfo* tensor, int64_t first) {
    constexpr int64_t kBytesAtOnce = 8 << 20;
    if (reading_ == tensor && tensor != nullptr) {
      if ((first - released_) * tensor->cols() * dtype_bytes(tensor->dtype) < kBytesAtOnce) return;
      source_.release(*tensor, released_, first - released_);
      released_ = first;
    } else {
      if (reading_ != nullptr) {
        source_.release(*reading_, released_, reading_->rows() - released_);
      }
      reading_ = tensor;
      released_ = 0;
    }
    progress_(source_bytes_);
  }

  Backend& backend_;
  const TensorSource& source_;
  const TensorInfo* reading_ = nullptr;
  int64_t released_ = 0;  // rows of reading_
  Finder finder_;
  Arena& arena_;
  LoadProgress progress_;
  std::vector<std::byte> scratch_;
  std::vector<std::byte> joined_;
  int64_t source_bytes_ = 0;
};

}  // namespace

template <class Backend>
Result<WeightPlan> plan_weights(const Backend& backend, const ModelConfig& config,
                                const TensorSource& source, ActFormat activation) {
  Planner<Backend> planner(backend, source, activation);
  walk(config, planner);
  if (planner.finder().error()) return *planner.finder().error();
  return WeightPlan{planner.bytes(), planner.finder().unused()};
}

template <class Backend>
Result<ModelWeights> load_weights(Backend& backend, const ModelConfig& config,
                                  const TensorSource& source, ActFormat activation, Arena& arena,
                                  LoadProgress progress) {
  Loader<Backend> loader(backend, source, activation, arena, progress);
  ModelWeights weights = walk(config, loader);
  loader.finish();
  if (loader.finder().error()) return *loader.finder().error();
  return weights;
}

template Result<WeightPlan> plan_weights(const Ref&, const ModelConfig&, const TensorSource&,
                                         ActFormat);
template Result<WeightPlan> plan_weights(const Cpu&, const ModelConfig&, const TensorSource&,
                                         ActFormat);
template Result<ModelWeights> load_weights(Ref&, const ModelConfig&, const TensorSource&, ActFormat,
                                           Arena&, LoadProgress);
template Result<ModelWeights> load_weights(Cpu&, const ModelConfig&, const TensorSource&, ActFormat,
                                           Arena&, LoadProgress);

}  // namespace qvl

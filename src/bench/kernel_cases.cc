#include "bench/kernel_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace qvl {
namespace {

/// In the order of Op.
constexpr std::array<std::string_view, kOpCount> kOpNames = {
    "gather_rows",
    "rms_norm_linear",
    "attention",
    "linear_residual",
    "rms_norm_gate_up_silu",
    "rms_norm_moe",
    "rms_norm_head",
    "patch_embed",
    "layer_norm_linear",
    "vision_attention",
    "layer_norm_linear_gelu",
    "linear",
};

/// Bytes per element that an operator on weights moves beside them.
struct RowBytes {
  int64_t x = 0;      ///< per element of the product's left side
  int64_t y = 0;      ///< per element of the result
  int64_t norms = 0;  ///< vectors of the norm, float32, as wide as a row of x before merging
};

RowBytes row_bytes(Op op, int64_t act) {
  switch (op) {
    case Op::rms_norm_linear:
    case Op::rms_norm_gate_up_silu:
      return {.x = 4, .y = act, .norms = 1};
    case Op::rms_norm_head:
      return {.x = 4, .y = 4, .norms = 1};
    case Op::layer_norm_linear:
    case Op::layer_norm_linear_gelu:
      return {.x = 4, .y = act, .norms = 2};
    case Op::linear_residual:
      return {.x = act, .y = 8};  // read and written
    case Op::patch_embed:
      return {.x = 1, .y = 4};
    case Op::linear:
      return {.x = act, .y = act};
    case Op::gather_rows:
    case Op::attention:
    case Op::rms_norm_moe:
    case Op::vision_attention:
      break;
  }
  return {};
}

int64_t weight_bytes(const LinearDesc& w) {
  if (w.weight != WeightFormat::int4) return w.out * w.in * 2;
  return w.out * (w.in / 2 + w.in / w.group_size * 5);  // and a scale and a zero point per group
}

void count_product(KernelCase& c) {
  const RowBytes per = row_bytes(c.op, dtype_bytes(act_dtype(c.activation)));
  const LinearDesc& w = c.weight;
  const int64_t out = w.kind == LinearKind::gate_up ? w.out / 2 : w.out;
  c.bytes = weight_bytes(w) + (c.has_bias ? w.out * 4 : 0) + per.norms * (w.in / c.merge) * 4 +
            c.rows * (w.in * per.x + out * per.y);
  c.flops = 2 * c.rows * w.out * w.in;
}

/// Embeddings are copied, from the weight's 2 bytes to float32, by 4-byte ids.
void count_gather(KernelCase& c) { c.bytes = c.rows * (c.weight.in * (2 + 4) + 4); }

/// Scores and values are two multiply-adds per head, visible key and element of a head.
void count_attention(KernelCase& c) {
  const int64_t act = dtype_bytes(act_dtype(c.activation));
  const bool causal = c.op == Op::attention;
  const int64_t d = c.heads.head_dim;
  const int64_t hidden_keys = causal ? c.rows * (c.rows - 1) / 2 : 0;
  const int64_t visible = c.rows * c.context - hidden_keys;
  const int64_t rope = c.rows * d * 4;  // d / 2 cosines and as many sines
  c.bytes = c.rows * (c.heads.qkv_cols() + c.heads.out_cols()) * act + rope;
  if (causal)
    c.bytes += c.context * 2 * c.heads.num_kv_heads * d * act + 2 * d * 4;  // cache, norms
  c.flops = 4 * visible * c.heads.num_heads * d;
}

/// The router, the chosen experts and the residual, which is read and written.
void count_experts(KernelCase& c) {
  const MoeShape& m = c.moe;
  const auto experts = static_cast<double>(m.num_experts);
  const double missed = 1 - static_cast<double>(m.top_k) / experts;  // by one row
  const auto chosen = std::llround(experts * (1 - std::pow(missed, static_cast<double>(c.rows))));
  const int64_t expert = 3 * m.hidden_size * m.moe_intermediate_size;
  const int64_t router = m.num_experts * m.hidden_size;
  c.bytes = router * 2 + chosen * (weight_bytes(c.weight) + weight_bytes(down_desc(c))) +
            m.hidden_size * 4 + c.rows * m.hidden_size * 8;
  c.flops = 2 * c.rows * (router + m.top_k * expert);
}

void count(KernelCase& c) {
  if (c.op == Op::rms_norm_moe) return count_experts(c);
  if (c.op == Op::attention || c.op == Op::vision_attention) return count_attention(c);
  if (c.op == Op::gather_rows) return count_gather(c);
  count_product(c);
}

void add_text(const TextConfig& t, ActFormat activation, std::span<const int64_t> row_counts,
              WeightFormat layers, std::vector<KernelCase>& cases) {
  const auto product = [&](Op op, std::string_view part, int64_t out, int64_t in,
                           LinearKind kind = LinearKind::plain) {
    for (const int64_t rows : row_counts) {
      if (op == Op::rms_norm_head && rows > kMaxHeadRows) continue;
      const bool in_layer = op != Op::rms_norm_head && op != Op::gather_rows;
      const WeightFormat weight = in_layer ? layers : WeightFormat::bf16;
      cases.push_back({.op = op,
                       .part = part,
                       .rows = rows,
                       .activation = activation,
                       .weight = {out, in, weight, activation, kind, kBenchGroupSize}});
      if (op != Op::rms_norm_moe) continue;
      cases.back().moe = {rows, in, t.moe_intermediate_size, t.num_experts, t.num_experts_per_tok};
    }
  };
  const auto attention = [&](std::string_view part, int64_t rows, int64_t context) {
    cases.push_back({.op = Op::attention,
                     .part = part,
                     .rows = rows,
                     .context = context,
                     .activation = activation,
                     .heads = {t.num_attention_heads, t.num_key_value_heads, t.head_dim}});
  };
  product(Op::gather_rows, "embedding", t.vocab_size, t.hidden_size);
  product(Op::rms_norm_linear, "qkv", t.q_size() + 2 * t.kv_size(), t.hidden_size);
  for (const int64_t context : kDecodeContexts) attention("decode", 1, context);
  attention("prefill", kPromptRows, kPromptRows);
  product(Op::linear_residual, "o", t.hidden_size, t.q_size());
  if (t.is_moe()) {
    product(Op::rms_norm_moe, "experts", 2 * t.moe_intermediate_size, t.hidden_size,
            LinearKind::gate_up);
  } else {
    product(Op::rms_norm_gate_up_silu, "gate_up", 2 * t.intermediate_size, t.hidden_size,
            LinearKind::gate_up);
    product(Op::linear_residual, "down", t.hidden_size, t.intermediate_size);
  }
  product(Op::rms_norm_head, "head", t.vocab_size, t.hidden_size);
}

void add_vision(const VisionConfig& v, ActFormat activation, std::vector<KernelCase>& cases) {
  const auto add = [&](Op op, std::string_view part, int64_t out, int64_t in, int64_t merge = 1) {
    cases.push_back({.op = op,
                     .part = part,
                     .rows = kPatches / (part.starts_with("merger") ? v.merge_unit() : 1),
                     .activation = activation,
                     .weight = {out, in, WeightFormat::bf16, activation, LinearKind::plain},
                     .has_bias = true,
                     .merge = merge});
  };
  const int64_t merged = v.merge_unit() * v.hidden_size;
  add(Op::patch_embed, "patches", v.hidden_size, v.patch_dim());
  add(Op::layer_norm_linear, "vision qkv", 3 * v.hidden_size, v.hidden_size);
  cases.push_back({.op = Op::vision_attention,
                   .part = "vision",
                   .rows = kPatches,
                   .context = kPatches,
                   .activation = activation,
                   .heads = {v.num_heads, v.num_heads, v.head_dim()}});
  add(Op::linear_residual, "vision proj", v.hidden_size, v.hidden_size);
  add(Op::layer_norm_linear_gelu, "vision fc1", v.intermediate_size, v.hidden_size);
  add(Op::linear_residual, "vision fc2", v.hidden_size, v.intermediate_size);
  add(Op::layer_norm_linear_gelu, "merger fc1", merged, merged, v.merge_unit());
  add(Op::linear, "merger fc2", v.out_hidden_size, merged);
}

}  // namespace

std::string_view op_name(Op op) { return kOpNames[static_cast<size_t>(op)]; }

Result<Op> find_op(std::string_view name) {
  const auto* const found = std::find(kOpNames.begin(), kOpNames.end(), name);
  if (found != kOpNames.end()) return static_cast<Op>(found - kOpNames.begin());
  return Error{ErrorCode::bad_flag,
               fmt::format("found '{}', expected one of {}", name, fmt::join(kOpNames, ", ")), ""};
}

LinearDesc down_desc(const KernelCase& experts) {
  LinearDesc down = experts.weight;
  down.out = experts.moe.hidden_size;
  down.in = experts.moe.moe_intermediate_size;
  down.kind = LinearKind::plain;
  return down;
}

std::vector<KernelCase> kernel_cases(const ModelConfig& config, ActFormat activation,
                                     std::span<const int64_t> row_counts, WeightFormat layers) {
  std::vector<KernelCase> cases;
  add_text(config.text, activation, row_counts, layers, cases);
  add_vision(config.vision, activation, cases);
  for (KernelCase& c : cases) count(c);
  return cases;
}

}  // namespace qvl

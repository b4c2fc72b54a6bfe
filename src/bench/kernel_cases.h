#pragma once

/// The operators of a model at the sizes it calls them with, and what each call cannot do without:
/// the bytes to move and the arithmetic. Sizes come from the model's configuration alone; nothing
/// here allocates or runs.

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "io/model_config.h"
#include "kernels/linear.h"

namespace qvl {

enum class Op : uint8_t {
  gather_rows,
  rms_norm_linear,
  attention,
  linear_residual,
  rms_norm_gate_up_silu,
  rms_norm_moe,
  rms_norm_head,
  patch_embed,
  layer_norm_linear,
  vision_attention,
  layer_norm_linear_gelu,
  linear,
};
constexpr size_t kOpCount = static_cast<size_t>(Op::linear) + 1;

/// The operator's function name.
std::string_view op_name(Op op);
/// Error bad_flag lists the names.
Result<Op> find_op(std::string_view name);

/// Attention's heads; q, k and v heads of one row lie in that order.
struct HeadShape {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;

  int64_t qkv_cols() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
  int64_t out_cols() const { return num_heads * head_dim; }
};

struct KernelCase {
  Op op = Op::linear;
  std::string_view part;  ///< which of the model's uses of the operator: "qkv", "down", "prefill"
  int64_t rows = 0;       ///< of the result: tokens, patches or merged patches
  int64_t context = 0;    ///< attention: keys that the last row sees
  ActFormat activation = ActFormat::bf16;
  LinearDesc weight{};  ///< out is 0 where nothing is multiplied by weights; of experts: gate_up's
  bool has_bias = false;
  int64_t merge = 1;  ///< rows of x that make one row of the product
  HeadShape heads{};  ///< of attention
  MoeShape moe{};     ///< of experts
  int64_t bytes = 0;  ///< weights, cache and activations, each read or written once
  int64_t flops = 0;  ///< of products: two per multiply-add; norms and such are not counted
};

/// The down projection of one expert of a case of rms_norm_moe.
LinearDesc down_desc(const KernelCase& experts);

/// All cases of a model in the order of the forward pass. Text operators on weights run at each of
/// `row_counts`; the head only up to kMaxHeadRows of them, for it sees one row per sequence.
/// Attention: one generated token with 512 and with 4096 tokens of context, a prompt of 512.
/// Vision: one picture of 3072 patches. Rows choose their experts independently of each other, so
/// `bytes` counts as many experts as are chosen by any of them in the mean. `layers`, bf16 or int4,
/// is the format of the Linears of text layers but the router; all others are bf16.
std::vector<KernelCase> kernel_cases(const ModelConfig& config, ActFormat activation,
                                     std::span<const int64_t> row_counts,
                                     WeightFormat layers = WeightFormat::bf16);

constexpr int64_t kBenchGroupSize = 128;  ///< of int4 weights

constexpr int64_t kMaxHeadRows = 64;
constexpr int64_t kPromptRows = 512;
constexpr std::array<int64_t, 2> kDecodeContexts = {512, 4096};
constexpr int64_t kPatches = 3072;

}  // namespace qvl

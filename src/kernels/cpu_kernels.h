#pragma once

/// The table of functions that one instruction set offers to the Cpu backend. A table is built in a
/// translation unit of its own, compiled for that instruction set; what crosses this border is
/// plain data, and the units behind it share no inline function with the rest, so that no code of a
/// higher instruction set can be picked by the linker for the generic part.

#include <cstddef>
#include <cstdint>

namespace qvl {

/// Weights lie in panels of 16 output columns; see packing.h.
constexpr int64_t kPanelCols = 16;
/// One call of `gemm` makes this many panels at most.
constexpr int64_t kGroupPanels = 4;
constexpr int64_t kGroupCols = kGroupPanels * kPanelCols;

/// Rows of a panel: 16 columns of one k, or of a pair of k, [16][2], for bf16, or of eight k for
/// int4: one word per column, the four even k in its low half, the odd ones in its high half, in
/// order.
enum class PanelFormat : uint8_t { f32, f16, bf16, int4 };
/// k in a row of a panel.
constexpr int64_t row_elements(PanelFormat format) {
  if (format == PanelFormat::int4) return 8;
  return format == PanelFormat::bf16 ? 2 : 1;
}

/// Elements of the left operand's rows. bf16_pairs is what the hardware's bf16 dot product takes;
/// rounded_f32 is float32 that holds values rounded to bf16.
enum class RowFormat : uint8_t { f32, rounded_f32, bf16_pairs };

enum class ValueType : uint8_t { f32, bf16, u8 };

/// C = A·B or C += A·B. Each element sums over k in chunks of 512, those of int4 ending with their
/// group too: in index order within a chunk, the chunks' sums in order. That order does not depend
/// on rows or panels.
struct GemmJob {
  const void* a = nullptr;  ///< [rows, k]; bf16_pairs: k rounded up to even, the last one zero
  int64_t a_stride = 0;     ///< in elements
  RowFormat a_format = RowFormat::f32;
  PanelFormat b_format = PanelFormat::f32;
  const std::byte* b = nullptr;
  int64_t b_row_bytes = 0;  ///< from one k, or pair of k, to the next
  int64_t panel_bytes = 0;  ///< from one panel to the next
  /// int4: columns of a group, and where in a panel its scales, float32 [groups][16], and its zero
  /// points, uint8 [groups][16], begin.
  int64_t group_size = 0;
  int64_t scales_offset = 0;
  int64_t zeros_offset = 0;
  int64_t rows = 0;
  int64_t panels = 0;
  int64_t k = 0;
  float* c = nullptr;  ///< [rows, panels·16]
  int64_t c_stride = 0;
  bool accumulate = false;
  int64_t prefetch = 0;  ///< distance in bytes from what is read of b to what will be read later
};

enum class Finish : uint8_t { store, add, gelu_tanh, gelu_erf, silu_mul };

/// What happens to finished sums: y = f(c + bias), or y += c + bias. silu_mul: the panels of c
/// alternate between gate and up, y = silu(gate) · up.
struct FinishJob {
  Finish finish = Finish::store;
  const float* c = nullptr;
  int64_t c_stride = 0;
  int64_t rows = 0;
  int64_t cols = 0;                ///< of y
  const float* bias = nullptr;     ///< of y's first column here, or null
  const float* bias_up = nullptr;  ///< silu_mul: of the up half
  void* y = nullptr;
  ValueType y_type = ValueType::f32;
  int64_t y_stride = 0;
};

/// Normalises rows and stores them as a left operand. Without bias it is the RMS norm.
struct NormJob {
  const float* x = nullptr;
  int64_t x_stride = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
  float eps = 0.0F;
  void* y = nullptr;
  int64_t y_stride = 0;
  RowFormat y_format = RowFormat::f32;
};

/// Stores rows as a left operand, bytes first mapped by v · scale[channel] + shift[channel].
struct RowsJob {
  const void* x = nullptr;
  ValueType x_type = ValueType::f32;
  int64_t x_stride = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  const float* scale = nullptr;  ///< [3], for bytes
  const float* shift = nullptr;
  void* y = nullptr;
  int64_t y_stride = 0;
  RowFormat y_format = RowFormat::f32;
};

/// One head of one row: y = rotate(norm(x)) · scale in float32.
struct HeadJob {
  const void* x = nullptr;
  ValueType x_type = ValueType::f32;
  const float* norm_weight = nullptr;  ///< null: no norm
  float eps = 0.0F;
  const float* cos = nullptr;  ///< null: no rotation
  const float* sin = nullptr;
  int64_t head_dim = 0;
  float scale = 1.0F;
  float* y = nullptr;
};

/// A score that no key has: the maximum before the first key, and the score of a hidden key.
constexpr float kNever = -1e30F;

/// Online softmax over one block of 64 keys, scores in units of log2(e). Turns scores into weights
/// 2^(score - max), and brings max, sums and the values summed so far to the new maximum.
struct SoftmaxJob {
  float* scores = nullptr;  ///< [rows, 64]
  int64_t rows = 0;
  int64_t valid = 0;  ///< keys that the first row sees; one more for every `rows_per_key` rows
  int64_t rows_per_key = 1;
  float* max = nullptr;   ///< [rows]
  float* sums = nullptr;  ///< [rows, 16], 16 partial sums of a row
  float* values = nullptr;
  int64_t values_stride = 0;
  int64_t head_dim = 0;
};

/// Joins the softmax states of two runs of keys: the first becomes that of both.
struct JoinJob {
  int64_t rows = 0;
  int64_t head_dim = 0;
  int64_t values_stride = 0;
  float* max = nullptr;
  float* sums = nullptr;
  float* values = nullptr;
  const float* other_max = nullptr;
  const float* other_sums = nullptr;
  const float* other_values = nullptr;
};

/// y = values / sum, for one row.
struct DivideJob {
  const float* values = nullptr;
  const float* sums = nullptr;  ///< [16]
  int64_t head_dim = 0;
  void* y = nullptr;
  ValueType y_type = ValueType::f32;
};

/// x = scale · y or x += scale · y or x += Σ weight_i · y_i, float32, for rows of plain vectors.
enum class Blend : uint8_t { set, add };
struct BlendJob {
  Blend blend = Blend::set;
  const void* y = nullptr;
  ValueType y_type = ValueType::f32;
  float scale = 1.0F;
  float* x = nullptr;
  int64_t cols = 0;
};
struct CornersJob {
  const float* row[4] = {};
  const float* weight = nullptr;  ///< [4]
  float* x = nullptr;
  int64_t cols = 0;
};

/// Multiplies and adds in registers alone, `steps` times: how fast the processor is when no memory
/// is in the way. bf16_pairs: by the hardware's bf16 dot product where there is one, else by FMA.
struct PeakJob {
  RowFormat format = RowFormat::f32;
  const std::byte* a = nullptr;  ///< 64 bytes of operands: float32, or bf16
  const std::byte* b = nullptr;
  int64_t steps = 0;
};
struct PeakResult {
  int64_t flops = 0;
  float value = 0.0F;  ///< of no meaning; keeps the arithmetic from being dropped
};

struct CpuKernels {
  RowFormat bf16_rows = RowFormat::rounded_f32;  ///< how bf16 activations meet bf16 weights
  void (*gemm)(const GemmJob&) = nullptr;
  void (*finish)(const FinishJob&) = nullptr;
  void (*norm)(const NormJob&) = nullptr;
  void (*rows)(const RowsJob&) = nullptr;
  void (*head)(const HeadJob&) = nullptr;
  void (*softmax)(const SoftmaxJob&) = nullptr;
  void (*join)(const JoinJob&) = nullptr;
  void (*divide)(const DivideJob&) = nullptr;
  void (*blend)(const BlendJob&) = nullptr;
  void (*corners)(const CornersJob&) = nullptr;
  PeakResult (*peak)(const PeakJob&) = nullptr;
};

const CpuKernels& avx2_kernels();
const CpuKernels& avx512_kernels();
const CpuKernels& avx512_bf16_kernels();

}  // namespace qvl

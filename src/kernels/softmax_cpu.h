#pragma once

/// What text and vision attention of the Cpu backend share: blocks of 64 keys and values of one
/// head, and the online softmax of some query rows over them.

#include <span>

#include "kernels/attention.h"
#include "kernels/cpu_kernels.h"

namespace qvl {

constexpr int64_t kBlockKeys = 64;
/// Query rows that meet a block together: enough to use its bytes well, few enough to stay in L1.
constexpr int64_t kQueryRows = 48;

/// Keys, then values of one head, as right-hand operands of a product: keys [head_dim][64], values
/// [64][head_dim], bf16 in pairs of rows; see packing.h. The panels of a row lie side by side, so
/// that a block is read from front to end: blocks are too short for one stream per panel.
struct KeyValueBlock {
  int64_t head_dim = 0;
  DType dtype = DType::f32;  ///< f32 or bf16

  int64_t row_elements() const { return dtype == DType::bf16 ? 2 : 1; }
  int64_t value_cols() const { return (head_dim + kPanelCols - 1) / kPanelCols * kPanelCols; }
  int64_t key_row_bytes() const { return kBlockKeys * row_elements() * dtype_bytes(dtype); }
  int64_t value_row_bytes() const { return value_cols() * row_elements() * dtype_bytes(dtype); }
  int64_t panel_bytes() const { return kPanelCols * row_elements() * dtype_bytes(dtype); }
  int64_t key_bytes() const { return head_dim / row_elements() * key_row_bytes(); }
  int64_t bytes() const { return key_bytes() + kBlockKeys / row_elements() * value_row_bytes(); }

  /// Stores the key or the value of token t of the block, rounded to dtype. head_dim is even.
  void put_key(std::byte* block, int64_t t, const float* key) const;
  void put_value(std::byte* block, int64_t t, const float* value) const;
};

/// Softmax over the keys met so far, of up to `capacity` query rows.
struct SoftmaxState {
  float* max = nullptr;     ///< [capacity]
  float* sums = nullptr;    ///< [capacity, 16]
  float* values = nullptr;  ///< [capacity, values_stride]
  int64_t values_stride = 0;

  static int64_t bytes(int64_t capacity, int64_t head_dim);
  static SoftmaxState take(Arena& arena, int64_t capacity, int64_t head_dim);
  void reset(int64_t rows) const;
  SoftmaxState from_row(int64_t row) const {
    return {max + row, sums + row * 16, values + row * values_stride, values_stride};
  }
};

/// Query rows of one thread: [rows, head_dim] float32, scaled by log2(e)/sqrt(head_dim).
struct QueryRows {
  const float* q = nullptr;
  int64_t rows = 0;
  int64_t valid = 0;         ///< keys of the block that the first row sees, at least 1
  int64_t rows_per_key = 1;  ///< one more key for every so many rows
};

/// Factor that turns scores into powers of two.
float query_scale(int64_t head_dim);

/// The rows meet one block; `next` is the block that follows, or this one again. Hidden keys and
/// values weigh zero, but they must be finite.
void meet_block(const CpuKernels& kernels, const KeyValueBlock& shape, const std::byte* block,
                const std::byte* next, const QueryRows& queries, float* scores,
                const SoftmaxState& state);

/// What one thread needs to attend `rows` query rows.
struct AttentionScratch {
  float* q = nullptr;       ///< [rows, head_dim]
  float* scores = nullptr;  ///< [rows, 64]
  SoftmaxState run;         ///< of the run of keys at hand
  SoftmaxState total;       ///< of all runs so far

  static int64_t bytes(const Cpu& cpu, int64_t rows, int64_t head_dim);
  /// One for each thread.
  static std::span<const AttentionScratch> take(const Cpu& cpu, int64_t rows, int64_t head_dim);
};

/// Scratch bytes of the two attention operators. Text: a query state per thread, sums over at most
/// `rows` sequences, and the states of runs that wait. Vision: a query state per thread, and the
/// packed keys and values of one head of the longest segment per thread.
int64_t attention_scratch_bytes(const Cpu& cpu, int64_t rows, int64_t heads, int64_t head_dim);
int64_t vision_attention_scratch_bytes(const Cpu& cpu, int64_t heads, int64_t head_dim,
                                       int64_t longest);

}  // namespace qvl

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

/// Keys, then values of one head: both are right-hand operands of a product, so keys lie as panels
/// of 16 keys over head_dim and values as panels of 16 of head_dim over the keys; see packing.h.
struct KeyValueBlock {
  int64_t head_dim = 0;
  DType dtype = DType::f32;  ///< f32 or bf16

  int64_t value_panels() const { return (head_dim + kPanelCols - 1) / kPanelCols; }
  int64_t key_panel_bytes() const { return head_dim * kPanelCols * dtype_bytes(dtype); }
  int64_t value_panel_bytes() const { return kBlockKeys * kPanelCols * dtype_bytes(dtype); }
  int64_t key_bytes() const { return kBlockKeys / kPanelCols * key_panel_bytes(); }
  int64_t bytes() const { return key_bytes() + value_panels() * value_panel_bytes(); }

  /// Stores the key or the value of token t of the block, rounded to dtype.
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

void meet_block(const CpuKernels& kernels, const KeyValueBlock& shape, const std::byte* block,
                const QueryRows& queries, float* scores, const SoftmaxState& state);

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

/// Scratch bytes of the two attention operators.
int64_t attention_scratch_bytes(const Cpu& cpu, int64_t rows, int64_t heads, int64_t head_dim);
int64_t vision_attention_scratch_bytes(const Cpu& cpu, int64_t heads, int64_t head_dim,
                                       int64_t longest);

}  // namespace qvl

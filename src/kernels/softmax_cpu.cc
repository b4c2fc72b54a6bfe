#include "kernels/softmax_cpu.h"

#include <algorithm>
#include <cmath>

namespace qvl {
void KeyValueBlock::put_key(std::byte* block, int64_t t, const float* key) const {
  if (dtype == DType::f32) {
    auto* p = reinterpret_cast<float*>(block) + t;
    for (int64_t i = 0; i < head_dim; ++i) p[i * kBlockKeys] = key[i];
    return;
  }
  auto* p = reinterpret_cast<bf16*>(block) + 2 * t;
  for (int64_t i = 0; i < head_dim; i += 2) {
    p[i * kBlockKeys] = bf16(key[i]);
    p[i * kBlockKeys + 1] = bf16(key[i + 1]);
  }
}

void KeyValueBlock::put_value(std::byte* block, int64_t t, const float* value) const {
  std::byte* row = block + key_bytes() + t / row_elements() * value_row_bytes();
  if (dtype == DType::f32) {
    std::copy_n(value, head_dim, reinterpret_cast<float*>(row));
    return;
  }
  auto* p = reinterpret_cast<bf16*>(row) + t % 2;
  for (int64_t i = 0; i < head_dim; ++i) p[2 * i] = bf16(value[i]);
}

int64_t SoftmaxState::bytes(int64_t capacity, int64_t head_dim) {
  const int64_t stride = KeyValueBlock{head_dim}.value_cols();
  return Arena::padded(capacity * 4) + Arena::padded(capacity * 16 * 4) +
         Arena::padded(capacity * stride * 4);
}

SoftmaxState SoftmaxState::take(Arena& arena, int64_t capacity, int64_t head_dim) {
  const int64_t stride = KeyValueBlock{head_dim}.value_cols();
  SoftmaxState state;
  state.max = arena.take<float>(capacity);
  state.sums = arena.take<float>(capacity * 16);
  state.values = arena.take<float>(capacity * stride);
  state.values_stride = stride;
  return state;
}

void SoftmaxState::reset(int64_t rows) const {
  std::fill_n(max, rows, kNever);
  std::fill_n(sums, rows * 16, 0.0F);
  std::fill_n(values, rows * values_stride, 0.0F);
}

int64_t AttentionScratch::bytes(const Cpu& cpu, int64_t rows, int64_t head_dim) {
  const int64_t one = Arena::padded(rows * head_dim * 4) + Arena::padded(rows * kBlockKeys * 4) +
                      2 * SoftmaxState::bytes(rows, head_dim);
  const int64_t threads = cpu.threads->count();
  return threads * one + Arena::padded(threads * static_cast<int64_t>(sizeof(AttentionScratch)));
}

std::span<const AttentionScratch> AttentionScratch::take(const Cpu& cpu, int64_t rows,
                                                         int64_t head_dim) {
  const int threads = cpu.threads->count();
  Arena& arena = *cpu.scratch;
  auto* all = arena.take<AttentionScratch>(threads);
  for (int i = 0; i < threads; ++i) {
    all[i].q = arena.take<float>(rows * head_dim);
    all[i].scores = arena.take<float>(rows * kBlockKeys);
    all[i].run = SoftmaxState::take(arena, rows, head_dim);
    all[i].total = SoftmaxState::take(arena, rows, head_dim);
  }
  return {all, static_cast<size_t>(threads)};
}

float query_scale(int64_t head_dim) {
  return static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim)));
}

void meet_block(const CpuKernels& kernels, const KeyValueBlock& shape, const std::byte* block,
                const std::byte* next, const QueryRows& queries, float* scores,
                const SoftmaxState& state) {
  const PanelFormat format = shape.dtype == DType::bf16 ? PanelFormat::bf16 : PanelFormat::f32;
  kernels.gemm({
      .a = queries.q,
      .a_stride = shape.head_dim,
      .b_format = format,
      .b = block,
      .b_row_bytes = shape.key_row_bytes(),
      .panel_bytes = shape.panel_bytes(),
      .rows = queries.rows,
      .panels = kBlockKeys / kPanelCols,
      .k = shape.head_dim,
      .c = scores,
      .c_stride = kBlockKeys,
      .prefetch = next - block,
  });
  kernels.softmax({
      .scores = scores,
      .rows = queries.rows,
      .valid = queries.valid,
      .rows_per_key = queries.rows_per_key,
      .max = state.max,
      .sums = state.sums,
      .values = state.values,
      .values_stride = state.values_stride,
      .head_dim = shape.head_dim,
  });
  kernels.gemm({
      .a = scores,
      .a_stride = kBlockKeys,
      .b_format = format,
      .b = block + shape.key_bytes(),
      .b_row_bytes = shape.value_row_bytes(),
      .panel_bytes = shape.panel_bytes(),
      .rows = queries.rows,
      .panels = shape.value_cols() / kPanelCols,
      .k = kBlockKeys,
      .c = state.values,
      .c_stride = state.values_stride,
      .accumulate = true,
      .prefetch = next - block,
  });
}

}  // namespace qvl

#include "kernels/multiply_cpu.h"

#include <algorithm>

#include "kernels/packing.h"

namespace qvl {
namespace {

/// Rows prepared at a time: bounds the scratch memory of long prompts and big pictures, and leaves
/// enough work per weight to hide its reading.
constexpr int64_t kPreparedRows = 960;

/// With this many rows at most, reading the weights is what takes the time. They are asked for some
/// KiB ahead, a time that covers the latency of memory.
constexpr int64_t kStreamedRows = 32;
constexpr int64_t kStreamAhead = 3072;

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/// One group of columns of one block of rows.
void multiply_block(const Cpu& cpu, const OperandRows& a, const Linear& w,
                    const PanelLayout& layout, const Product& product, int64_t group, int64_t first,
                    int64_t last, float* sums) {
  const int64_t panel = group * kGroupPanels;
  const int64_t count = last - first;
  multiply_panels(cpu, a, first, count, w, panel, std::min(kGroupPanels, layout.panels - panel),
                  sums);
  const int64_t group_cols = kGroupCols / (product.finish == Finish::silu_mul ? 2 : 1);
  const int64_t column = group * group_cols;
  const ActMat& y = product.y;
  FinishJob finish{
      .finish = product.finish,
      .c = sums,
      .c_stride = kGroupCols,
      .rows = count,
      .cols = std::min(group_cols, y.cols - column),
      .y = static_cast<std::byte*>(y.data) + (first * y.stride + column) * dtype_bytes(y.dtype),
      .y_type = value_type(y.dtype),
      .y_stride = y.stride,
  };
  if (w.bias != nullptr) {
    finish.bias = w.bias + column;
    finish.bias_up = w.bias + layout.part_rows + column;
  }
  cpu.kernels->finish(finish);
}

}  // namespace

RowFormat row_format(const Cpu& cpu, const LinearDesc& desc) {
  if (desc.activation == ActFormat::f32) return RowFormat::f32;
  const bool in_pairs = desc.weight == WeightFormat::bf16 || desc.weight == WeightFormat::int4;
  return in_pairs ? cpu.kernels->bf16_rows : RowFormat::rounded_f32;
}

void multiply_panels(const Cpu& cpu, const OperandRows& a, int64_t first, int64_t count,
                     const Linear& w, int64_t panel, int64_t panels, float* sums) {
  const PanelLayout layout(w.desc);
  cpu.kernels->gemm({
      .a = static_cast<const std::byte*>(a.data) + first * a.stride * element_bytes(a.format),
      .a_stride = a.stride,
      .a_format = a.format,
      .b_format = layout.format,
      .b = static_cast<const std::byte*>(w.data) + panel * layout.panel_bytes,
      .b_row_bytes = layout.row_bytes(),
      .panel_bytes = layout.panel_bytes,
      .group_size = w.desc.group_size,
      .scales_offset = layout.scales_offset,
      .zeros_offset = layout.zeros_offset,
      .rows = count,
      .panels = panels,
      .k = w.desc.in,
      .c = sums,
      .c_stride = kGroupCols,
      .prefetch = count <= kStreamedRows ? kStreamAhead : 0,
  });
}

void multiply(Cpu& cpu, const OperandRows& rows, const Linear& w, const Product& product) {
  const PanelLayout layout(w.desc);
  require_equal(product.y.cols, product.finish == Finish::silu_mul ? layout.part_rows : w.desc.out,
                "width of a product");
  require(product.finish != Finish::silu_mul || layout.parts == 2, "silu_mul wants gate_up");
  require(layout.parts == 1 || product.finish == Finish::silu_mul, "gate_up wants silu_mul");
  const int64_t count = product.y.rows;
  const int64_t groups = divide_up(layout.panels, kGroupPanels);
  const int64_t blocks = divide_up(count, kBlockRows);
  const int64_t mark = cpu.scratch->used();
  auto* sums = cpu.scratch->take<float>(cpu.threads->count() * kBlockRows * kGroupCols);
  cpu.threads->parallel_dynamic(
      groups * blocks, 1, [&](int64_t first_item, int64_t last_item, int thread) {
        for (int64_t item = first_item; item < last_item; ++item) {
          const int64_t block = item % blocks;
          multiply_block(cpu, rows, w, layout, product, item / blocks, count * block / blocks,
                         count * (block + 1) / blocks, sums + thread * kBlockRows * kGroupCols);
        }
      });
  cpu.scratch->rewind(mark);
}

void multiply(Cpu& cpu, PrepareRows prepare, const Linear& w, const Product& product) {
  const int64_t count = product.y.rows;
  const int64_t passes = divide_up(count, kPreparedRows);
  const int64_t most = divide_up(count, std::max<int64_t>(1, passes));
  const RowFormat format = row_format(cpu, w.desc);
  const int64_t stride = operand_stride(w.desc.in);
  const int64_t mark = cpu.scratch->used();
  auto* data = cpu.scratch->take<std::byte>(most * stride * element_bytes(format));
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t start = count * pass / passes;
    const int64_t rows = count * (pass + 1) / passes - start;
    cpu.threads->parallel_for(rows, [&](int64_t first, int64_t last, int) {
      const OperandRows to{data + first * stride * element_bytes(format), stride, format};
      prepare(start + first, last - first, to);
    });
    multiply(cpu, OperandRows{data, stride, format}, w,
             {product.finish, product.y.slice_rows(start, rows)});
  }
  cpu.scratch->rewind(mark);
}

int64_t multiply_scratch_bytes(const Cpu& cpu, int64_t rows, int64_t in) {
  const int64_t operand = std::min(rows, kPreparedRows) * operand_stride(in) * 4;
  const int64_t sums = cpu.threads->count() * kBlockRows * kGroupCols * 4;
  return Arena::padded(operand) + Arena::padded(sums);
}

}  // namespace qvl

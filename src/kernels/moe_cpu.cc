#include "kernels/moe_cpu.h"

#include <algorithm>

#include "kernels/moe.h"
#include "kernels/multiply_cpu.h"
#include "kernels/packing.h"

namespace qvl {
namespace {

/// Rows routed at a time: bounds the scratch memory, and gives each of 128 experts some 100 rows.
constexpr int64_t kRoutedRows = 2048;

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/// Columns of gate · up that one group of panels gives.
constexpr int64_t kGatedCols = kGroupCols / 2;

/// Slots are pairs of a row and one of its experts, ordered by expert, then row: the rows of an
/// expert adjoin.
struct Slots {
  Vec<int32_t> first;   ///< [num_experts + 1], the first slot of each expert
  Vec<int32_t> active;  ///< experts with any slots, in ascending order
  Vec<int32_t> row;
  Vec<float> weight;

  int64_t begin(int64_t expert) const { return first[expert]; }
  int64_t end(int64_t expert) const { return first[expert + 1]; }
};

/// The memory of a step. Without an arena it only counts the bytes.
class Workspace {
 public:
  Workspace(const MoeShape& shape, int64_t threads, Arena* arena)
      : arena_(arena),
        slots_count_(shape.rows * shape.top_k),
        normed_stride_(operand_stride(shape.hidden_size)),
        gated_stride_(operand_stride(shape.moe_intermediate_size)),
        total_floats_(shape.rows * kGroupCols) {
    normed_ = take<float>(shape.rows * normed_stride_);
    logits = {take<float>(shape.rows * shape.num_experts), shape.rows, shape.num_experts,
              shape.num_experts};
    ids = {take<int32_t>(slots_count_), shape.rows, shape.top_k, shape.top_k};
    weights = {take<float>(slots_count_), shape.rows, shape.top_k, shape.top_k};
    slots = {{take<int32_t>(shape.num_experts + 1), shape.num_experts + 1},
             {take<int32_t>(shape.num_experts), 0},
             {take<int32_t>(slots_count_), slots_count_},
             {take<float>(slots_count_), slots_count_}};
    gathered_ = take<float>(slots_count_ * normed_stride_);
    gated_ = take<float>(slots_count_ * gated_stride_);
    sums_ = take<float>(threads * kBlockRows * kGroupCols);
    products_ = take<float>(threads * kBlockRows * kGatedCols);
    totals_ = take<float>(threads * total_floats_);
  }

  int64_t bytes() const { return bytes_; }

  /// rms(x) in float32.
  OperandRows normed() const { return {normed_, normed_stride_, RowFormat::f32}; }
  /// rms(x) and silu(gate) · up of each slot, in the format that the slot's expert wants: a slot
  /// has room for any and its place is the same for all.
  OperandRows gathered(RowFormat format) const {
    return {gathered_, normed_stride_ * 4 / element_bytes(format), format};
  }
  OperandRows gated(RowFormat format) const {
    return {gated_, gated_stride_ * 4 / element_bytes(format), format};
  }

  float* sums(int thread) const { return sums_ + thread * kBlockRows * kGroupCols; }
  /// [kBlockRows, kGatedCols]
  float* products(int thread) const { return products_ + thread * kBlockRows * kGatedCols; }
  /// [rows, kGroupCols]
  float* totals(int thread) const { return totals_ + thread * total_floats_; }

  Mat<float> logits;
  Mat<int32_t> ids;
  Mat<float> weights;
  Slots slots;

 private:
  template <class T>
  T* take(int64_t count) {
    bytes_ += Arena::padded(count * static_cast<int64_t>(sizeof(T)));
    return arena_ == nullptr ? nullptr : arena_->take<T>(count);
  }

  Arena* arena_;
  int64_t bytes_ = 0;
  int64_t slots_count_;
  int64_t normed_stride_;
  int64_t gated_stride_;
  int64_t total_floats_;
  float* normed_;
  float* gathered_;
  float* gated_;
  float* sums_;
  float* products_;
  float* totals_;
};

std::byte* operand_at(const OperandRows& rows, int64_t row, int64_t column) {
  return static_cast<std::byte*>(rows.data) +
         (row * rows.stride + column) * element_bytes(rows.format);
}

void normalise(Cpu& cpu, const RmsNorm& norm, Mat<const float> x, const OperandRows& to) {
  cpu.threads->parallel_for(x.rows, [&](int64_t first, int64_t last, int) {
    cpu.kernels->norm({
        .x = x.row(first),
        .x_stride = x.stride,
        .rows = last - first,
        .cols = x.cols,
        .weight = norm.weight.data,
        .eps = norm.eps,
        .y = operand_at(to, first, 0),
        .y_stride = to.stride,
        .y_format = to.format,
    });
  });
}

void fill_slots(Workspace& work) {
  Slots& slots = work.slots;
  const Mat<int32_t>& ids = work.ids;
  std::fill(slots.first.begin(), slots.first.end(), 0);
  for (int64_t r = 0; r < ids.rows; ++r) {
    for (int64_t i = 0; i < ids.cols; ++i) ++slots.first[ids(r, i) + 1];
  }
  const int64_t experts = slots.first.size - 1;
  for (int64_t e = 0; e < experts; ++e) slots.first[e + 1] += slots.first[e];
  // first[e] moves to the end of e's slots while they are filled, and back.
  for (int64_t r = 0; r < ids.rows; ++r) {
    for (int64_t i = 0; i < ids.cols; ++i) {
      const int32_t slot = slots.first[ids(r, i)]++;
      slots.row[slot] = static_cast<int32_t>(r);
      slots.weight[slot] = work.weights(r, i);
    }
  }
  for (int64_t e = experts; e > 0; --e) slots.first[e] = slots.first[e - 1];
  slots.first[0] = 0;
  slots.active.size = 0;
  for (int64_t e = 0; e < experts; ++e) {
    if (slots.begin(e) < slots.end(e)) slots.active[slots.active.size++] = static_cast<int32_t>(e);
  }
}

void gather(Cpu& cpu, const Experts& experts, const Workspace& work, int64_t cols) {
  const OperandRows from = work.normed();
  const Slots& slots = work.slots;
  cpu.threads->parallel_for(slots.row.size, [&](int64_t first, int64_t last, int) {
    const int32_t* expert = slots.active.begin();
    for (int64_t slot = first; slot < last; ++slot) {
      while (slot >= slots.end(*expert)) ++expert;
      const OperandRows to =
          work.gathered(row_format(cpu, experts.gate_up[static_cast<size_t>(*expert)].desc));
      cpu.kernels->rows({
          .x = operand_at(from, slots.row[slot], 0),
          .rows = 1,
          .cols = cols,
          .y = operand_at(to, slot, 0),
          .y_format = to.format,
      });
    }
  });
}

/// One group of columns of silu(gate) · up for all rows of one expert.
void gate_up_group(const Cpu& cpu, const Experts& experts, int64_t e, int64_t group,
                   const Workspace& work, int thread) {
  const Linear& w = experts.gate_up[static_cast<size_t>(e)];
  const OperandRows x = work.gathered(row_format(cpu, w.desc));
  const OperandRows to = work.gated(row_format(cpu, experts.down[static_cast<size_t>(e)].desc));
  const PanelLayout layout(w.desc);
  const int64_t panel = group * kGroupPanels;
  const int64_t column = group * kGatedCols;
  const int64_t cols = std::min(kGatedCols, layout.part_rows - column);
  const int64_t end = work.slots.end(e);
  float* sums = work.sums(thread);
  float* products = work.products(thread);
  for (int64_t slot = work.slots.begin(e); slot < end; slot += kBlockRows) {
    const int64_t count = std::min(kBlockRows, end - slot);
    multiply_panels(cpu, x, slot, count, w, panel, std::min(kGroupPanels, layout.panels - panel),
                    sums);
    cpu.kernels->finish({
        .finish = Finish::silu_mul,
        .c = sums,
        .c_stride = kGroupCols,
        .rows = count,
        .cols = cols,
        .y = products,
        .y_stride = kGatedCols,
    });
    cpu.kernels->rows({
        .x = products,
        .x_stride = kGatedCols,
        .rows = count,
        .cols = cols,
        .y = operand_at(to, slot, column),
        .y_stride = to.stride,
        .y_format = to.format,
    });
  }
}

/// Groups of columns of all experts are shared out over threads, so that few rows keep all of them
/// busy and each weight is read once.
void gate_up(Cpu& cpu, const Experts& experts, const Workspace& work) {
  const Vec<int32_t>& active = work.slots.active;
  const int64_t groups = divide_up(PanelLayout(experts.gate_up[0].desc).panels, kGroupPanels);
  cpu.threads->parallel_dynamic(
      active.size * groups, 1, [&](int64_t first, int64_t last, int thread) {
        for (int64_t item = first; item < last; ++item) {
          gate_up_group(cpu, experts, active[item / groups], item % groups, work, thread);
        }
      });
}

/// x += the weighted sum over experts, for some panels of columns. One thread goes through all
/// experts in order, so the sum of an element has one order.
void down_panels(const Cpu& cpu, const Experts& experts, const Workspace& work, int64_t panel,
                 int64_t panels, int thread, Mat<float> x) {
  const Slots& slots = work.slots;
  const int64_t column = panel * kPanelCols;
  const int64_t cols = std::min(panels * kPanelCols, x.cols - column);
  float* sums = work.sums(thread);
  float* totals = work.totals(thread);
  std::fill(totals, totals + x.rows * kGroupCols, 0.0F);
  for (const int32_t e : slots.active) {
    const Linear& w = experts.down[static_cast<size_t>(e)];
    const OperandRows gated = work.gated(row_format(cpu, w.desc));
    const int64_t end = slots.end(e);
    for (int64_t slot = slots.begin(e); slot < end; slot += kBlockRows) {
      const int64_t count = std::min(kBlockRows, end - slot);
      multiply_panels(cpu, gated, slot, count, w, panel, panels, sums);
      for (int64_t i = 0; i < count; ++i) {
        cpu.kernels->blend({.blend = Blend::add,
                            .y = sums + i * kGroupCols,
                            .scale = slots.weight[slot + i],
                            .x = totals + slots.row[slot + i] * kGroupCols,
                            .cols = cols});
      }
    }
  }
  for (int64_t r = 0; r < x.rows; ++r) {
    cpu.kernels->blend(
        {.blend = Blend::add, .y = totals + r * kGroupCols, .x = x.row(r) + column, .cols = cols});
  }
}

void down(Cpu& cpu, const Experts& experts, const Workspace& work, Mat<float> x) {
  const int64_t panels = PanelLayout(experts.down[0].desc).panels;
  int64_t at_once = kGroupPanels;
  while (at_once > 1 && divide_up(panels, at_once) < int64_t{2} * cpu.threads->count())
    at_once /= 2;
  cpu.threads->parallel_dynamic(
      divide_up(panels, at_once), 1, [&](int64_t first, int64_t last, int thread) {
        for (int64_t item = first; item < last; ++item) {
          const int64_t panel = item * at_once;
          down_panels(cpu, experts, work, panel, std::min(at_once, panels - panel), thread, x);
        }
      });
}

MoeShape shape_of(const Experts& experts, int64_t rows) {
  const LinearDesc& d = experts.down[0].desc;
  return {rows, d.out, d.in, experts.count(), experts.top_k};
}

void check(const Experts& experts, const MoeShape& shape, const RmsNorm& norm, Mat<float> x) {
  const int64_t h = shape.hidden_size;
  require_equal(x.cols, h, "rms_norm_moe: width of x");
  require_equal(norm.weight.size, h, "rms_norm_moe: width of the norm");
  require_equal(experts.router.desc.out, shape.num_experts, "rms_norm_moe: rows of the router");
  require_equal(experts.router.desc.in, h, "rms_norm_moe: width of the router");
  require(experts.router.desc.activation == ActFormat::f32, "rms_norm_moe: a float32 router");
  require_equal(static_cast<int64_t>(experts.down.size()), shape.num_experts,
                "rms_norm_moe: down projections");
  for (size_t e = 0; e < experts.gate_up.size(); ++e) {
    const LinearDesc& in = experts.gate_up[e].desc;
    const LinearDesc& out = experts.down[e].desc;
    require(in.kind == LinearKind::gate_up && in.in == h && out.out == h &&
                in.out == 2 * shape.moe_intermediate_size && out.in * 2 == in.out,
            "rms_norm_moe: shape of an expert");
    require(experts.gate_up[e].bias == nullptr && experts.down[e].bias == nullptr,
            "rms_norm_moe: experts have no bias");
  }
}

void add_experts(Cpu& cpu, const RmsNorm& norm, const Experts& experts, Mat<float> x) {
  const int64_t mark = cpu.scratch->used();
  Workspace work(shape_of(experts, x.rows), cpu.threads->count(), cpu.scratch);
  normalise(cpu, norm, x, work.normed());
  const Mat<float>& logits = work.logits;
  multiply(cpu, work.normed(), experts.router,
           {Finish::store, {logits.data, DType::f32, logits.rows, logits.cols, logits.stride}});
  cpu.threads->parallel_for(x.rows, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      choose_experts({logits.row(r), logits.cols}, {work.ids.row(r), work.ids.cols},
                     {work.weights.row(r), work.weights.cols});
    }
  });
  fill_slots(work);
  gather(cpu, experts, work, x.cols);
  gate_up(cpu, experts, work);
  down(cpu, experts, work, x);
  cpu.scratch->rewind(mark);
}

}  // namespace

int64_t moe_scratch_bytes(const Cpu& cpu, const MoeShape& shape) {
  if (shape.num_experts == 0) return 0;
  MoeShape at_once = shape;
  at_once.rows = std::min(shape.rows, kRoutedRows);
  // The router's product takes its own sums.
  return Workspace(at_once, cpu.threads->count(), nullptr).bytes() +
         multiply_scratch_bytes(cpu, 0, 0);
}

void rms_norm_moe(Cpu& cpu, RowRoles roles, const RmsNorm& norm, const Experts& experts,
                  Mat<float> x) {
  require_equal(x.rows, roles.rows(), "rms_norm_moe: rows");
  check(experts, shape_of(experts, x.rows), norm, x);
  const int64_t passes = divide_up(x.rows, kRoutedRows);
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t first = x.rows * pass / passes;
    add_experts(cpu, norm, experts, x.slice_rows(first, x.rows * (pass + 1) / passes - first));
  }
}

}  // namespace qvl

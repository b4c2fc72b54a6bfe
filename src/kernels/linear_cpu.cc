#include "kernels/multiply_cpu.h"

namespace qvl {
namespace {

void multiply_act(Cpu& cpu, const ActMat& x, const Linear& w, const Product& product) {
  require_equal(x.cols, w.desc.in, "linear: width of x");
  require(x.dtype == act_dtype(w.desc.activation), "linear: type of x");
  const RowFormat format = row_format(cpu, w.desc);
  // bf16 pairs of an odd row would end in its neighbour, whose NaN times zero is not zero.
  if (format == RowFormat::f32 || (format == RowFormat::bf16_pairs && w.desc.in % 2 == 0)) {
    multiply(cpu, OperandRows{x.data, x.stride, format}, w, product);
    return;
  }
  const auto prepare = [&](int64_t first, int64_t count, const OperandRows& to) {
    cpu.kernels->rows({
        .x = x.slice_rows(first, count).data,
        .x_type = value_type(x.dtype),
        .x_stride = x.stride,
        .rows = count,
        .cols = x.cols,
        .y = to.data,
        .y_stride = to.stride,
        .y_format = to.format,
    });
  };
  multiply(cpu, prepare, w, product);
}

}  // namespace

void linear(Cpu& cpu, RowRoles roles, ActMat x, const Linear& w, ActMat y) {
  require_equal(x.rows, roles.rows(), "linear: rows");
  require_equal(y.rows, x.rows, "linear: rows of y");
  multiply_act(cpu, x, w, {Finish::store, y});
}

void linear_residual(Cpu& cpu, RowRoles roles, ActMat a, const Linear& w, Mat<float> x) {
  require_equal(a.rows, roles.rows(), "linear_residual: rows");
  require_equal(x.rows, a.rows, "linear_residual: rows of x");
  multiply_act(cpu, a, w, {Finish::add, {x.data, DType::f32, x.rows, x.cols, x.stride}});
}

}  // namespace qvl

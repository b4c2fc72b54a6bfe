#include "kernels/multiply_cpu.h"
#include "kernels/norm_linear.h"

namespace qvl {
namespace {

NormJob rms_job(const RmsNorm& norm, int64_t cols) {
  require_equal(norm.weight.size, cols, "rms norm: width");
  return {.cols = cols, .weight = norm.weight.data, .eps = norm.eps};
}

void rms_norm_multiply(Cpu& cpu, Mat<const float> x, const RmsNorm& norm, const Linear& w,
                       const Product& product) {
  require_equal(x.cols, w.desc.in, "rms norm: width of x");
  require_equal(product.y.rows, x.rows, "rms norm: rows of y");
  const auto prepare = [&](int64_t first, int64_t count, const OperandRows& to) {
    NormJob job = rms_job(norm, x.cols);
    job.x = x.row(first);
    job.x_stride = x.stride;
    job.rows = count;
    job.y = to.data;
    job.y_stride = to.stride;
    job.y_format = to.format;
    cpu.kernels->norm(job);
  };
  multiply(cpu, prepare, w, product);
}

void layer_norm_multiply(Cpu& cpu, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                         const Product& product) {
  const int64_t merge = w.desc.in / x.cols;
  const int64_t width = norm.weight.size;
  require_equal(merge * x.cols, w.desc.in, "layer norm: merged width");
  require_equal(product.y.rows * merge, x.rows, "layer norm: rows of y");
  require(width == x.cols || width == w.desc.in, "layer norm: width");
  require(merge == 1 || x.stride == x.cols, "layer norm: merged rows must be adjacent");
  const int64_t parts = w.desc.in / width;  // normalised one by one within a row of the product
  const auto prepare = [&](int64_t first, int64_t count, const OperandRows& to) {
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t column = part * width;
      const int64_t bytes = to.format == RowFormat::bf16_pairs ? 2 : 4;
      cpu.kernels->norm({
          .x = x.row(first * merge) + column,
          .x_stride = x.stride * merge,
          .rows = count,
          .cols = width,
          .weight = norm.weight.data,
          .bias = norm.bias.data,
          .eps = norm.eps,
          .y = static_cast<std::byte*>(to.data) + column * bytes,
          .y_stride = to.stride,
          .y_format = to.format,
      });
    }
  };
  multiply(cpu, prepare, w, product);
}

}  // namespace

void rms_norm_linear(Cpu& cpu, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                     const Linear& w, ActMat y) {
  require_equal(x.rows, roles.rows(), "rms_norm_linear: rows");
  rms_norm_multiply(cpu, x, norm, w, {Finish::store, y});
}

void rms_norm_gate_up_silu(Cpu& cpu, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                           const Linear& gate_up, ActMat y) {
  require_equal(x.rows, roles.rows(), "rms_norm_gate_up_silu: rows");
  rms_norm_multiply(cpu, x, norm, gate_up, {Finish::silu_mul, y});
}

void rms_norm_head(Cpu& cpu, RowRoles roles, Mat<const float> x, Vec<const int32_t> rows,
                   const RmsNorm& norm, const Linear& w, Mat<float> logits) {
  require_equal(rows.size, roles.rows(), "rms_norm_head: rows");
  require_equal(logits.rows, rows.size, "rms_norm_head: rows of logits");
  require_equal(x.cols, w.desc.in, "rms_norm_head: width of x");
  const auto prepare = [&](int64_t first, int64_t count, const OperandRows& to) {
    const int64_t bytes = to.format == RowFormat::bf16_pairs ? 2 : 4;
    for (int64_t i = 0; i < count; ++i) {
      NormJob job = rms_job(norm, x.cols);
      job.x = x.row(rows[first + i]);
      job.rows = 1;
      job.y = static_cast<std::byte*>(to.data) + i * to.stride * bytes;
      job.y_format = to.format;
      cpu.kernels->norm(job);
    }
  };
  const ActMat y{logits.data, DType::f32, logits.rows, logits.cols, logits.stride};
  multiply(cpu, prepare, w, {Finish::store, y});
}

void layer_norm_linear(Cpu& cpu, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                       ActMat y) {
  layer_norm_multiply(cpu, x, norm, w, {Finish::store, y});
}

void layer_norm_linear_gelu(Cpu& cpu, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                            Gelu gelu, ActMat y) {
  const Finish finish = gelu == Gelu::tanh ? Finish::gelu_tanh : Finish::gelu_erf;
  layer_norm_multiply(cpu, x, norm, w, {finish, y});
}

}  // namespace qvl

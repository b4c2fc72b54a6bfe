#include <vector>

#include "kernels/activations.h"
#include "kernels/norm_linear.h"

namespace qvl {
namespace {

/// A matrix of activations of its own: the reference composes primitives and may allocate.
struct OwnedAct {
  std::vector<float> f32;
  std::vector<bf16> half;
  ActMat view;

  OwnedAct(ActFormat format, int64_t rows, int64_t cols) {
    const auto n = static_cast<size_t>(rows * cols);
    void* data = nullptr;
    if (format == ActFormat::bf16) {
      half.resize(n);
      data = half.data();
    } else {
      f32.resize(n);
      data = f32.data();
    }
    view = {data, act_dtype(format), rows, cols, cols};
  }
};

void rms_norm_row(const float* x, const RmsNorm& norm, float* y) {
  const int64_t n = norm.weight.size;
  float sum = 0.0F;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const float scale = 1.0F / std::sqrt(sum / static_cast<float>(n) + norm.eps);
  for (int64_t i = 0; i < n; ++i) y[i] = norm.weight[i] * (x[i] * scale);
}

void layer_norm_row(const float* x, const LayerNorm& norm, float* y) {
  const int64_t n = norm.weight.size;
  float sum = 0.0F;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(n);
  float square = 0.0F;
  for (int64_t i = 0; i < n; ++i) square += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0F / std::sqrt(square / static_cast<float>(n) + norm.eps);
  for (int64_t i = 0; i < n; ++i) y[i] = norm.weight[i] * ((x[i] - mean) * scale) + norm.bias[i];
}

void store_row(const std::vector<float>& row, const ActMat& to, int64_t r) {
  dispatch_float(to.dtype, [&]<class T>() {
    for (int64_t i = 0; i < to.cols; ++i) to.as<T>()(r, i) = T(row[static_cast<size_t>(i)]);
  });
}

OwnedAct rms_norm(Mat<const float> x, const RmsNorm& norm, ActFormat format) {
  require_equal(norm.weight.size, x.cols, "rms norm: width");
  OwnedAct out(format, x.rows, x.cols);
  std::vector<float> row(static_cast<size_t>(x.cols));
  for (int64_t r = 0; r < x.rows; ++r) {
    rms_norm_row(x.row(r), norm, row.data());
    store_row(row, out.view, r);
  }
  return out;
}

/// Rows of x taken m at a time as one row of m·x.cols; see layer_norm_linear_gelu.
OwnedAct layer_norm(Mat<const float> x, const LayerNorm& norm, int64_t merged_cols,
                    ActFormat format) {
  const int64_t merge = merged_cols / x.cols;
  require_equal(merge * x.cols, merged_cols, "layer norm: merged width");
  require(norm.weight.size == x.cols || norm.weight.size == merged_cols, "layer norm: width");
  OwnedAct out(format, x.rows / merge, merged_cols);
  std::vector<float> row(static_cast<size_t>(merged_cols));
  std::vector<float> normed(static_cast<size_t>(merged_cols));
  for (int64_t r = 0; r < out.view.rows; ++r) {
    for (int64_t i = 0; i < merged_cols; ++i) {
      row[static_cast<size_t>(i)] = x(r * merge + i / x.cols, i % x.cols);
    }
    for (int64_t first = 0; first < merged_cols; first += norm.weight.size) {
      layer_norm_row(row.data() + first, norm, normed.data() + first);
    }
    store_row(normed, out.view, r);
  }
  return out;
}

}  // namespace

void rms_norm_linear(Ref& ref, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                     const Linear& w, ActMat y) {
  linear(ref, roles, rms_norm(x, norm, w.desc.activation).view, w, y);
}

void rms_norm_gate_up_silu(Ref& ref, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                           const Linear& gate_up, ActMat y) {
  OwnedAct both(ActFormat::f32, x.rows, gate_up.desc.out);
  linear(ref, roles, rms_norm(x, norm, gate_up.desc.activation).view, gate_up, both.view);
  const Mat<float> gate = both.view.as<float>().slice_cols(0, y.cols);
  const Mat<float> up = both.view.as<float>().slice_cols(y.cols, y.cols);
  dispatch_float(y.dtype, [&]<class Out>() {
    const Mat<Out> out = y.as<Out>();
    for (int64_t r = 0; r < y.rows; ++r) {
      for (int64_t i = 0; i < y.cols; ++i) out(r, i) = Out(silu(gate(r, i)) * up(r, i));
    }
  });
}

void rms_norm_head(Ref& ref, RowRoles roles, Mat<const float> x, Vec<const int32_t> rows,
                   const RmsNorm& norm, const Linear& w, Mat<float> logits) {
  std::vector<float> gathered;
  for (const int32_t r : rows) gathered.insert(gathered.end(), x.row(r), x.row(r) + x.cols);
  const Mat<const float> picked = make_mat<const float>(gathered.data(), rows.size, x.cols);
  linear(ref, roles, rms_norm(picked, norm, w.desc.activation).view, w,
         {logits.data, DType::f32, logits.rows, logits.cols, logits.stride});
}

void layer_norm_linear(Ref& ref, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                       ActMat y) {
  linear(ref, {.prompt = y.rows}, layer_norm(x, norm, w.desc.in, w.desc.activation).view, w, y);
}

void layer_norm_linear_gelu(Ref& ref, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                            Gelu gelu, ActMat y) {
  OwnedAct sums(ActFormat::f32, y.rows, y.cols);
  layer_norm_linear(ref, x, norm, w, sums.view);
  const Mat<float> v = sums.view.as<float>();
  dispatch_float(y.dtype, [&]<class Out>() {
    const Mat<Out> out = y.as<Out>();
    for (int64_t r = 0; r < y.rows; ++r) {
      for (int64_t i = 0; i < y.cols; ++i) {
        out(r, i) = Out(gelu == Gelu::tanh ? gelu_tanh(v(r, i)) : gelu_erf(v(r, i)));
      }
    }
  });
}

}  // namespace qvl

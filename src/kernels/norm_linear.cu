#include "kernels/device/norm.cuh"
#include "kernels/device/products.cuh"
#include "kernels/norm_linear.h"

namespace qvl {
namespace {

using device::ScratchScope;

ActMat rms_normed(const Cuda& cuda, ScratchScope& scratch, Mat<const float> x,
                  const RmsNorm& norm) {
  const ActMat out = scratch.half_rows(x.rows, x.cols);
  device::launch_rms_norm(cuda, x, nullptr, norm, out);
  return out;
}

/// Rows of x taken m at a time as one row of m·x.cols; see layer_norm_linear_gelu.
ActMat layer_normed(const Cuda& cuda, ScratchScope& scratch, Mat<const float> x,
                    const LayerNorm& norm, int64_t merged_cols) {
  const int64_t merge = merged_cols / x.cols;
  require_equal(merge * x.cols, merged_cols, "layer norm: merged width");
  require(norm.weight.size == x.cols || norm.weight.size == merged_cols, "layer norm: width");
  require_equal(x.stride, x.cols, "layer norm: rows lie side by side");
  const ActMat out = scratch.half_rows(x.rows / merge, merged_cols);
  device::launch_layer_norm(cuda, x, norm, out);
  return out;
}

template <class Activation>
device::StoreHalf<Activation> store(const Linear& w, const ActMat& y) {
  require(y.dtype == DType::bf16, "device results are bfloat16");
  return {device::half(y.data), y.stride, w.bias};
}

}  // namespace

void rms_norm_linear(Cuda& cuda, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                     const Linear& w, ActMat y) {
  ScratchScope scratch(cuda);
  device::product(cuda, roles, rms_normed(cuda, scratch, x, norm), w,
                  store<device::NoChange>(w, y));
}

void rms_norm_gate_up_silu(Cuda& cuda, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                           const Linear& gate_up, ActMat y) {
  ScratchScope scratch(cuda);
  device::product(cuda, roles, rms_normed(cuda, scratch, x, norm), gate_up,
                  device::SiluProduct{device::half(y.data), y.stride});
}

/// Rows of both roles go through the skinny kernel: of a prompt it is one row.
void rms_norm_head(Cuda& cuda, RowRoles, Mat<const float> x, Vec<const int32_t> rows,
                   const RmsNorm& norm, const Linear& w, Mat<float> logits) {
  ScratchScope scratch(cuda);
  const ActMat normed = scratch.half_rows(rows.size, x.cols);
  device::launch_rms_norm(cuda, x, rows.data, norm, normed);
  device::skinny_product(cuda, normed, w, device::StoreFloat{logits.data, logits.stride, nullptr});
}

void layer_norm_linear(Cuda& cuda, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                       ActMat y) {
  ScratchScope scratch(cuda);
  device::product(cuda, {.prompt = y.rows}, layer_normed(cuda, scratch, x, norm, w.desc.in), w,
                  store<device::NoChange>(w, y));
}

void layer_norm_linear_gelu(Cuda& cuda, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                            Gelu gelu, ActMat y) {
  ScratchScope scratch(cuda);
  const ActMat normed = layer_normed(cuda, scratch, x, norm, w.desc.in);
  if (gelu == Gelu::tanh) {
    device::product(cuda, {.prompt = y.rows}, normed, w, store<device::GeluTanh>(w, y));
  } else {
    device::product(cuda, {.prompt = y.rows}, normed, w, store<device::GeluErf>(w, y));
  }
}

}  // namespace qvl

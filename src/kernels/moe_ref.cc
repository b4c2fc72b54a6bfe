#include <algorithm>
#include <cstddef>

#include "kernels/moe.h"

namespace qvl {

void rms_norm_moe(Ref& ref, RowRoles roles, const RmsNorm& norm, const Experts& experts,
                  Mat<float> x) {
  require_equal(x.rows, roles.rows(), "rms_norm_moe: rows");
  const auto vector = [](int64_t n) { return std::vector<float>(static_cast<size_t>(n)); };
  const auto row_of = [](std::vector<float>& v) {
    const auto n = static_cast<int64_t>(v.size());
    return ActMat{v.data(), DType::f32, 1, n, n};
  };
  std::vector<float> logits = vector(experts.count());
  std::vector<float> sum = vector(x.cols);
  std::vector<float> y = vector(x.cols);
  std::vector<float> weights = vector(experts.top_k);
  std::vector<int32_t> ids(static_cast<size_t>(experts.top_k));
  const RowRoles one{.prompt = 1};
  for (int64_t r = 0; r < x.rows; ++r) {
    const Mat<const float> row = x.slice_rows(r, 1);
    rms_norm_linear(ref, one, row, norm, experts.router, row_of(logits));
    choose_experts({logits.data(), experts.count()}, {ids.data(), experts.top_k},
                   {weights.data(), experts.top_k});
    std::fill(sum.begin(), sum.end(), 0.0F);
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto e = static_cast<size_t>(ids[i]);
      const Linear& down = experts.down[e];
      const DType act = act_dtype(down.desc.activation);
      std::vector<std::byte> room(static_cast<size_t>(down.desc.in * dtype_bytes(act)));
      const ActMat mid{room.data(), act, 1, down.desc.in, down.desc.in};
      rms_norm_gate_up_silu(ref, one, row, norm, experts.gate_up[e], mid);
      linear(ref, one, mid, down, row_of(y));
      for (size_t c = 0; c < sum.size(); ++c) sum[c] += weights[i] * y[c];
    }
    for (size_t c = 0; c < sum.size(); ++c) x(r, static_cast<int64_t>(c)) += sum[c];
  }
}

}  // namespace qvl

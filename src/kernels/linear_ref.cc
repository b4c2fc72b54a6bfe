#include <cstring>

#include "kernels/linear.h"

namespace qvl {
namespace {

int64_t weight_bytes(WeightFormat format) { return format == WeightFormat::f32 ? 4 : 2; }

template <class F>
decltype(auto) dispatch_weight(WeightFormat format, F&& f) {
  switch (format) {
    case WeightFormat::f16:
      return f.template operator()<f16>();
    case WeightFormat::bf16:
      return f.template operator()<bf16>();
    case WeightFormat::f32:
      break;
  }
  return f.template operator()<float>();
}

/// store(row, column, x[row]·W[column] + b[column])
template <class Act, class Store>
void for_each_output(Mat<const Act> x, const Linear& w, const Store& store) {
  require_equal(x.cols, w.desc.in, "linear: width of x");
  dispatch_weight(w.desc.weight, [&]<class Weight>() {
    const auto* weights = static_cast<const Weight*>(w.data);
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t n = 0; n < w.desc.out; ++n) {
        float sum = 0.0F;
        for (int64_t k = 0; k < w.desc.in; ++k) {
          sum += static_cast<float>(x(r, k)) * static_cast<float>(weights[n * w.desc.in + k]);
        }
        store(r, n, w.bias == nullptr ? sum : sum + w.bias[n]);
      }
    }
  });
}

}  // namespace

int64_t packed_bytes(const Ref&, const LinearDesc& desc) {
  return Arena::padded(desc.out * desc.in * weight_bytes(desc.weight));
}

Linear pack_linear(Ref&, const LinearDesc& desc, RowReader rows, const float* bias, Arena& arena) {
  const int64_t row_bytes = desc.in * weight_bytes(desc.weight);
  auto* data = arena.take<std::byte>(desc.out * row_bytes);
  constexpr int64_t kRowsAtOnce = 16;
  for (int64_t n = 0; n < desc.out; n += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, desc.out - n);
    std::memcpy(data + n * row_bytes, rows(n, count), static_cast<size_t>(count * row_bytes));
  }
  return {desc, data, bias};
}

void linear(Ref&, RowRoles roles, ActMat x, const Linear& w, ActMat y) {
  require_equal(x.rows, roles.rows(), "linear: rows");
  dispatch_float(x.dtype, [&]<class Act>() {
    dispatch_float(y.dtype, [&]<class Out>() {
      const Mat<Out> out = y.as<Out>();
      for_each_output<Act>(x.as<const Act>(), w,
                           [&](int64_t r, int64_t n, float v) { out(r, n) = Out(v); });
    });
  });
}

void linear_residual(Ref&, RowRoles roles, ActMat a, const Linear& w, Mat<float> x) {
  require_equal(a.rows, roles.rows(), "linear_residual: rows");
  dispatch_float(a.dtype, [&]<class Act>() {
    for_each_output<Act>(a.as<const Act>(), w,
                         [&](int64_t r, int64_t n, float v) { x(r, n) += v; });
  });
}

void gather_rows(Ref&, Vec<const int32_t> ids, const Linear& w, Mat<float> x) {
  dispatch_weight(w.desc.weight, [&]<class Weight>() {
    const auto* weights = static_cast<const Weight*>(w.data);
    for (int64_t r = 0; r < ids.size; ++r) {
      for (int64_t k = 0; k < w.desc.in; ++k) {
        x(r, k) = static_cast<float>(weights[ids[r] * w.desc.in + k]);
      }
    }
  });
}

}  // namespace qvl

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/int4_row.h"
#include "kernels/linear.h"

namespace qvl {
namespace {

int64_t row_bytes(const LinearDesc& desc) {
  if (desc.weight == WeightFormat::int4) return Int4Row{desc.in, desc.group_size}.bytes();
  return desc.in * (desc.weight == WeightFormat::f32 ? 4 : 2);
}

template <class F>
decltype(auto) dispatch_weight(WeightFormat format, F&& f) {
  switch (format) {
    case WeightFormat::f16:
      return f.template operator()<f16>();
    case WeightFormat::bf16:
      return f.template operator()<bf16>();
    case WeightFormat::f32:
    case WeightFormat::int4:
      break;
  }
  return f.template operator()<float>();
}

/// x · w of a 4-bit row: each group's sum of exact products, times its scale.
template <class Act>
float dot_int4(const Act* x, const Int4Row& layout, const void* row) {
  const uint8_t* const values = layout.values(row);
  float sum = 0.0F;
  for (int64_t g = 0; g < layout.groups(); ++g) {
    const int64_t first = g * layout.group_size;
    const int64_t last = std::min(first + layout.group_size, layout.in);
    float group_sum = 0.0F;
    for (int64_t k = first; k < last; ++k) {
      const int q = values[k / 2] >> (k % 2 * 4) & 15;
      group_sum += static_cast<float>(x[k]) * static_cast<float>(q - layout.zeros(row)[g]);
    }
    sum += group_sum * layout.scales(row)[g];
  }
  return sum;
}

template <class Act, class Store>
void for_each_int4_output(Mat<const Act> x, const Linear& w, const Store& store) {
  const Int4Row layout{w.desc.in, w.desc.group_size};
  const auto* rows = static_cast<const std::byte*>(w.data);
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t n = 0; n < w.desc.out; ++n) {
      const float sum = dot_int4(x.row(r), layout, rows + n * layout.bytes());
      store(r, n, w.bias == nullptr ? sum : sum + w.bias[n]);
    }
  }
}

/// store(row, column, x[row]·W[column] + b[column])
template <class Act, class Store>
void for_each_output(Mat<const Act> x, const Linear& w, const Store& store) {
  require_equal(x.cols, w.desc.in, "linear: width of x");
  if (w.desc.weight == WeightFormat::int4) return for_each_int4_output(x, w, store);
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

bool keeps_int4(const Ref&, const LinearDesc&) { return true; }

int64_t packed_bytes(const Ref&, const LinearDesc& desc) {
  return Arena::padded(desc.out * row_bytes(desc));
}

Linear pack_linear(Ref&, const LinearDesc& desc, RowReader rows, const float* bias, Arena& arena) {
  const int64_t bytes = row_bytes(desc);
  auto* data = arena.take<std::byte>(desc.out * bytes);
  constexpr int64_t kRowsAtOnce = 16;
  for (int64_t n = 0; n < desc.out; n += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, desc.out - n);
    std::memcpy(data + n * bytes, rows(n, count), static_cast<size_t>(count * bytes));
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
  require(w.desc.weight != WeightFormat::int4, "gather_rows: rows of 4 bits");
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

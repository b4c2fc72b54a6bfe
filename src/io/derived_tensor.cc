#include "io/derived_tensor.h"

#include <array>

#include "core/check.h"

namespace qvl {
namespace {

template <class T>
void widen(const T* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

constexpr std::array<float, 256> kF8Values = [] {
  std::array<float, 256> values{};
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(f8_e4m3{static_cast<uint8_t>(i)});
  }
  return values;
}();

}  // namespace

DerivedTensor::DerivedTensor(TensorInfo info, const TensorSource& source,
                             const std::vector<const TensorInfo*>& inputs)
    : TensorInfo(std::move(info)), source_(source) {
  for (const TensorInfo* input : inputs) {
    if (input == nullptr) continue;
    inputs_.push_back(input);
    if (!quantised.empty()) stored_bytes += input->rows() * input->row_bytes();
  }
}

void DerivedTensor::release() const {
  for (const TensorInfo* input : inputs_) source_.release(*input, 0, input->rows());
}

void DerivedTensor::Reader::floats(int64_t index, int64_t first, int64_t count, float* to) {
  switch (tensor_.dtype) {
    case DType::f32:
      return widen(row<float>(index) + first, count, to);
    case DType::f16:
      return widen(row<f16>(index) + first, count, to);
    case DType::bf16:
      return widen(row<bf16>(index) + first, count, to);
    case DType::f8_e4m3: {
      const auto* const bits = row<uint8_t>(index) + first;
      for (int64_t i = 0; i < count; ++i) to[i] = kF8Values[bits[i]];
      return;
    }
    default:
      require(false, "floats of a tensor of whole numbers");
  }
}

}  // namespace qvl

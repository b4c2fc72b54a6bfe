#include "bench/kernel_data.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>

#include "bench/random_data.h"
#include "core/int4_row.h"

namespace qvl {

void* KernelData::take(int64_t bytes) {
  bytes_ += Arena::padded(bytes);
  return arena_ == nullptr ? nullptr : arena_->take_bytes(bytes);
}

void* KernelData::random(DType dtype, int64_t count, float amplitude) {
  void* data = take(count * dtype_bytes(dtype));
  ++seed_;
  if (data != nullptr) fill_random(*cpu_.threads, dtype, data, count, amplitude, seed_);
  return data;
}

Vec<const float> KernelData::norm_weight(int64_t size) {
  auto* data = static_cast<float*>(random(DType::f32, size, 0.25F));
  for (int64_t i = 0; data != nullptr && i < size; ++i) data[i] += 1.0F;
  return {data, size};
}

RopeTable KernelData::rope(int64_t rows, int64_t pairs) {
  const auto pi = std::numbers::pi_v<float>;
  auto* cos = static_cast<float*>(random(DType::f32, rows * pairs, pi));
  auto* sin = static_cast<float*>(take(rows * pairs * dtype_bytes(DType::f32)));
  for (int64_t i = 0; cos != nullptr && i < rows * pairs; ++i) {
    const float angle = cos[i];
    cos[i] = std::cos(angle);
    sin[i] = std::sin(angle);
  }
  return {make_mat(cos, rows, pairs), make_mat(sin, rows, pairs)};
}

Vec<const int32_t> KernelData::indices(int64_t count, int64_t limit) {
  auto* data = static_cast<int32_t*>(take(count * dtype_bytes(DType::i32)));
  ++seed_;
  for (int64_t i = 0; data != nullptr && i < count; ++i) {
    data[i] = static_cast<int32_t>(random_bits(seed_, static_cast<uint64_t>(i)) %
                                   static_cast<uint64_t>(limit));
  }
  return {data, count};
}

Vec<const int32_t> KernelData::count_up(int64_t count) {
  auto* data = static_cast<int32_t*>(take(count * dtype_bytes(DType::i32)));
  for (int64_t i = 0; data != nullptr && i < count; ++i) data[i] = static_cast<int32_t>(i);
  return {data, count};
}

Linear KernelData::linear(const LinearDesc& desc, bool has_bias) {
  const float* bias = has_bias ? vector(desc.out).data : nullptr;
  bytes_ += packed_bytes(cpu_, desc);
  if (arena_ == nullptr) return {desc, nullptr, bias};
  const float amplitude = std::sqrt(3.0F / static_cast<float>(desc.in));
  if (desc.weight == WeightFormat::int4) return int4_linear(desc, bias, amplitude);
  require(desc.weight == WeightFormat::bf16, "weights of a benchmark are bf16 or int4");
  std::vector<bf16> rows;
  const auto read = [&](int64_t, int64_t count) {
    rows.resize(static_cast<size_t>(count * desc.in));
    fill_random(*cpu_.threads, DType::bf16, rows.data(), count * desc.in, amplitude, ++seed_);
    return static_cast<const void*>(rows.data());
  };
  return pack_linear(cpu_, desc, read, bias, *arena_);
}

/// Random values between -8 and 7, all scales alike.
Linear KernelData::int4_linear(const LinearDesc& desc, const float* bias, float amplitude) {
  const Int4Row layout{desc.in, desc.group_size};
  std::vector<std::byte> rows;
  std::mt19937 random(static_cast<uint32_t>(++seed_));
  const auto read = [&](int64_t, int64_t count) {
    rows.resize(static_cast<size_t>(count * layout.bytes()));
    for (int64_t r = 0; r < count; ++r) {
      std::byte* const row = rows.data() + r * layout.bytes();
      std::fill_n(layout.scales(row), layout.groups(), amplitude / 8);
      std::fill_n(layout.zeros(row), layout.groups(), uint8_t{8});
      for (int64_t i = 0; i < desc.in / 2; ++i) {
        layout.values(row)[i] = static_cast<uint8_t>(random());
      }
    }
    return static_cast<const void*>(rows.data());
  };
  return pack_linear(cpu_, desc, read, bias, *arena_);
}

}  // namespace qvl

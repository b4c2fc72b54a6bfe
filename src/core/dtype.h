#pragma once

/// Element types of tensors, and the two 16-bit floats on the host.

#include <bit>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace qvl {

/// i4 is no element type of files: its tensors consist of rows as core/int4_row.h has them.
enum class DType : uint8_t { f32, f16, bf16, f8_e4m3, i64, i32, i16, i8, u8, boolean, i4 };

/// 0 for i4, whose elements have no bytes of their own.
constexpr int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 2;
    case DType::f8_e4m3:
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 1;
    case DType::i4:
      break;
  }
  return 0;
}

/// The names of safetensors headers: "F32", "BF16", …
constexpr std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::f8_e4m3:
      return "F8_E4M3";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::i16:
      return "I16";
    case DType::i8:
      return "I8";
    case DType::u8:
      return "U8";
    case DType::boolean:
      return "BOOL";
    case DType::i4:
      return "I4";
  }
  return "?";
}

/// bfloat16 storage. Conversion from float rounds to nearest even; NaN stays NaN.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<uint32_t>(value);
    if ((u & 0x7fffffffU) > 0x7f800000U) {
      bits = static_cast<uint16_t>((u >> 16) | 0x40U);
    } else {
      bits = static_cast<uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
    }
  }
  explicit operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

/// FP8 of four exponent and three mantissa bits, without infinities; only ever widened.
struct f8_e4m3 {
  uint8_t bits = 0;

  constexpr explicit operator float() const {
    const uint32_t sign = uint32_t{bits & 0x80U} << 24;
    const uint32_t exponent = (bits >> 3) & 15U;
    const uint32_t mantissa = bits & 7U;
    if ((bits & 0x7fU) == 0x7fU) return std::bit_cast<float>(sign | 0x7fc00000U);
    if (exponent == 0) {  // zero and subnormals: mantissa · 2^-9
      const float magnitude = static_cast<float>(mantissa) * 0x1p-9F;
      return sign ? -magnitude : magnitude;
    }
    return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
  }
};

/// IEEE half storage; only ever widened.
struct f16 {
  uint16_t bits = 0;

  explicit operator float() const {
    const uint32_t sign = uint32_t{bits & 0x8000U} << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fU;
    const uint32_t mantissa = bits & 0x3ffU;
    if (exponent == 0) {  // zero and subnormals: mantissa · 2^-24, exact in float
      const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
      return sign ? -magnitude : magnitude;
    }
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  }
};

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<T, f16>)
    return DType::f16;
  else if constexpr (std::is_same_v<T, bf16>)
    return DType::bf16;
  else if constexpr (std::is_same_v<T, int64_t>)
    return DType::i64;
  else if constexpr (std::is_same_v<T, int32_t>)
    return DType::i32;
  else
    return DType::u8;
}

/// Calls f.operator()<float|bf16>() for the two activation types.
template <class F>
decltype(auto) dispatch_float(DType dtype, F&& f) {
  if (dtype == DType::bf16) return f.template operator()<bf16>();
  return f.template operator()<float>();
}

}  // namespace qvl

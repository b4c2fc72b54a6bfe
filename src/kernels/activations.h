#pragma once

/// The scalar functions of the model, as the reference defines them.

#include <cmath>

namespace qvl {

inline float silu(float v) { return v / (1.0F + std::exp(-v)); }

/// "gelu_pytorch_tanh"
inline float gelu_tanh(float v) {
  constexpr float kSqrt2OverPi = 0.7978845608028654F;
  return 0.5F * v * (1.0F + std::tanh(kSqrt2OverPi * (v + 0.044715F * v * v * v)));
}

inline float gelu_erf(float v) {
  constexpr float kSqrtHalf = 0.7071067811865476F;
  return 0.5F * v * (1.0F + std::erf(v * kSqrtHalf));
}

}  // namespace qvl

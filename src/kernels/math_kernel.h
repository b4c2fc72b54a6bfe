#pragma once

/// Elementary functions over the lanes of an instruction set. A lane's result does not depend on
/// the other lanes; NaN stays NaN.

#include "kernels/cpu_kernels.h"

namespace qvl {

template <class Simd>
struct MathKernel {
  using Floats = typename Simd::Floats;

  static Floats set1(float v) { return Simd::set1(v); }

  /// 2^f for |f| ≤ ½: minimax polynomial, relative error 3e-9 before rounding, exactly 1 at 0.
  static Floats exp2_fraction(Floats f) {
    Floats p = set1(0.00015469735145F);
    p = Simd::fma(p, f, set1(0.00133908668838F));
    p = Simd::fma(p, f, set1(0.0096180307707F));
    p = Simd::fma(p, f, set1(0.055503571054F));
    p = Simd::fma(p, f, set1(0.240226510842F));
    p = Simd::fma(p, f, set1(0.693147188029F));
    return Simd::fma(p, f, set1(1.0F));
  }

  /// 2^x, relative error below 1.5e-7; 0 where x < -126.5.
  static Floats exp2(Floats x) {
    x = Simd::max(set1(-1000.0F), x);  // so that x - round(x) is a number for -infinity too
    const Floats n = Simd::round(x);
    return Simd::scale(exp2_fraction(Simd::sub(x, n)), n);
  }

  /// e^x, relative error below 2e-7; infinity above 89, 0 below -88.
  static Floats exp(Floats x) {
    x = Simd::min(set1(600.0F), Simd::max(set1(-600.0F), x));
    // x·log2(e) in two parts: the rounding error of the first would grow with x.
    const Floats log2e = set1(0x1.715476p+0F);
    const Floats y = Simd::mul(x, log2e);
    const Floats rest = Simd::fma(x, set1(0x1.4ae0cp-26F), Simd::fms(x, log2e, y));
    const Floats n = Simd::round(y);
    return Simd::scale(exp2_fraction(Simd::add(Simd::sub(y, n), rest)), n);
  }

  static Floats silu(Floats v) {
    return Simd::div(v, Simd::add(set1(1.0F), exp(Simd::sub(Simd::zero(), v))));
  }

  /// ½·v·(1 + tanh(u)) = v / (1 + e^(-2u)), which does not cancel for negative v.
  static Floats gelu_tanh(Floats v) {
    constexpr float kMinusTwoSqrt2OverPi = -1.5957691216057308F;
    const Floats cube = Simd::mul(Simd::mul(v, v), v);
    const Floats u = Simd::fma(set1(0.044715F), cube, v);
    return Simd::div(v, Simd::add(set1(1.0F), exp(Simd::mul(u, set1(kMinusTwoSqrt2OverPi)))));
  }

  /// v·Φ(v) = ½·v·erfc(-v/√2). With x = |v|/√2 and t = 1/(1 + 0.3275911·x), erfc(x) =
  /// e^(-x²)·t·P(t), P the minimax polynomial of degree 7 for 0 ≤ x ≤ 6, relative error 6e-8.
  static Floats gelu_erf(Floats v) {
    const Floats x = Simd::mul(Simd::abs(v), set1(0.7071067811865476F));
    const Floats t = Simd::div(set1(1.0F), Simd::fma(set1(0.3275911F), x, set1(1.0F)));
    Floats p = set1(-0.1438155723F);
    p = Simd::fma(p, t, set1(0.5078346179F));
    p = Simd::fma(p, t, set1(-0.4249869563F));
    p = Simd::fma(p, t, set1(0.4706324938F));
    p = Simd::fma(p, t, set1(0.01637877601F));
    p = Simd::fma(p, t, set1(0.2085540812F));
    p = Simd::fma(p, t, set1(0.1803259754F));
    p = Simd::fma(p, t, set1(0.1850765307F));
    const Floats half = Simd::mul(set1(0.5F), v);
    const Floats square = Simd::mul(Simd::mul(half, v), set1(-1.0F));
    const Floats tail = Simd::mul(half, Simd::mul(exp(square), Simd::mul(t, p)));
    return Simd::where_negative(v, tail, Simd::sub(v, tail));
  }
};

}  // namespace qvl

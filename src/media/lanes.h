#pragma once

/// Vectors of the compiler's own, for units of one instruction set each.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace qvl {

/// `Isa` keeps apart what units of different instruction sets make of this.
template <class Isa, class T, size_t kLanes>
struct Lanes {
  using Vector [[gnu::vector_size(sizeof(T) * kLanes)]] = T;

  static Vector load(const void* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }
  static void store(void* to, Vector v) { std::memcpy(to, &v, sizeof v); }

  template <size_t... kLane>
  static Vector interleave(Vector a, Vector b, std::index_sequence<kLane...>) {
    return __builtin_shufflevector(a, b, (kLane / 2 + kLane % 2 * kLanes)...);
  }

  /// m[i][j] ↔ m[j][i]. Interleaving row i with row i + kLanes/2 moves the highest bit of the row's
  /// number to the lowest of the lane's; once for each bit.
  static void transpose(Vector (&m)[kLanes]) {
    using Order = std::make_index_sequence<kLanes>;
    for (size_t bit = 1; bit < kLanes; bit *= 2) {
      Vector next[kLanes];
      for (size_t i = 0; i < kLanes / 2; ++i) {
        next[2 * i] = interleave(m[i], m[i + kLanes / 2], Order{});
        next[2 * i + 1] = interleave_high(m[i], m[i + kLanes / 2], Order{});
      }
      for (size_t i = 0; i < kLanes; ++i) m[i] = next[i];
    }
  }

 private:
  template <size_t... kLane>
  static Vector interleave_high(Vector a, Vector b, std::index_sequence<kLane...>) {
    return __builtin_shufflevector(a, b, (kLanes / 2 + kLane / 2 + kLane % 2 * kLanes)...);
  }
};

}  // namespace qvl

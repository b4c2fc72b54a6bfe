#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/threads.h"

namespace qvl {

/// Fills `count` elements (f32, bf16 or u8) with numbers spread evenly over [-amplitude,
/// amplitude], bytes over all values. The same numbers for the same seed, whatever the threads.
/// Zeros would flatter: multipliers draw less power and clock higher on them.
void fill_random(Threads& threads, DType dtype, void* data, int64_t count, float amplitude,
                 uint64_t seed);

/// 64 well-mixed bits of a counter.
inline uint64_t random_bits(uint64_t seed, uint64_t index) {
  uint64_t x = (seed + 1) * 0xd1342543de82ef95U + index * 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

}  // namespace qvl

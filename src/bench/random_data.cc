#include "bench/random_data.h"

#include <algorithm>

#include "core/check.h"

namespace qvl {
namespace {

/// Elements that share one draw of 64 bits, 16 bits each.
constexpr int64_t kPerDraw = 4;

template <class T, class Convert>
void fill(Threads& threads, T* data, int64_t count, uint64_t seed, Convert convert) {
  const int64_t draws = (count + kPerDraw - 1) / kPerDraw;
  threads.parallel_for(draws, [&](int64_t first, int64_t last, int) {
    for (int64_t d = first; d < last; ++d) {
      uint64_t bits = random_bits(seed, static_cast<uint64_t>(d));
      const int64_t end = std::min(count, (d + 1) * kPerDraw);
      for (int64_t i = d * kPerDraw; i < end; ++i, bits >>= 16) {
        data[i] = convert(static_cast<uint16_t>(bits));
      }
    }
  });
}

}  // namespace

void fill_random(Threads& threads, DType dtype, void* data, int64_t count, float amplitude,
                 uint64_t seed) {
  // The middle of each of 65536 steps: symmetric, and never zero.
  const float step = amplitude / 32768.0F;
  const auto number = [=](uint16_t bits) { return (static_cast<float>(bits) - 32767.5F) * step; };
  switch (dtype) {
    case DType::f32:
      return fill(threads, static_cast<float*>(data), count, seed, number);
    case DType::bf16:
      return fill(threads, static_cast<bf16*>(data), count, seed,
                  [=](uint16_t bits) { return bf16(number(bits)); });
    case DType::u8:
      return fill(threads, static_cast<uint8_t*>(data), count, seed,
                  [](uint16_t bits) { return static_cast<uint8_t>(bits >> 8); });
    default:
      require(false, "fill_random: f32, bf16 or u8");
  }
}

}  // namespace qvl

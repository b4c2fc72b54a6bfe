#include "bench/roofs.h"

#include <emmintrin.h>

#include <atomic>
#include <bit>
#include <utility>

#include "bench/random_data.h"
#include "core/clock.h"

namespace qvl {
namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 20;
constexpr int64_t kPrefetchBytes = 2048;

/// Sums `bytes`, a multiple of 64, as 64-bit numbers.
uint64_t read_all(const std::byte* data, int64_t bytes) {
  const auto* p = reinterpret_cast<const __m128i*>(data);
  __m128i sums[4] = {};
  for (int64_t i = 0; i < bytes / 16; i += 4) {
    // Asking ahead is part of the limit: without it the operators, which do, read faster than this
    // loop.
    _mm_prefetch(reinterpret_cast<const char*>(p + i) + kPrefetchBytes, _MM_HINT_T0);
    for (int64_t s = 0; s < 4; ++s) sums[s] = _mm_add_epi64(sums[s], _mm_load_si128(p + i + s));
  }
  const __m128i sum =
      _mm_add_epi64(_mm_add_epi64(sums[0], sums[1]), _mm_add_epi64(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(sum)) ^
         static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum)));
}

}  // namespace

Result<RoofMeter> RoofMeter::create(const Cpu& cpu) {
  RoofMeter meter(cpu);
  Result<Arena> arena = Arena::create("measuring the read bandwidth", kReadBytes);
  if (!arena) return arena.error();
  meter.arena_ = std::move(*arena);
  void* data = meter.arena_.take_bytes(kReadBytes);
  fill_random(*cpu.threads, DType::bf16, data, kReadBytes / 2, 1.0F, 0);
  meter.data_ = static_cast<const std::byte*>(data);
  return meter;
}

double RoofMeter::read_gb_per_s() {
  std::atomic<uint64_t> sum{0};
  const Stopwatch time;
  cpu_.threads->parallel_dynamic(
      kReadBytes / kPieceBytes, 1, [&](int64_t first, int64_t last, int) {
        sum += read_all(data_ + first * kPieceBytes, (last - first) * kPieceBytes);
      });
  const double ms = time.ms();
  kept_ = sum;
  return static_cast<double>(kReadBytes) / ms / 1e6;
}

double RoofMeter::gflop_per_s(RowFormat format) {
  // Some 20 ms in pieces: a thread that is held up leaves its share to the others.
  constexpr int64_t kSteps = int64_t{1} << 18;
  constexpr int64_t kPieces = 16;
  // bf16 in both halves of a float32 is a float32 of much the same value.
  alignas(64) std::byte a[64];
  alignas(64) std::byte b[64];
  fill_random(*cpu_.threads, DType::bf16, a, 32, 1.0F, 1);
  fill_random(*cpu_.threads, DType::bf16, b, 32, 1.0F, 2);
  std::atomic<int64_t> flops{0};
  std::atomic<uint64_t> kept{0};
  const Stopwatch time;
  cpu_.threads->parallel_dynamic(
      kPieces * cpu_.threads->count(), 1, [&](int64_t first, int64_t last, int) {
        const PeakResult done = cpu_.kernels->peak(
            {.format = format, .a = a, .b = b, .steps = (last - first) * kSteps});
        flops += done.flops;
        kept += std::bit_cast<uint32_t>(done.value);
      });
  const double ms = time.ms();
  kept_ = kept;
  return static_cast<double>(flops) / ms / 1e6;
}

}  // namespace qvl

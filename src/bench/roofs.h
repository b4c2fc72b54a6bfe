#pragma once

/// The limits of this machine that an operator can be held against: how fast all threads together
/// read memory, and how fast they multiply when no memory is in the way.

#include <optional>

#include "bench/stats.h"
#include "core/arena.h"
#include "kernels/backend.h"
#include "kernels/cpu_kernels.h"
#include "kernels/linear.h"
#include "qvl/result.h"

namespace qvl {

/// Measured in the run they are used in.
struct Roofs {
  Summary read_gb_per_s{};
  Summary f32_gflop_per_s{};                  ///< float32 FMA
  std::optional<Summary> bf16_gflop_per_s{};  ///< bf16 dot product, if the instruction set has one

  /// The peak of products of bf16 or float32 rows; without a bf16 product, FMA makes them too.
  const Summary& peak(ActFormat rows) const {
    return rows == ActFormat::bf16 && bf16_gflop_per_s ? *bf16_gflop_per_s : f32_gflop_per_s;
  }
};

/// Takes one sample of a roof per call, so that samples can be interleaved with what is measured
/// against them. Uses the threads of `cpu`, which must outlive it.
class RoofMeter {
 public:
  /// Takes kReadBytes of memory for as long as it lives.
  static Result<RoofMeter> create(const Cpu& cpu);

  bool has_bf16_product() const { return cpu_.kernels->bf16_rows == RowFormat::bf16_pairs; }
  double read_gb_per_s();
  double gflop_per_s(RowFormat format);

  static constexpr int64_t kReadBytes = int64_t{512} << 20;  ///< far beyond any cache

 private:
  explicit RoofMeter(const Cpu& cpu) : cpu_(cpu) {}

  Cpu cpu_;
  Arena arena_;
  const std::byte* data_ = nullptr;
  volatile uint64_t kept_ = 0;  ///< what was read goes here, so that reading is not dropped
};

}  // namespace qvl

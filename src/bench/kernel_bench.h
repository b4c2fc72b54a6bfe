#pragma once

/// `qvl bench kernel`: times the operators of a model and holds them against the roofs of the same
/// machine in the same run.

#include <string>
#include <vector>

#include "bench/kernel_cases.h"
#include "bench/machine.h"
#include "bench/roofs.h"
#include "core/function_ref.h"

namespace qvl {

struct KernelBenchOptions {
  std::string model = "2b";  ///< a preset
  std::vector<Op> ops{};     ///< empty: all
  std::vector<int64_t> row_counts = {1, 8, 64, 512};
  ActFormat activation = ActFormat::bf16;
  WeightFormat layers = WeightFormat::bf16;  ///< of the text layers' Linears: bf16 or int4
  Isa isa = Isa::avx2;                       ///< detect_isa() or lower
  int threads = 0;                           ///< 0: one per available core
  int repeat = 11;                           ///< samples of each case and roof
};

enum class Bound : uint8_t { read, arithmetic };

/// A time against the roofs.
struct Rating {
  double gb_per_s = 0;
  double gflop_per_s = 0;
  double percent_of_read = 0;  ///< of the read bandwidth
  double percent_of_peak = 0;  ///< of the peak of the arithmetic that the case uses
  Bound bound = Bound::read;   ///< the roof that allows less

  double percent_of_roof() const {
    return bound == Bound::read ? percent_of_read : percent_of_peak;
  }
};

Rating rate(const KernelCase& kernel, double us, const Roofs& roofs);

struct KernelResult {
  KernelCase kernel;
  int64_t calls = 0;  ///< per sample; a sample is their mean
  Summary us;         ///< microseconds per call
  Rating rating;      ///< of the median
};

struct KernelBench {
  KernelBenchOptions options;
  int threads = 0;
  Machine machine{};
  Roofs roofs{};
  std::vector<KernelResult> results{};
};

/// `progress` hears after each of the interleaved rounds how many of all are done.
Result<KernelBench> run_kernel_bench(const KernelBenchOptions& options,
                                     FunctionRef<void(int done, int rounds)> progress);

}  // namespace qvl

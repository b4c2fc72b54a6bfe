#pragma once

/// The cases made real: random weights, caches and activations of the right sizes, and the calls.

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "bench/kernel_cases.h"
#include "core/arena.h"
#include "kernels/backend.h"

namespace qvl {

/// Cases of more rows do enough arithmetic per weight that one copy of their weights does.
constexpr int64_t kFewRows = 64;

struct RunMemory {
  int64_t available_bytes = 0;
  /// What a case of few rows reads from is there so many times that each call takes it from memory,
  /// as in a model whose layers take turns.
  int64_t rotated_bytes = int64_t{256} << 20;

  /// Copies of a case's weights or cache, `bytes` each.
  int64_t copies(int64_t rows, int64_t bytes) const;
};

class KernelRuns {
 public:
  /// Error does_not_fit if the data of all cases exceeds what is available. `threads` must
  /// outlive the runs.
  static Result<std::unique_ptr<KernelRuns>> create(Threads& threads, Isa isa,
                                                    std::span<const KernelCase> cases,
                                                    const RunMemory& memory);

  /// Runs case i once, each time on the next copy of its weights or cache.
  void run(size_t i) { calls_[i](); }

  KernelRuns(const KernelRuns&) = delete;
  KernelRuns& operator=(const KernelRuns&) = delete;

 private:
  KernelRuns(Threads& threads, Isa isa) : cpu_(make_cpu(threads, scratch_, isa)) {}

  Arena scratch_;
  Arena data_;
  Cpu cpu_;  ///< calls refer to it, and it to scratch_
  std::vector<std::function<void()>> calls_;
};

}  // namespace qvl

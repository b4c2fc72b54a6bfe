#pragma once

/// A fixed pool of worker threads for loops over independent items. The split of the items into
/// contiguous ranges depends only on their number and the number of threads.

#include <cstdint>
#include <memory>

#include "core/function_ref.h"

namespace qvl {

class Threads {
 public:
  using Body = FunctionRef<void(int64_t first, int64_t last, int thread)>;

  /// `count` threads in all, the caller's included; 0 means one per available core.
  explicit Threads(int count = 0);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return count_; }

  /// Calls body(first, last, thread) over [0, items) on all threads and returns when all are done.
  /// The calling thread takes part. Not reentrant; one caller at a time.
  void parallel_for(int64_t items, Body body);

  /// The same, handing out pieces of `grain` items as threads become free, for items of unequal
  /// cost.
  void parallel_dynamic(int64_t items, int64_t grain, Body body);

 private:
  struct Pool;
  int count_ = 1;
  std::unique_ptr<Pool> pool_;
};

}  // namespace qvl

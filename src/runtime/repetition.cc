#include "runtime/repetition.h"

#include <algorithm>

namespace qvl {

bool RepetitionDetector::push(int32_t token) {
  bool loops = false;
  const int64_t known = std::min<int64_t>(count_, kMaxPeriod);
  for (int64_t p = 1; p <= known; ++p) {
    int64_t& run = run_[static_cast<size_t>(p - 1)];
    const bool again = last_[static_cast<size_t>((count_ - p) % kMaxPeriod)] == token;
    run = again ? run + 1 : 0;
    // The first group and `run` tokens that repeat it.
    loops |= run + p >= std::max(kMinTokens, kMinRepeats * p);
  }
  last_[static_cast<size_t>(count_ % kMaxPeriod)] = token;
  ++count_;
  return loops;
}

}  // namespace qvl

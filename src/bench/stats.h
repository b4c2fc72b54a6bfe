#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/check.h"

namespace qvl {

/// Repeated measurements of one thing. A median with its spread; never the best of them.
struct Summary {
  double median = 0;
  double p10 = 0;
  double p90 = 0;
};

/// The value below which a fraction `p` of the samples lies, linear between neighbours: p = 0 is
/// the smallest, p = 1 the largest. `sorted` is ascending and not empty.
inline double percentile(std::span<const double> sorted, double p) {
  require(!sorted.empty(), "percentile of nothing");
  const double place = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

inline Summary summarize(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return {percentile(samples, 0.5), percentile(samples, 0.1), percentile(samples, 0.9)};
}

}  // namespace qvl

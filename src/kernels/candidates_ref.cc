#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/candidates.h"

namespace qvl {
namespace {

constexpr double kNotAskedFor = std::numeric_limits<double>::quiet_NaN();

bool ranks_before(const TokenLogit& a, const TokenLogit& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

}  // namespace

void rank_candidates(Ref&, Mat<const float> logits, int64_t limit,
                     Vec<const CandidateRequest> requests, Vec<Candidates> out) {
  std::vector<TokenLogit> finite;
  for (int64_t i = 0; i < requests.size; ++i) {
    const Vec<const float> row{logits.row(requests[i].row), logits.cols};
    finite.clear();
    for (int64_t t = 0; t < limit; ++t) {
      if (std::isfinite(row[t])) finite.push_back({row[t], static_cast<int32_t>(t)});
    }
    Candidates& c = out[i];
    c.count = static_cast<int32_t>(std::min(finite.size(), c.best.size()));
    std::partial_sort_copy(finite.begin(), finite.end(), c.best.begin(), c.best.begin() + c.count,
                           ranks_before);
    c.weight_sum = c.log_sum = kNotAskedFor;
    if (c.count == 0) continue;
    const double best = c.best[0].logit;
    if (requests[i].temperature > 0) {
      c.weight_sum = 0;
      for (const TokenLogit& t : finite) {
        c.weight_sum += std::exp((t.logit - best) / requests[i].temperature);
      }
    }
    if (requests[i].log_sum) {
      double sum = 0;
      for (const float v : row) sum += std::exp(v - best);
      c.log_sum = best + std::log(sum);
    }
  }
}

}  // namespace qvl

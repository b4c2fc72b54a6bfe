#include "kernels/moe.h"

#include <algorithm>
#include <cmath>

namespace qvl {
namespace {

/// The ids of the largest logits, largest first. `values` ends up with the logits.
void largest(Vec<const float> logits, Vec<int32_t> ids, Vec<float> values) {
  int64_t count = 0;
  for (int64_t e = 0; e < logits.size; ++e) {
    const float v = logits[e];
    int64_t at = count;
    while (at > 0 && v > values[at - 1]) --at;  // equal ones stay behind those with smaller ids
    if (at == ids.size) continue;
    count = std::min(count + 1, ids.size);
    for (int64_t i = count - 1; i > at; --i) {
      values[i] = values[i - 1];
      ids[i] = ids[i - 1];
    }
    values[at] = v;
    ids[at] = static_cast<int32_t>(e);
  }
}

void sort_by_id(Vec<int32_t> ids, Vec<float> values) {
  for (int64_t i = 1; i < ids.size; ++i) {
    for (int64_t j = i; j > 0 && ids[j] < ids[j - 1]; --j) {
      std::swap(ids[j], ids[j - 1]);
      std::swap(values[j], values[j - 1]);
    }
  }
}

}  // namespace

void choose_experts(Vec<const float> logits, Vec<int32_t> ids, Vec<float> weights) {
  require(ids.size >= 1 && ids.size <= logits.size, "experts of a row");
  require_equal(weights.size, ids.size, "weights of a row's experts");
  largest(logits, ids, weights);
  const float max = weights[0];
  sort_by_id(ids, weights);
  float sum = 0.0F;
  for (float& w : weights) {
    w = std::exp(w - max);
    sum += w;
  }
  for (float& w : weights) w /= sum;
}

}  // namespace qvl

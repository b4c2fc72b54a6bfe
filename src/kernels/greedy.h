#pragma once

#include "core/view.h"
#include "kernels/backend.h"

namespace qvl {

/// tokens[i] = the place of the largest of logits[i, :limit], the first of equal ones; -1 if none
/// is finite. What is not finite is left out.
void greedy_tokens(Cuda&, Mat<const float> logits, int64_t limit, Vec<int32_t> tokens);

}  // namespace qvl

#pragma once

#include "core/view.h"
#include "kernels/backend.h"

namespace qvl {

/// x[i,:] = features[i,:]: a picture's rows take the place of its placeholder tokens' embeddings.
void set_features(Ref&, ActMat features, Mat<float> x);
void set_features(Cpu&, ActMat features, Mat<float> x);
void set_features(Cuda&, ActMat features, Mat<float> x);

/// x[i,:] += features[i,:]: DeepStack.  Source: Qwen3VLTextModel._deepstack_process.
void add_features(Ref&, ActMat features, Mat<float> x);
void add_features(Cpu&, ActMat features, Mat<float> x);
void add_features(Cuda&, ActMat features, Mat<float> x);

}  // namespace qvl

#include "model/weights_load.h"

namespace qvl {

template Result<WeightPlan> plan_weights(const Cuda&, const ModelConfig&, const TensorSource&,
                                         ActFormat);
template Result<ModelWeights> load_weights(Cuda&, const ModelConfig&, const TensorSource&,
                                           ActFormat, Arena&, LoadProgress);

}  // namespace qvl

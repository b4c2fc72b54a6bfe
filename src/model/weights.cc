#include "model/weights_load.h"

namespace qvl {

template Result<WeightPlan> plan_weights(const Ref&, const ModelConfig&, const TensorSource&,
                                         ActFormat);
template Result<WeightPlan> plan_weights(const Cpu&, const ModelConfig&, const TensorSource&,
                                         ActFormat);
template Result<ModelWeights> load_weights(Ref&, const ModelConfig&, const TensorSource&, ActFormat,
                                           Arena&, LoadProgress);
template Result<ModelWeights> load_weights(Cpu&, const ModelConfig&, const TensorSource&, ActFormat,
                                           Arena&, LoadProgress);

}  // namespace qvl

#include "model/vision_forward.h"

namespace qvl {

template VisionPass VisionModel::begin(Cuda&, std::span<const VisionItem>, VisionWorkspace&) const;
template bool VisionModel::advance(Cuda&, VisionPass&, int64_t, VisionWorkspace&) const;

}  // namespace qvl

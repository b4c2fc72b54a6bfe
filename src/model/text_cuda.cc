#include "model/text_forward.h"

namespace qvl {

template void TextModel::forward(Cuda&, const TextBatch&, const KvPool&, TextWorkspace&,
                                 LayerObserver*) const;
template Mat<const float> TextModel::logits(Cuda&, RowRoles, Vec<const int32_t>,
                                            TextWorkspace&) const;

}  // namespace qvl

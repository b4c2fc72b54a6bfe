#include "kernels/features.h"

namespace qvl {

void set_features(Ref&, ActMat features, Mat<float> x) {
  dispatch_float(features.dtype, [&]<class Act>() {
    const Mat<const Act> from = features.as<const Act>();
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t i = 0; i < x.cols; ++i) x(r, i) = static_cast<float>(from(r, i));
    }
  });
}

void add_features(Ref&, ActMat features, Mat<float> x) {
  dispatch_float(features.dtype, [&]<class Act>() {
    const Mat<const Act> from = features.as<const Act>();
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t i = 0; i < x.cols; ++i) x(r, i) += static_cast<float>(from(r, i));
    }
  });
}

}  // namespace qvl

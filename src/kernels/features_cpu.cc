#include "kernels/features.h"
#include "kernels/multiply_cpu.h"

namespace qvl {
namespace {

void blend_rows(Cpu& cpu, Blend blend, const ActMat& features, Mat<float> x) {
  require_equal(features.rows, x.rows, "features: rows");
  require_equal(features.cols, x.cols, "features: width");
  cpu.threads->parallel_for(x.rows, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      cpu.kernels->blend({
          .blend = blend,
          .y = features.slice_rows(r, 1).data,
          .y_type = value_type(features.dtype),
          .x = x.row(r),
          .cols = x.cols,
      });
    }
  });
}

}  // namespace

void set_features(Cpu& cpu, ActMat features, Mat<float> x) {
  blend_rows(cpu, Blend::set, features, x);
}

void add_features(Cpu& cpu, ActMat features, Mat<float> x) {
  blend_rows(cpu, Blend::add, features, x);
}

}  // namespace qvl

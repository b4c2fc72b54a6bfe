#include <vector>

#include "kernels/patch_embed.h"

namespace qvl {

void patch_embed(Ref& ref, Mat<const uint8_t> patches, const PixelNorm& norm, const Linear& w,
                 Mat<float> x) {
  const int64_t channel = patches.cols / 3;
  dispatch_float(act_dtype(w.desc.activation), [&]<class Act>() {
    std::vector<Act> pixels(static_cast<size_t>(patches.rows * patches.cols));
    const Mat<Act> to = make_mat(pixels.data(), patches.rows, patches.cols);
    for (int64_t r = 0; r < patches.rows; ++r) {
      for (int64_t i = 0; i < patches.cols; ++i) {
        const int64_t c = i / channel;
        to(r, i) = Act(static_cast<float>(patches(r, i)) * norm.scale[c] + norm.shift[c]);
      }
    }
    linear(ref, {.prompt = patches.rows},
           {to.data, act_dtype(w.desc.activation), to.rows, to.cols, to.stride}, w,
           {x.data, DType::f32, x.rows, x.cols, x.stride});
  });
}

void add_position_embedding(Ref&, Vec<const PositionCorners> corners, Mat<const float> table,
                            Mat<float> x) {
  for (int64_t r = 0; r < corners.size; ++r) {
    for (int64_t i = 0; i < x.cols; ++i) {
      float sum = 0.0F;
      for (int c = 0; c < 4; ++c) sum += corners[r].weight[c] * table(corners[r].row[c], i);
      x(r, i) += sum;
    }
  }
}

}  // namespace qvl

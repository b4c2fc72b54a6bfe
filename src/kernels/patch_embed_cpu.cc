#include "kernels/multiply_cpu.h"
#include "kernels/patch_embed.h"

namespace qvl {

void patch_embed(Cpu& cpu, Mat<const uint8_t> patches, const PixelNorm& norm, const Linear& w,
                 Mat<float> x) {
  require_equal(patches.cols, w.desc.in, "patch_embed: width of patches");
  require_equal(patches.cols % 3, 0, "patch_embed: three channels");
  require_equal(x.rows, patches.rows, "patch_embed: rows of x");
  const auto prepare = [&](int64_t first, int64_t count, const OperandRows& to) {
    cpu.kernels->rows({
        .x = patches.row(first),
        .x_type = ValueType::u8,
        .x_stride = patches.stride,
        .rows = count,
        .cols = patches.cols,
        .scale = norm.scale,
        .shift = norm.shift,
        .y = to.data,
        .y_stride = to.stride,
        .y_format = to.format,
    });
  };
  multiply(cpu, prepare, w, {Finish::store, {x.data, DType::f32, x.rows, x.cols, x.stride}});
}

void add_position_embedding(Cpu& cpu, Vec<const PositionCorners> corners, Mat<const float> table,
                            Mat<float> x) {
  require_equal(x.rows, corners.size, "add_position_embedding: rows");
  require_equal(x.cols, table.cols, "add_position_embedding: width");
  cpu.threads->parallel_for(corners.size, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      CornersJob job{.weight = corners[r].weight, .x = x.row(r), .cols = x.cols};
      for (int c = 0; c < 4; ++c) job.row[c] = table.row(corners[r].row[c]);
      cpu.kernels->corners(job);
    }
  });
}

}  // namespace qvl

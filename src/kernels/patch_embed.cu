#include "kernels/device/products.cuh"
#include "kernels/patch_embed.h"
#include "kernels/transfer.h"

namespace qvl {
namespace {

/// Four bytes a thread.
__global__ void normalise_kernel(const uchar4* patches, const PixelNorm norm, int64_t quads,
                                 int channel_quads, uint2* out) {
  device::wait_for_inputs();
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= quads) return;
  const int64_t channel = i / channel_quads % 3;
  const float scale = norm.scale[channel];
  const float shift = norm.shift[channel];
  const uchar4 p = patches[i];
  out[i] = {device::pack(p.x * scale + shift, p.y * scale + shift),
            device::pack(p.z * scale + shift, p.w * scale + shift)};
}

__global__ void positions_kernel(const PositionCorners* corners, const float* table, int64_t dim,
                                 float* x, int64_t ldx) {
  device::wait_for_inputs();
  const PositionCorners place = corners[blockIdx.x];
  for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
    float sum = 0.0F;
    for (int c = 0; c < 4; ++c) sum += place.weight[c] * table[place.row[c] * dim + i];
    x[blockIdx.x * ldx + i] += sum;
  }
}

}  // namespace

/// `patches` is host memory.
void patch_embed(Cuda& cuda, Mat<const uint8_t> patches, const PixelNorm& norm, const Linear& w,
                 Mat<float> x) {
  require_equal(patches.stride, patches.cols, "patches lie side by side");
  require_equal(patches.cols % 12, 0, "patches: width of a channel");
  device::ScratchScope scratch(cuda);
  const ActMat rows = scratch.half_rows(patches.rows, patches.cols);
  const int64_t bytes = patches.rows * patches.cols;
  auto* const copy = scratch.take<uint8_t>(bytes);
  upload(cuda, copy, patches.data, bytes);
  const int64_t quads = bytes / 4;
  device::launch(device::blocks_of(cuda, static_cast<unsigned>((quads + 255) / 256), 256),
                 normalise_kernel, reinterpret_cast<const uchar4*>(copy), norm, quads,
                 static_cast<int>(patches.cols / 12), static_cast<uint2*>(rows.data));
  device::product(cuda, {.prompt = patches.rows}, rows, w,
                  device::StoreFloat{x.data, x.stride, w.bias});
}

void add_position_embedding(Cuda& cuda, Vec<const PositionCorners> corners, Mat<const float> table,
                            Mat<float> x) {
  require_equal(table.stride, table.cols, "position table: rows lie side by side");
  device::launch(device::blocks_of(cuda, static_cast<unsigned>(corners.size), 256),
                 positions_kernel, corners.data, table.data, table.cols, x.data, x.stride);
}

}  // namespace qvl

#include <algorithm>
#include <vector>

#include "kernels/device/flash.cuh"
#include "kernels/device/products.cuh"
#include "kernels/device/rotate_rows.cuh"
#include "kernels/vision_attention.h"

namespace qvl {
namespace {

/// The height that ends sooner: waves over the multiprocessors times the time of a tile, which is 4
/// to 5 of the two heights as measured on an H200.
int64_t tile_rows(const Cuda& cuda, std::span<const int64_t> cu_seqlens, int64_t heads) {
  if (!device::has_wgmma(cuda)) return device::kFlashTileRows;
  const auto waves = [&](int64_t rows) {
    int64_t tiles = 0;
    for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
      tiles += (cu_seqlens[s + 1] - cu_seqlens[s] + rows - 1) / rows;
    }
    return (tiles * heads + cuda.sm_count - 1) / cuda.sm_count;
  };
  return waves(device::kFlashLargeTileRows) * 5 < waves(device::kFlashTileRows) * 4
             ? device::kFlashLargeTileRows
             : device::kFlashTileRows;
}

/// Every segment, the long ones first.
std::vector<device::VisionRows> rows_of(std::span<const int64_t> cu_seqlens) {
  std::vector<device::VisionRows> rows;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    const auto begin = static_cast<int32_t>(cu_seqlens[s]);
    const auto end = static_cast<int32_t>(cu_seqlens[s + 1]);
    rows.push_back({.first = begin, .last = end, .begin = begin, .end = end});
  }
  const auto length = [](const device::VisionRows& r) { return r.end - r.begin; };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](const auto& a, const auto& b) { return length(a) > length(b); });
  return rows;
}

}  // namespace

/// Rotates q and k of `qkv` in place.
void vision_attention(Cuda& cuda, ActMat qkv, int64_t heads, const RopeTable& rope,
                      std::span<const int64_t> cu_seqlens, ActMat out) {
  require(qkv.dtype == DType::bf16 && out.dtype == DType::bf16, "device attention: dtype");
  const int64_t head_dim = qkv.cols / (3 * heads);
  require_equal(rope.cos.stride, head_dim / 2, "device attention: angles lie side by side");
  device::rotate_rows({.qkv = static_cast<bf16*>(qkv.data),
                       .qkv_stride = qkv.stride,
                       .cos = rope.cos.data,
                       .sin = rope.sin.data,
                       .rows = qkv.rows,
                       .heads = heads,
                       .head_dim = head_dim,
                       .overlaps = device::overlaps(cuda)},
                      cuda.stream);
  device::vision_attention(cuda,
                           {.qkv = static_cast<const bf16*>(qkv.data),
                            .qkv_stride = qkv.stride,
                            .patches = qkv.rows,
                            .tile_rows = tile_rows(cuda, cu_seqlens, heads),
                            .heads = heads,
                            .head_dim = head_dim,
                            .out = static_cast<bf16*>(out.data),
                            .out_stride = out.stride},
                           rows_of(cu_seqlens));
}

}  // namespace qvl

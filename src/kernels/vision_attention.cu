#include <algorithm>
#include <vector>

#include "kernels/device/flash.cuh"
#include "kernels/device/products.cuh"
#include "kernels/device/rotate_rows.cuh"
#include "kernels/transfer.h"
#include "kernels/vision_attention.h"

namespace qvl {
namespace {

/// Those that keep the multiprocessors busy for the shorter time; large ones read the keys less
/// often.
int64_t tile_rows(std::span<const int64_t> cu_seqlens, int64_t heads, int sm_count) {
  const auto time = [&](int64_t rows) {
    int64_t tiles = 0;
    for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
      tiles += (cu_seqlens[s + 1] - cu_seqlens[s] + rows - 1) / rows;
    }
    return (tiles * heads + sm_count - 1) / sm_count * rows;
  };
  if (!device::flash::wgmma_was_built()) return device::kFlashTileRows;
  return time(device::kFlashLargeTileRows) <= time(device::kFlashTileRows)
             ? device::kFlashLargeTileRows
             : device::kFlashTileRows;
}

/// Query tiles of every segment, those of long segments first.
std::vector<device::VisionTile> tiles_of(std::span<const int64_t> cu_seqlens, int64_t tile_rows) {
  std::vector<device::VisionTile> tiles;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    const auto begin = static_cast<int32_t>(cu_seqlens[s]);
    const auto end = static_cast<int32_t>(cu_seqlens[s + 1]);
    for (int32_t first = begin; first < end; first += static_cast<int32_t>(tile_rows)) {
      tiles.push_back({first, begin, end});
    }
  }
  const auto length = [](const device::VisionTile& t) { return t.end - t.begin; };
  std::stable_sort(tiles.begin(), tiles.end(),
                   [&](const auto& a, const auto& b) { return length(a) > length(b); });
  return tiles;
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
                       .head_dim = head_dim},
                      cuda.stream);
  const int64_t rows = tile_rows(cu_seqlens, heads, cuda.sm_count);
  const std::vector<device::VisionTile> tiles = tiles_of(cu_seqlens, rows);
  device::ScratchScope scratch(cuda);
  auto* const device_tiles = scratch.take<device::VisionTile>(static_cast<int64_t>(tiles.size()));
  upload(cuda, device_tiles, tiles.data(),
         static_cast<int64_t>(tiles.size() * sizeof(device::VisionTile)));
  device::vision_attention({.qkv = static_cast<const bf16*>(qkv.data),
                            .qkv_stride = qkv.stride,
                            .tiles = device_tiles,
                            .num_tiles = static_cast<int64_t>(tiles.size()),
                            .tile_rows = rows,
                            .patches = qkv.rows,
                            .heads = heads,
                            .head_dim = head_dim,
                            .out = static_cast<bf16*>(out.data),
                            .out_stride = out.stride},
                           cuda.stream);
}

}  // namespace qvl

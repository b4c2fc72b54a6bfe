#pragma once

/// Attention of many query rows, exact, in one pass over the keys (online softmax): the prompt rows
/// of the text model over its paged cache, and the vision tower. Bound by the tensor cores; how,
/// and why the bits of a row do not depend on its neighbours, is in flash_tile.cuh. Scores, softmax
/// and sums are float32; weights are rounded to bf16 before they meet the values.
///
/// Launchers are asynchronous and allocate nothing. Thread blocks start in the order of the tiles,
/// head after head: a list with the longest tiles first ends with the least idle time.

#include <algorithm>

#include "core/check.h"
#include "core/cuda.h"
#include "kernels/attention.h"
#include "kernels/device/flash_tile.cuh"
#include "kernels/device_lists.h"

namespace qvl::device {

/// Query rows of one tile, for both kinds of attention; and of the smaller tiles of prompts, for
/// steps in which tiles · heads would be less than two for each multiprocessor. A row's bits are
/// the same in both.
constexpr int64_t kFlashTileRows = 128;
constexpr int64_t kFlashSmallTileRows = 64;

/// The keys and values of all rows are in the cache. Of page p, those of kv head h are
/// keys [64, head_dim], then values [64, head_dim], at
/// cache + p · page_bytes + h · 2 · 64 · head_dim · 2 bytes. Slots after a tile's last row are not
/// read.
struct PrefillAttention {
  const bf16* query = nullptr;  ///< [rows, num_heads · head_dim], normalised and rotated
  int64_t query_stride = 0;     ///< elements, a multiple of 8
  const std::byte* cache = nullptr;
  int64_t page_bytes = 0;                   ///< a multiple of 16
  const SequenceRows* sequences = nullptr;  ///< on the device, as are their block tables
  const PrefillTile* tiles = nullptr;       ///< on the device
  int64_t num_tiles = 0;
  int64_t tile_rows = kFlashTileRows;  ///< or kFlashSmallTileRows
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;    ///< 128
  bf16* out = nullptr;     ///< [rows, num_heads · head_dim]
  int64_t out_stride = 0;  ///< elements, even
};

/// Patches [first, first + kFlashTileRows), below end, of the segment [begin, end).
struct VisionTile {
  int32_t first = 0;
  int32_t begin = 0;
  int32_t end = 0;
};

struct VisionAttention {
  const bf16* qkv = nullptr;          ///< [patches, 3 · heads · head_dim], q and k rotated
  int64_t qkv_stride = 0;             ///< elements, a multiple of 8
  const VisionTile* tiles = nullptr;  ///< on the device
  int64_t num_tiles = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;    ///< 64 or 72
  bf16* out = nullptr;     ///< [patches, heads · head_dim]
  int64_t out_stride = 0;  ///< elements, even
};

namespace flash {

/// Keys of one head of a sequence; the handle of a block is its page.
template <int kHeadDim>
struct PagedKeys {
  const std::byte* head = nullptr;
  int64_t page_bytes = 0;
  const int32_t* block_table = nullptr;

  __device__ int at(int block) const { return block_table[block]; }
  __device__ const bf16* keys(int page) const {
    return reinterpret_cast<const bf16*>(head + page * page_bytes);
  }
  __device__ const bf16* values(int page) const { return keys(page) + kBlockKeys * kHeadDim; }
  static __device__ int stride() { return kHeadDim; }
};

/// Keys of one head of a segment; the handle of a block is its number.
struct SegmentKeys {
  const bf16* first_key = nullptr;
  int to_values = 0;  // elements from a key to its value
  int row_stride = 0;

  __device__ int at(int block) const { return block; }
  __device__ const bf16* keys(int block) const {
    return first_key + int64_t{block} * kBlockKeys * row_stride;
  }
  __device__ const bf16* values(int block) const { return keys(block) + to_values; }
  __device__ int stride() const { return row_stride; }
};

template <int kHeadDim, int kMatrices>
__global__ void __launch_bounds__(kThreads, kMatrices == 1 ? 3 : 2)
    prefill_kernel(const PrefillAttention args) {
  constexpr int kRows = TileShape<kHeadDim, kMatrices>::kRows;
  static_assert(kBlockKeys == kPageTokens);
  extern __shared__ uint4 shared[];
  const PrefillTile place = args.tiles[blockIdx.x];
  const SequenceRows& sequence = args.sequences[place.sequence];
  const auto head = static_cast<int64_t>(blockIdx.y);
  const int64_t kv_head = head / (args.num_heads / args.num_kv_heads);
  const int64_t row = sequence.first_row + place.first;
  const int64_t rows = sequence.rows - place.first;
  const Tile tile{.query = args.query + row * args.query_stride + head * kHeadDim,
                  .query_stride = static_cast<int>(args.query_stride),
                  .out = args.out + row * args.out_stride + head * kHeadDim,
                  .out_stride = static_cast<int>(args.out_stride),
                  .rows = rows < kRows ? static_cast<int>(rows) : kRows,
                  .position = static_cast<int>(sequence.start + place.first)};
  const PagedKeys<kHeadDim> keys{
      .head = args.cache + kv_head * 2 * kBlockKeys * kHeadDim * sizeof(bf16),
      .page_bytes = args.page_bytes,
      .block_table = sequence.block_table};
  attend<kHeadDim, kMatrices, true>(tile, keys, shared_address(shared));
}

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2) vision_kernel(const VisionAttention args) {
  extern __shared__ uint4 shared[];
  const VisionTile place = args.tiles[blockIdx.x];
  const auto head = static_cast<int64_t>(blockIdx.y);
  const int64_t hidden_size = args.heads * kHeadDim;
  const Tile tile{.query = args.qkv + place.first * args.qkv_stride + head * kHeadDim,
                  .query_stride = static_cast<int>(args.qkv_stride),
                  .out = args.out + place.first * args.out_stride + head * kHeadDim,
                  .out_stride = static_cast<int>(args.out_stride),
                  .rows = min(TileShape<kHeadDim, 2>::kRows, place.end - place.first),
                  .position = place.end - place.begin - 1};
  const SegmentKeys keys{
      .first_key = args.qkv + place.begin * args.qkv_stride + hidden_size + head * kHeadDim,
      .to_values = static_cast<int>(hidden_size),
      .row_stride = static_cast<int>(args.qkv_stride)};
  attend<kHeadDim, 2, false>(tile, keys, shared_address(shared));
}

template <int kHeadDim, class Args>
void launch(void (*kernel)(Args), const Args& args, int64_t heads, cudaStream_t stream) {
  constexpr int kBytes = TileShape<kHeadDim, 2>::kSharedBytes;
  if (args.num_tiles == 0) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const dim3 grid(static_cast<unsigned>(args.num_tiles), static_cast<unsigned>(heads));
  kernel<<<grid, kThreads, kBytes, stream>>>(args);
  check(cudaGetLastError());
}

}  // namespace flash

/// Source: Qwen3VLTextAttention.forward after the rotation.
inline void prefill_attention(const PrefillAttention& args, cudaStream_t stream) {
  require(args.query_stride % 8 == 0 && args.page_bytes % 16 == 0, "rows aligned to 16 bytes");
  require(args.num_heads % args.num_kv_heads == 0, "whole groups of query heads");
  require_equal(args.head_dim, 128, "head_dim of prefill attention");
  if (args.tile_rows == kFlashSmallTileRows) {
    flash::launch<128>(flash::prefill_kernel<128, 1>, args, args.num_heads, stream);
  } else {
    require_equal(args.tile_rows, kFlashTileRows, "rows of a tile");
    flash::launch<128>(flash::prefill_kernel<128, 2>, args, args.num_heads, stream);
  }
}

/// Source: Qwen3VLVisionAttention.forward after the rotation.
inline void vision_attention(const VisionAttention& args, cudaStream_t stream) {
  require(args.qkv_stride % 8 == 0, "rows aligned to 16 bytes");
  if (args.head_dim == 64) {
    flash::launch<64>(flash::vision_kernel<64>, args, args.heads, stream);
  } else {
    require_equal(args.head_dim, 72, "head_dim of vision attention");
    flash::launch<72>(flash::vision_kernel<72>, args, args.heads, stream);
  }
}

}  // namespace qvl::device

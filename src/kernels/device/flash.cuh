#pragma once

/// Attention of many query rows, exact, in one pass over the keys (online softmax): the prompt rows
/// of the text model over its paged cache, and the vision tower. Bound by the tensor cores; how,
/// and why the bits of a row do not depend on its neighbours, is in flash_tile.cuh. Scores, softmax
/// and sums are float32; weights are rounded to bf16 before they meet the values.
///
/// Compute capability 9.0 has kernels of its own, in flash_wgmma.cuh.
///
/// Launchers are asynchronous and allocate nothing. Thread blocks start in the order of the tiles:
/// a list with the longest tiles first ends with the least idle time.

#include <algorithm>
#include <span>

#include "core/check.h"
#include "core/cuda.h"
#include "kernels/attention.h"
#include "kernels/device/flash_tile.cuh"
#include "kernels/device/flash_wgmma.cuh"
#include "kernels/device_lists.h"

namespace qvl::device {

/// Query rows of one tile, for both kinds of attention; of the smaller tiles of prompts, for steps
/// in which tiles · heads would be less than one for each multiprocessor and for devices without
/// the shared memory of larger ones; and of the larger tiles of patches, which only compute
/// capability 9.0 has. A row's bits are the same in all.
constexpr int64_t kFlashTileRows = 128;
constexpr int64_t kFlashSmallTileRows = 64;
constexpr int64_t kFlashLargeTileRows = 192;

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

struct VisionAttention {
  const bf16* qkv = nullptr;           ///< [patches, 3 · heads · head_dim], q and k rotated
  int64_t qkv_stride = 0;              ///< elements, a multiple of 8
  int64_t patches = 0;                 ///< in all
  int64_t tile_rows = kFlashTileRows;  ///< or kFlashLargeTileRows
  int64_t heads = 0;
  int64_t head_dim = 0;    ///< 64 or 72
  bf16* out = nullptr;     ///< [patches, heads · head_dim]
  int64_t out_stride = 0;  ///< elements, even
};

/// Patches [first, last) attend to the patches [begin, end) of their segment.
struct VisionRows {
  int32_t first = 0;
  int32_t last = 0;
  int32_t begin = 0;
  int32_t end = 0;
};

namespace flash {

/// What one launch of vision attention does. It travels with the launch, so that no copy comes
/// between kernels.
struct VisionList {
  static constexpr int kMost = 64;

  int count = 0;
  int tiles = 0;
  int first_tile[kMost] = {};
  VisionRows rows[kMost] = {};
};

/// Of the tile: the rows from its first on, of which it takes the first tile_rows.
__device__ inline VisionRows rows_of_tile(const VisionList& list, int tile, int tile_rows) {
  int at = 0;
  for (int step = VisionList::kMost / 2; step > 0; step /= 2) {
    if (at + step < list.count && list.first_tile[at + step] <= tile) at += step;
  }
  VisionRows rows = list.rows[at];
  rows.first += (tile - list.first_tile[at]) * tile_rows;
  return rows;
}

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

template <int kHeadDim, int kMatrices, QueryPlace kQueryPlace>
__global__ void __launch_bounds__(kThreads, TileShape<kHeadDim, kMatrices, kQueryPlace>::kBlocks)
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
  attend<kHeadDim, kMatrices, true, kQueryPlace>(tile, keys, shared_address(shared));
}

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2)
    vision_kernel(const VisionAttention args, const __grid_constant__ VisionList list) {
  extern __shared__ uint4 shared[];
  constexpr int kRows = TileShape<kHeadDim, 2>::kRows;
  const VisionRows place = rows_of_tile(list, static_cast<int>(blockIdx.x), kRows);
  const auto head = static_cast<int64_t>(blockIdx.y);
  const int64_t hidden_size = args.heads * kHeadDim;
  const Tile tile{.query = args.qkv + place.first * args.qkv_stride + head * kHeadDim,
                  .query_stride = static_cast<int>(args.qkv_stride),
                  .out = args.out + place.first * args.out_stride + head * kHeadDim,
                  .out_stride = static_cast<int>(args.out_stride),
                  .rows = min(kRows, place.last - place.first),
                  .position = place.end - place.begin - 1};
  const SegmentKeys keys{
      .first_key = args.qkv + place.begin * args.qkv_stride + hidden_size + head * kHeadDim,
      .to_values = static_cast<int>(hidden_size),
      .row_stride = static_cast<int>(args.qkv_stride)};
  attend<kHeadDim, 2, false>(tile, keys, shared_address(shared));
}

/// The parts of a block's shared memory, whose barriers are ready after it.
template <class Shape>
__device__ inline Ring<Shape> start_ring(uint32_t shared) {
  if (shared % 1024 != 0) __trap();  // the swizzle repeats every 1024 bytes
  const uint32_t parts = shared + Shape::kRows / 64 * Shape::kQueryBytes;
  const Ring<Shape> ring{.parts = parts, .barriers = parts + Shape::kParts * Shape::kPartBytes};
  if (threadIdx.x == 0) ring.start();
  __syncthreads();
  return ring;
}

template <int kHeadDim, int kWarpgroups>
__global__ void __launch_bounds__(WgmmaTile<kHeadDim, kWarpgroups>::kThreads,
                                  WgmmaTile<kHeadDim, kWarpgroups>::kBlocksPerProcessor)
    prefill_wgmma_kernel(const PrefillAttention args, const __grid_constant__ CUtensorMap map) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = WgmmaTile<kHeadDim, kWarpgroups>;
  extern __shared__ uint4 shared[];
  if (threadIdx.x == 0) prefetch_tensor_map(&map);
  const Ring<Shape> ring = start_ring<Shape>(shared_address(shared));
  wait_for_inputs();
  const PrefillTile place = args.tiles[blockIdx.y];
  const SequenceRows& sequence = args.sequences[place.sequence];
  const auto head = static_cast<int>(blockIdx.x);
  const int kv_head = head / static_cast<int>(args.num_heads / args.num_kv_heads);
  const int64_t row = sequence.first_row + place.first;
  const int64_t rows = sequence.rows - place.first;
  const Tile tile{.query = args.query + row * args.query_stride + head * kHeadDim,
                  .query_stride = static_cast<int>(args.query_stride),
                  .out = args.out + row * args.out_stride + head * kHeadDim,
                  .out_stride = static_cast<int>(args.out_stride),
                  .rows = rows < Shape::kRows ? static_cast<int>(rows) : Shape::kRows,
                  .position = static_cast<int>(sequence.start + place.first)};
  const KeyBoxes keys{.map = &map,
                      .block_table = sequence.block_table,
                      .key_place = 2 * kv_head * kBlockKeys,
                      .value_place = (2 * kv_head + 1) * kBlockKeys};
  attend_wgmma<kHeadDim, kWarpgroups, true>(tile, keys, shared_address(shared), ring);
#else
  __trap();
#endif
}

template <int kHeadDim, int kWarpgroups>
__global__ void __launch_bounds__(WgmmaTile<kHeadDim, kWarpgroups>::kThreads,
                                  WgmmaTile<kHeadDim, kWarpgroups>::kBlocksPerProcessor)
    vision_wgmma_kernel(const VisionAttention args, const __grid_constant__ VisionList list,
                        const __grid_constant__ CUtensorMap map) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = WgmmaTile<kHeadDim, kWarpgroups>;
  extern __shared__ uint4 shared[];
  if (threadIdx.x == 0) prefetch_tensor_map(&map);
  const Ring<Shape> ring = start_ring<Shape>(shared_address(shared));
  wait_for_inputs();
  const VisionRows place = rows_of_tile(list, static_cast<int>(blockIdx.x), Shape::kRows);
  const auto head = static_cast<int>(blockIdx.y);
  const auto heads = static_cast<int>(args.heads);
  const Tile tile{.query = args.qkv + place.first * args.qkv_stride + head * kHeadDim,
                  .query_stride = static_cast<int>(args.qkv_stride),
                  .out = args.out + place.first * args.out_stride + head * kHeadDim,
                  .out_stride = static_cast<int>(args.out_stride),
                  .rows = min(Shape::kRows, place.last - place.first),
                  .position = place.end - place.begin - 1};
  const KeyBoxes keys{.map = &map,
                      .first = place.begin,
                      .key_place = heads + head,
                      .value_place = 2 * heads + head};
  attend_wgmma<kHeadDim, kWarpgroups, false>(tile, keys, shared_address(shared), ring);
#else
  __trap();
#endif
}

/// Blocks of 4 warps.
template <class Shape, class... Parameters>
void launch_mma(void (*kernel)(Parameters...), dim3 grid, cudaStream_t stream,
                const Parameters&... arguments) {
  constexpr int kBytes = Shape::kSharedBytes;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  kernel<<<grid, kThreads, kBytes, stream>>>(arguments...);
  check(cudaGetLastError());
}

template <class Shape, class... Parameters>
void launch_wgmma(void (*kernel)(Parameters...), dim3 grid, cudaStream_t stream,
                  const Parameters&... arguments) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             Shape::kSharedBytes));
  launch({.grid = grid,
          .block = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .stream = stream},
         kernel, arguments...);
}

/// Calls launch(list, grid) for `rows` in lists that one launch takes.
template <class LaunchList>
void launch_lists(const VisionAttention& args, std::span<const VisionRows> rows,
                  const LaunchList& launch) {
  while (!rows.empty()) {
    VisionList list;
    list.count = static_cast<int>(std::min<size_t>(rows.size(), VisionList::kMost));
    for (int i = 0; i < list.count; ++i) {
      list.rows[i] = rows[static_cast<size_t>(i)];
      list.first_tile[i] = list.tiles;
      const int64_t count = list.rows[i].last - list.rows[i].first;
      list.tiles += static_cast<int>((count + args.tile_rows - 1) / args.tile_rows);
    }
    rows = rows.subspan(static_cast<size_t>(list.count));
    if (list.tiles == 0) continue;
    launch(list, dim3(static_cast<unsigned>(list.tiles), static_cast<unsigned>(args.heads)));
  }
}

/// A bf16 array of three dimensions, rows of columns side by side; what lies outside reads as zero.
struct Boxes {
  const void* data = nullptr;
  int64_t sizes[3] = {};         // innermost first
  int64_t stride_bytes[2] = {};  // of the second and the third, multiples of 16
  int box[2] = {};               // 64 columns, and so many of the second and the third
};

inline CUtensorMap tensor_map(const Boxes& of) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(of.sizes[0]),
                              static_cast<cuuint64_t>(of.sizes[1]),
                              static_cast<cuuint64_t>(of.sizes[2])};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(of.stride_bytes[0]),
                                static_cast<cuuint64_t>(of.stride_bytes[1])};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(of.box[0]),
                            static_cast<cuuint32_t>(of.box[1])};
  const cuuint32_t element_strides[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result = tensor_map_encoder()(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(of.data), sizes, strides, box,
      element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  require_equal(result, CUDA_SUCCESS, "encoding a tensor map");
  return map;
}

template <int kMatrices, QueryPlace kQueryPlace = QueryPlace::registers_if_they_suffice>
void prefill_mma(const PrefillAttention& args, cudaStream_t stream) {
  launch_mma<TileShape<128, kMatrices, kQueryPlace>>(
      prefill_kernel<128, kMatrices, kQueryPlace>,
      dim3(static_cast<unsigned>(args.num_tiles), static_cast<unsigned>(args.num_heads)), stream,
      args);
}

template <int kWarpgroups>
void prefill_wgmma(const PrefillAttention& args, cudaStream_t stream) {
  constexpr int kHeadDim = 128;
  const CUtensorMap map = tensor_map({.data = args.cache,
                                      .sizes = {kHeadDim, args.num_kv_heads * 2 * kBlockKeys,
                                                INT32_MAX},  // as many pages as there are
                                      .stride_bytes = {kHeadDim * 2, args.page_bytes},
                                      .box = {kBlockKeys, 1}});
  // All heads of the longest tile first.
  launch_wgmma<WgmmaTile<kHeadDim, kWarpgroups>>(
      prefill_wgmma_kernel<kHeadDim, kWarpgroups>,
      dim3(static_cast<unsigned>(args.num_heads), static_cast<unsigned>(args.num_tiles)), stream,
      args, map);
}

template <int kHeadDim>
void vision_mma(const VisionAttention& args, std::span<const VisionRows> rows,
                cudaStream_t stream) {
  launch_lists(args, rows, [&](const VisionList& list, dim3 grid) {
    launch_mma<TileShape<kHeadDim, 2>>(vision_kernel<kHeadDim>, grid, stream, args, list);
  });
}

template <int kHeadDim, int kWarpgroups>
void vision_wgmma(const VisionAttention& args, std::span<const VisionRows> rows,
                  cudaStream_t stream) {
  const CUtensorMap map = tensor_map({.data = args.qkv,
                                      .sizes = {kHeadDim, 3 * args.heads, args.patches},
                                      .stride_bytes = {kHeadDim * 2, args.qkv_stride * 2},
                                      .box = {1, kBlockKeys}});
  launch_lists(args, rows, [&](const VisionList& list, dim3 grid) {
    launch_wgmma<WgmmaTile<kHeadDim, kWarpgroups>>(vision_wgmma_kernel<kHeadDim, kWarpgroups>, grid,
                                                   stream, args, list, map);
  });
}

}  // namespace flash

/// Whether prompts may have tiles of kFlashTileRows, whichever kernels they take.
inline bool has_large_prefill_tiles(const Cuda& cuda) {
  return flash::TileShape<128, 2>::kSharedBytes <= cuda.shared_bytes;
}

/// The kernels of every device: mma.sync.
inline void prefill_attention_mma(const Cuda& cuda, const PrefillAttention& args) {
  if (args.num_tiles == 0) return;
  const bool is_large = args.tile_rows == kFlashTileRows;
  require(is_large ? has_large_prefill_tiles(cuda) : args.tile_rows == kFlashSmallTileRows,
          "rows of a tile");
  if (is_large) {
    flash::prefill_mma<2>(args, cuda.stream);
  } else if (flash::TileShape<128, 1>::kSharedBytes <= cuda.shared_bytes) {
    flash::prefill_mma<1>(args, cuda.stream);
  } else {
    flash::prefill_mma<1, flash::QueryPlace::shared_memory>(args, cuda.stream);
  }
}

inline void vision_attention_mma(const Cuda& cuda, const VisionAttention& args,
                                 std::span<const VisionRows> rows) {
  require_equal(args.tile_rows, kFlashTileRows, "rows of a tile");
  (args.head_dim == 64 ? flash::vision_mma<64> : flash::vision_mma<72>)(args, rows, cuda.stream);
}

/// Those of compute capability 9.0: warpgroup products.
inline void prefill_attention_wgmma(const Cuda& cuda, const PrefillAttention& args) {
  if (args.num_tiles == 0) return;
  if (args.tile_rows == kFlashSmallTileRows) {
    flash::prefill_wgmma<1>(args, cuda.stream);
  } else {
    require_equal(args.tile_rows, kFlashTileRows, "rows of a tile");
    flash::prefill_wgmma<2>(args, cuda.stream);
  }
}

inline void vision_attention_wgmma(const Cuda& cuda, const VisionAttention& args,
                                   std::span<const VisionRows> rows) {
  if (args.tile_rows == kFlashLargeTileRows) {
    (args.head_dim == 64 ? flash::vision_wgmma<64, 3> : flash::vision_wgmma<72, 3>)(args, rows,
                                                                                    cuda.stream);
  } else {
    require_equal(args.tile_rows, kFlashTileRows, "rows of a tile");
    (args.head_dim == 64 ? flash::vision_wgmma<64, 2> : flash::vision_wgmma<72, 2>)(args, rows,
                                                                                    cuda.stream);
  }
}

/// Source: Qwen3VLTextAttention.forward after the rotation.
inline void prefill_attention(const Cuda& cuda, const PrefillAttention& args) {
  require(args.query_stride % 8 == 0 && args.page_bytes % 16 == 0, "rows aligned to 16 bytes");
  require(args.num_heads % args.num_kv_heads == 0, "whole groups of query heads");
  require_equal(args.head_dim, 128, "head_dim of prefill attention");
  (has_wgmma(cuda) ? prefill_attention_wgmma : prefill_attention_mma)(cuda, args);
}

/// The rows of a launch have the same tile height; blocks start in the order of `rows`, head after
/// head. Source: Qwen3VLVisionAttention.forward after the rotation.
inline void vision_attention(const Cuda& cuda, const VisionAttention& args,
                             std::span<const VisionRows> rows) {
  require(args.qkv_stride % 8 == 0, "rows aligned to 16 bytes");
  require(args.head_dim == 64 || args.head_dim == 72, "head_dim of vision attention");
  (has_wgmma(cuda) ? vision_attention_wgmma : vision_attention_mma)(cuda, args, rows);
}

}  // namespace qvl::device

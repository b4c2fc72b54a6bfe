#pragma once

/// 4-bit weights from the rows of a file, and widened to bfloat16 rows for the products of prompts.

#include "kernels/device/int4_skinny.cuh"

namespace qvl::device {

/// A thread has one unit.
static __global__ void pack_int4_kernel(const Int4Layout w, const Int4Rows rows, uint8_t* packed) {
  const int64_t unit = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (unit < int4_units(w, rows)) pack_int4_unit(w, rows, unit, packed);
}

constexpr int kWidenThreads = 256;
constexpr int kWidenChunks = 2;  ///< of a block

/// out[n, k] = (q − zero) · scale, rounded once, at 2.4 to 3 TB/s read and written on an H200. Of
/// each record a thread has 16 bytes, a half warp 256 that lie side by side. What the block reads
/// is on its way at once. Grid: (groups of chunks, tiles).
static __global__ void __launch_bounds__(kWidenThreads)
    widen_int4_kernel(const Int4Layout w, const uint8_t* packed, bf16x1* out) {
  const int thread = static_cast<int>(threadIdx.x);
  // Outputs g and g + 8 have their values in the same words.
  const int output = static_cast<int>(blockIdx.y) * kInt4Tile + thread / 32 + thread / 16 % 2 * 8;
  const int first = static_cast<int>(blockIdx.x) * kWidenChunks * kInt4Chunk + thread % 16 * 8;
  Int4Values eights[kWidenChunks];
#pragma unroll
  for (int chunk = 0; chunk < kWidenChunks; ++chunk) {
    const int column = first + chunk * kInt4Chunk;
    if (output < w.n && column < w.k) eights[chunk] = int4_values(w, packed, output, column);
  }
  wait_for_inputs();  // for the product that reads what was in `out`
#pragma unroll
  for (int chunk = 0; chunk < kWidenChunks; ++chunk) {
    const int column = first + chunk * kInt4Chunk;
    if (output >= w.n || column >= w.k) continue;
    const Int4Values& eight = eights[chunk];
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 v = unpack(int4_difference(eight.pairs[i], eight.zero));
      words[i] = pack(v.x * eight.scale, v.y * eight.scale);
    }
    *reinterpret_cast<uint4*>(out + int64_t{output} * w.k + column) = {words[0], words[1], words[2],
                                                                       words[3]};
  }
}

inline void launch_widen_int4(const Cuda& cuda, const Int4SkinnyArgs& w, bf16x1* out) {
  const Int4Layout layout = w.layout();
  const auto tiles = static_cast<unsigned>((layout.n + kInt4Tile - 1) / kInt4Tile);
  const auto groups = static_cast<unsigned>((layout.chunks() + kWidenChunks - 1) / kWidenChunks);
  launch({.grid = {groups, tiles},
          .block = kWidenThreads,
          .stream = cuda.stream,
          .overlaps = overlaps(cuda)},
         widen_int4_kernel, layout, w.packed, out);
}

}  // namespace qvl::device

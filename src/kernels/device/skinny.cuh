#pragma once

/// y = x·Wᵀ for few rows of x: generated tokens. Bound by reading W once. Each lane copies the
/// pieces of W that its own fragments of mma.m16n8k16 need, 16 bytes at a time, into a ring in
/// shared memory: that keeps as many bytes on their way as a block has shared memory, needs no
/// registers and no barrier, and begins while the kernel before is still running. A tensor core is
/// idle for most of its columns at one row, and memory is no faster without it. The order of k
/// inside a fragment is permuted alike for both operands, so that rows of x are read in 16-byte
/// pieces too.
///
/// Bits: k is split over the eight warps of a block in chunks of 64, chunk c to warp c mod 8, and
/// the warps' sums are added in order. That does not depend on the number of rows or on the tile.

#include "kernels/device/launch.cuh"
#include "kernels/device/numeric.cuh"

namespace qvl::device {

constexpr int kSkinnyWarps = 8;
constexpr int kSkinnyChunk = 64;

struct SkinnyArgs {
  const bf16x1* w = nullptr;  ///< [n, k], k a multiple of 8
  int n = 0;                  ///< even
  int k = 0;
  int rows = 0;
};

/// Rows of x: [rows, k], ldx a multiple of 8.
struct HalfRows {
  const bf16x1* x = nullptr;
  int64_t ldx = 0;
};

/// The 16-byte pieces of one chunk that a lane needs: rows g and g + 8 of each tile of 16, at two
/// places 32 columns apart.
template <int kTiles>
struct SkinnyPieces {
  static constexpr int kCount = kTiles * 4;

  /// Calls f(piece, address or null for what lies outside W).
  template <class F>
  static __device__ void each(const SkinnyArgs& args, int first_n, int chunk, F&& f) {
    const int lane = threadIdx.x % 32;
    const int column = chunk * kSkinnyChunk + lane % 4 * 8;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int row = first_n + i / 4 * 16 + i / 2 % 2 * 8 + lane / 4;
      const int at = column + i % 2 * 32;
      f(i, row < args.n && at < args.k ? args.w + int64_t{row} * args.k + at : nullptr);
    }
  }
};

/// The ring of a block: [warps][kAhead][pieces][lanes].
template <int kTiles, int kAhead>
constexpr int kSkinnyRingBytes = kSkinnyWarps* kAhead* SkinnyPieces<kTiles>::kCount * 32 * 16;

/// Epilogue: (row, col, v0, v1) takes columns col and col + 1 of a row, col even.
template <int kTiles, int kColumns, int kAhead, class Epilogue>
__global__ void __launch_bounds__(kSkinnyWarps * 32, kTiles* kColumns > 8 ? 1 : 2)
    skinny_kernel(const SkinnyArgs args, const HalfRows x, const Epilogue epilogue) {
  using Pieces = SkinnyPieces<kTiles>;
  extern __shared__ uint4 skinny_shared[];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int first_n = blockIdx.x * 16 * kTiles;
  const int first_row = blockIdx.y * 8 * kColumns;
  const int chunks = (args.k + kSkinnyChunk - 1) / kSkinnyChunk;
  uint4* const ring = skinny_shared + warp * kAhead * Pieces::kCount * 32 + lane;

  const auto fetch = [&](int i) {  // the warp's i-th chunk
    const int chunk = warp + i * kSkinnyWarps;
    if (chunk < chunks) {
      uint4* const slot = ring + i % kAhead * Pieces::kCount * 32;
      Pieces::each(args, first_n, chunk, [&](int piece, const bf16x1* from) {
        if (from != nullptr) {
          copy_piece(slot + piece * 32, from);
        } else {
          slot[piece * 32] = uint4{};
        }
      });
    }
    commit_copies();
  };
#pragma unroll
  for (int i = 0; i < kAhead; ++i) fetch(i);
  wait_for_inputs();

  float sums[kTiles][kColumns][4] = {};
#pragma unroll 2
  for (int i = 0; warp + i * kSkinnyWarps < chunks; ++i) {
    const int column = (warp + i * kSkinnyWarps) * kSkinnyChunk + lane % 4 * 8;
    const uint4* const slot = ring + i % kAhead * Pieces::kCount * 32;
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      uint4 rows[kColumns];
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const int row = first_row + j * 8 + lane / 4;
        const int at = column + part * 32;
        rows[j] = row < args.rows && at < args.k
                      ? *reinterpret_cast<const uint4*>(x.x + row * x.ldx + at)
                      : uint4{};
      }
      if (part == 0) wait_copies<kAhead - 1>();
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint4 low = slot[(tile * 4 + part) * 32];
        const uint4 high = slot[(tile * 4 + 2 + part) * 32];
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          multiply_add(sums[tile][j], low.x, high.x, low.y, high.y, rows[j].x, rows[j].y);
          multiply_add(sums[tile][j], low.z, high.z, low.w, high.w, rows[j].z, rows[j].w);
        }
      }
    }
    fetch(i + kAhead);
  }

  constexpr int kRows = kColumns * 8;
  static_assert(kSkinnyWarps * 16 * (kRows + 1) * 4 <= kSkinnyRingBytes<kTiles, kAhead>);
  using Partial = float[16][kRows + 1];
  auto* const partial = reinterpret_cast<Partial*>(skinny_shared);
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        partial[warp][lane / 4 + i / 2 * 8][j * 8 + lane % 4 * 2 + i % 2] = sums[tile][j][i];
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 8 * kRows; i += kSkinnyWarps * 32) {
      const int pair = i % 8;
      const int r = i / 8;
      const int row = first_row + r;
      const int col = first_n + tile * 16 + pair * 2;
      if (row >= args.rows || col >= args.n) continue;
      float v0 = 0.0F;
      float v1 = 0.0F;
#pragma unroll
      for (int w = 0; w < kSkinnyWarps; ++w) {
        v0 += partial[w][pair * 2][r];
        v1 += partial[w][pair * 2 + 1][r];
      }
      epilogue(row, col, v0, v1);
    }
  }
}

template <int kTiles, int kColumns, int kAhead, class Epilogue>
void launch_skinny_tile(const SkinnyArgs& args, const HalfRows& x, const Epilogue& epilogue,
                        cudaStream_t stream, bool overlaps) {
  constexpr int kBytes = kSkinnyRingBytes<kTiles, kAhead>;
  const auto kernel = skinny_kernel<kTiles, kColumns, kAhead, Epilogue>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const auto blocks = [](int n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  launch({.grid = {blocks(args.n, 16 * kTiles), blocks(args.rows, 8 * kColumns)},
          .block = kSkinnyWarps * 32,
          .shared_bytes = kBytes,
          .stream = stream,
          .overlaps = overlaps},
         kernel, args, x, epilogue);
}

template <class Epilogue>
void launch_skinny(const SkinnyArgs& args, const HalfRows& x, const Epilogue& epilogue,
                   cudaStream_t stream, bool overlaps) {
  constexpr int kLongRow = 4096;  // of W: its blocks are few, and take more at a time
  if (args.rows <= 8) {
    if (args.k > kLongRow) {
      launch_skinny_tile<1, 1, 6>(args, x, epilogue, stream, overlaps);
    } else {
      launch_skinny_tile<1, 1, 4>(args, x, epilogue, stream, overlaps);
    }
  } else if (args.rows <= 16) {
    launch_skinny_tile<1, 2, 4>(args, x, epilogue, stream, overlaps);
  } else if (args.rows <= 32) {
    launch_skinny_tile<2, 4, 3>(args, x, epilogue, stream, overlaps);
  } else {
    launch_skinny_tile<2, 8, 3>(args, x, epilogue, stream, overlaps);
  }
}

}  // namespace qvl::device

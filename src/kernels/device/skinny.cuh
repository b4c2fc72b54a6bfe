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
  static constexpr bool kNormed = false;
  const bf16x1* x = nullptr;
  int64_t ldx = 0;

  /// Elements [column, column + 8) of a row.
  __device__ uint4 at(int row, int column, float&) const {
    return *reinterpret_cast<const uint4*>(x + row * ldx + column);
  }
};

/// Rows of the float32 residual stream that are normalised on the way: y = s · (w ⊙ x)·Wᵀ with
/// s = 1 / sqrt(mean(x²) + eps). w ⊙ x is rounded to bfloat16, s is applied to the sums: so the
/// squares are added while the products are, and nothing waits for them.
struct NormedRows {
  static constexpr bool kNormed = true;
  const float* x = nullptr;
  int64_t ldx = 0;
  const int32_t* rows = nullptr;  ///< the rows to take, or null for all in order
  const float* weight = nullptr;
  float eps = 0;

  /// Adds the squares of the elements to `squares`.
  __device__ uint4 at(int row, int column, float& squares) const {
    const float* const from = x + (rows == nullptr ? row : rows[row]) * ldx + column;
    const float4 a = *reinterpret_cast<const float4*>(from);
    const float4 b = *reinterpret_cast<const float4*>(from + 4);
    const float4 v = *reinterpret_cast<const float4*>(weight + column);
    const float4 w = *reinterpret_cast<const float4*>(weight + column + 4);
    squares = fmaf(a.x, a.x, squares);
    squares = fmaf(a.y, a.y, squares);
    squares = fmaf(a.z, a.z, squares);
    squares = fmaf(a.w, a.w, squares);
    squares = fmaf(b.x, b.x, squares);
    squares = fmaf(b.y, b.y, squares);
    squares = fmaf(b.z, b.z, squares);
    squares = fmaf(b.w, b.w, squares);
    return {pack(v.x * a.x, v.y * a.y), pack(v.z * a.z, v.w * a.w), pack(w.x * b.x, w.y * b.y),
            pack(w.z * b.z, w.w * b.w)};
  }
};

/// The squares of the rows of a block, as its warps have added them: [warps][8 rows].
struct RowSquares {
  float (*sums)[8];

  /// Of rows lane / 4 of this warp; a barrier must follow.
  __device__ void store(float squares) const {
    const int lane = threadIdx.x % 32;
    squares += __shfl_xor_sync(0xffffffffU, squares, 1);
    squares += __shfl_xor_sync(0xffffffffU, squares, 2);
    if (lane % 4 == 0) sums[threadIdx.x / 32][lane / 4] = squares;
  }
  /// s of a row.
  __device__ float scale(int row, int k, float eps) const {
    float total = 0.0F;
#pragma unroll
    for (int w = 0; w < kSkinnyWarps; ++w) total += sums[w][row];
    return 1.0F / sqrtf(total / static_cast<float>(k) + eps);
  }
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
template <int kTiles, int kColumns, int kAhead, class Rows, class Epilogue>
__global__ void __launch_bounds__(kSkinnyWarps * 32, kTiles* kColumns > 8 ? 1 : 2)
    skinny_kernel(const SkinnyArgs args, const Rows x, const Epilogue epilogue) {
  static_assert(!Rows::kNormed || kColumns == 1);
  using Pieces = SkinnyPieces<kTiles>;
  extern __shared__ uint4 skinny_shared[];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int first_n = blockIdx.x * 16 * kTiles;
  const int first_row = blockIdx.y * 8 * kColumns;
  const int chunks = (args.k + kSkinnyChunk - 1) / kSkinnyChunk;
  uint4* const ring = skinny_shared + warp * kAhead * Pieces::kCount * 32 + lane;
  let_next_begin();

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
  float squares = 0.0F;
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
        rows[j] = row < args.rows && at < args.k ? x.at(row, at, squares) : uint4{};
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
  __shared__ float square_sums[kSkinnyWarps][8];
  const RowSquares row_squares{square_sums};
  if constexpr (Rows::kNormed) row_squares.store(squares);
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
      if constexpr (Rows::kNormed) {
        const float scale = row_squares.scale(r, args.k, x.eps);
        v0 *= scale;
        v1 *= scale;
      }
      epilogue(row, col, v0, v1);
    }
  }
}

/// The rows that NormedRows makes, eight a block, and their scales, with the same bits.
static __global__ void __launch_bounds__(kSkinnyWarps * 32)
    normed_rows_kernel(const SkinnyArgs args, const NormedRows x, bf16x1* y, float* scales) {
  __shared__ float square_sums[kSkinnyWarps][8];
  wait_for_inputs();
  const int lane = threadIdx.x % 32;
  const int row = blockIdx.x * 8 + lane / 4;
  float squares = 0.0F;
  if (row < args.rows) {
    for (int first = threadIdx.x / 32 * kSkinnyChunk; first < args.k;
         first += kSkinnyWarps * kSkinnyChunk) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const int column = first + part * 32 + lane % 4 * 8;
        if (column >= args.k) continue;
        *reinterpret_cast<uint4*>(y + int64_t{row} * args.k + column) = x.at(row, column, squares);
      }
    }
  }
  const RowSquares row_squares{square_sums};
  row_squares.store(squares);
  __syncthreads();
  if (threadIdx.x < 8 && blockIdx.x * 8 + threadIdx.x < args.rows) {
    scales[blockIdx.x * 8 + threadIdx.x] = row_squares.scale(threadIdx.x, args.k, x.eps);
  }
}

/// Sums of rows that still lack their scale.
template <class Epilogue>
struct Scaled {
  Epilogue epilogue;
  const float* scales;

  __device__ void operator()(int row, int col, float v0, float v1) const {
    epilogue(row, col, v0 * scales[row], v1 * scales[row]);
  }
};

template <int kTiles, int kColumns, int kAhead, class Rows, class Epilogue>
void launch_skinny_tile(const SkinnyArgs& args, const Rows& x, const Epilogue& epilogue,
                        cudaStream_t stream, bool overlaps) {
  constexpr int kBytes = kSkinnyRingBytes<kTiles, kAhead>;
  const auto kernel = skinny_kernel<kTiles, kColumns, kAhead, Rows, Epilogue>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const auto blocks = [](int n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  launch({.grid = {blocks(args.n, 16 * kTiles), blocks(args.rows, 8 * kColumns)},
          .block = kSkinnyWarps * 32,
          .shared_bytes = kBytes,
          .stream = stream,
          .overlaps = overlaps},
         kernel, args, x, epilogue);
}

template <class Rows, class Epilogue>
void launch_few(const SkinnyArgs& args, const Rows& x, const Epilogue& epilogue,
                cudaStream_t stream, bool overlaps) {
  constexpr int kLongRow = 4096;  // of W: its blocks are few, and take more at a time
  if (args.k > kLongRow) {
    launch_skinny_tile<1, 1, 12>(args, x, epilogue, stream, overlaps);
  } else {
    launch_skinny_tile<1, 1, 4>(args, x, epilogue, stream, overlaps);
  }
}

template <class Epilogue>
void launch_skinny(const SkinnyArgs& args, const HalfRows& x, const Epilogue& epilogue,
                   cudaStream_t stream, bool overlaps) {
  constexpr int kManyOutputs = 65536;
  if (args.rows <= 8) {
    launch_few(args, x, epilogue, stream, overlaps);
  } else if (args.rows <= 16) {
    launch_skinny_tile<1, 2, 4>(args, x, epilogue, stream, overlaps);
  } else if (args.rows <= 32) {
    if (args.n >= kManyOutputs) {
      launch_skinny_tile<2, 4, 2>(args, x, epilogue, stream, overlaps);
    } else {
      launch_skinny_tile<1, 4, 4>(args, x, epilogue, stream, overlaps);
    }
  } else if (args.n >= kManyOutputs) {
    launch_skinny_tile<4, 8, 2>(args, x, epilogue, stream, overlaps);
  } else {
    launch_skinny_tile<1, 8, 4>(args, x, epilogue, stream, overlaps);
  }
}

/// The same of rows that are normalised first. Memory for more than eight rows: `normed` [rows, k]
/// and `scales` [rows].
template <class Epilogue>
void launch_normed_skinny(const SkinnyArgs& args, const NormedRows& x, bf16x1* normed,
                          float* scales, const Epilogue& epilogue, cudaStream_t stream,
                          bool overlaps) {
  if (args.rows <= 8) {
    launch_few(args, x, epilogue, stream, overlaps);
    return;
  }
  launch({.grid = static_cast<unsigned>((args.rows + 7) / 8),
          .block = kSkinnyWarps * 32,
          .stream = stream,
          .overlaps = overlaps},
         normed_rows_kernel, args, x, normed, scales);
  launch_skinny(args, HalfRows{normed, args.k}, Scaled<Epilogue>{epilogue, scales}, stream,
                overlaps);
}

}  // namespace qvl::device

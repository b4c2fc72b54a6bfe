#pragma once

/// y = x·Wᵀ for few rows of x: generated tokens. Bound by reading W once.
///
/// Bits: the k of W go round `skinny_lanes(n)` lanes in chunks of 64, chunk c to lane c mod lanes.
/// A lane adds its k16 products in order, the lanes' sums are added in order. That depends on the
/// shape of W alone, not on the number of rows or on who multiplies: this file's kernel, which
/// suits few rows and any device, or that of skinny_wgmma.cuh.
///
/// Here each warp copies the chunks of its own tile and lane into a ring in shared memory: many
/// bytes are on their way without registers or barriers, and copying begins while the kernel before
/// is still running. Inside a k16 the order is permuted alike for both operands, so that a thread
/// reads four neighbours.

#include <algorithm>

#include "kernels/device/launch.cuh"
#include "kernels/device/numeric.cuh"

namespace qvl::device {

constexpr int kSkinnyWarps = 8;
constexpr int kSkinnyChunk = 64;
constexpr int kMaxSkinnyLanes = 8;

struct SkinnyArgs {
  const bf16x1* w = nullptr;  ///< [n, k], k a multiple of 8
  int n = 0;                  ///< even
  int k = 0;
  int rows = 0;

  __host__ __device__ int chunks() const { return (k + kSkinnyChunk - 1) / kSkinnyChunk; }
};

/// Lanes of W with n rows: as many as leave no more than 200 pieces of 128 outputs, which is where
/// an H200 with its 132 multiprocessors is fastest. A power of two.
__host__ __device__ inline int skinny_lanes(int n) {
  constexpr int kPieces = 200;
  const int tiles = (n + 127) / 128;
  int lanes = kMaxSkinnyLanes;
  while (lanes > 1 && tiles * lanes > kPieces) lanes /= 2;
  return lanes;
}

/// Rows of x: [rows, k], ldx a multiple of 8.
struct HalfRows {
  static constexpr bool kNormed = false;
  const bf16x1* x = nullptr;
  int64_t ldx = 0;

  /// Elements [column, column + 4) of a row.
  __device__ uint2 at(int row, int column, float&) const {
    return *reinterpret_cast<const uint2*>(x + row * ldx + column);
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
  __device__ uint2 at(int row, int column, float& squares) const {
    const float* const from = x + (rows == nullptr ? row : rows[row]) * ldx + column;
    const float4 a = *reinterpret_cast<const float4*>(from);
    const float4 v = *reinterpret_cast<const float4*>(weight + column);
    squares = fmaf(a.x, a.x, squares);
    squares = fmaf(a.y, a.y, squares);
    squares = fmaf(a.z, a.z, squares);
    squares = fmaf(a.w, a.w, squares);
    return {pack(v.x * a.x, v.y * a.y), pack(v.z * a.z, v.w * a.w)};
  }
};

/// Sum of the squares of a chunk of a row, of which each of four neighbouring threads has a part;
/// the same in all four.
__device__ inline float chunk_squares(float part) {
  part += __shfl_xor_sync(0xffffffffU, part, 1);
  return part + __shfl_xor_sync(0xffffffffU, part, 2);
}

/// s of a row: the squares of a lane's chunks are added in order, then those of the lanes.
/// `of_lane` gives the sum of one.
template <class OfLane>
__device__ float norm_scale(int lanes, int k, float eps, const OfLane& of_lane) {
  float total = 0.0F;
  for (int i = 0; i < lanes; ++i) total += of_lane(i);
  return 1.0F / sqrtf(total / static_cast<float>(k) + eps);
}

/// A chunk of 16 rows of W in shared memory: rows of 128 bytes, 16-byte pieces moved so that the
/// reads of `operand` meet no bank twice. A warp copies its own and multiplies it.
struct WeightChunk {
  static constexpr int kBytes = 16 * kSkinnyChunk * 2;
  std::byte* data;

  /// Begins to copy chunk `chunk` of the 16 rows from `first_n` on; zeros outside W.
  __device__ void copy(const SkinnyArgs& args, int first_n, int chunk) const {
    const int lane = threadIdx.x % 32;
    const int column = chunk * kSkinnyChunk + lane % 8 * 8;
    const int row = first_n + lane / 8;
    const bf16x1* const from = args.w + int64_t{row} * args.k + column;
    std::byte* const to = data + lane / 8 * 128 + (lane % 8 ^ lane / 8 % 4 * 2) * 16;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      auto* const piece = reinterpret_cast<uint4*>(to + i * 4 * 128);
      if (row + i * 4 < args.n && column < args.k) {
        copy_piece(piece, from + int64_t{i} * 4 * args.k);
      } else {
        *piece = uint4{};
      }
    }
  }
  /// The same of a chunk that lies in W as a whole; `from` is the lane's first piece, the others
  /// are `rows` elements apart: row lane / 8 and every fourth after it, columns 8 · (lane % 8) and
  /// on.
  __device__ void copy_whole(const bf16x1* from, int rows) const {
    const int lane = threadIdx.x % 32;
    std::byte* const to = data + lane / 8 * 128 + (lane % 8 ^ lane / 8 % 4 * 2) * 16;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      copy_piece(reinterpret_cast<uint4*>(to + i * 4 * 128), from);
      from += rows;
    }
  }
  /// Columns [16 · depth + 4 · (lane % 4), + 4) of row lane / 4 + 8 · half.
  __device__ uint2 operand(int depth, int half) const {
    const int lane = threadIdx.x % 32;
    const int row = lane / 4 + half * 8;
    const int piece = (depth * 2 + lane % 4 / 2) ^ row % 4 * 2;
    return *reinterpret_cast<const uint2*>(data + row * 128 + piece * 16 + lane % 2 * 8);
  }
  /// sums += this · rowsᵀ; rows[depth][j] as `operand` has columns, of row 8 · j + lane / 4.
  template <int kColumns>
  __device__ void multiply(const uint2 (&rows)[4][kColumns], float (&sums)[kColumns][4]) const {
#pragma unroll
    for (int depth = 0; depth < 4; ++depth) {
      const uint2 low = operand(depth, 0);
      const uint2 high = operand(depth, 1);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        multiply_add(sums[j], low.x, high.x, low.y, high.y, rows[depth][j].x, rows[depth][j].y);
      }
    }
  }
};

/// The sums of a block's warps: [warps][16 outputs][rows, padded].
template <int kColumns>
struct SkinnySums {
  float sums[kSkinnyWarps][16][kColumns * 8 + 1];

  __device__ void store(const float (&of_warp)[kColumns][4]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[threadIdx.x / 32][lane / 4 + i / 2 * 8][j * 8 + lane % 4 * 2 + i % 2] = of_warp[j][i];
      }
    }
  }
  /// Outputs 2 · pair and the next of a tile: of the warps of its lanes, in order.
  __device__ float2 total(int tile, int lanes, int pair, int row) const {
    float2 v{};
    for (int w = tile * lanes; w < (tile + 1) * lanes; ++w) {
      v.x += sums[w][pair * 2][row];
      v.y += sums[w][pair * 2 + 1][row];
    }
    return v;
  }
};

template <int kColumns, int kAhead>
constexpr int kSkinnySharedBytes = kSkinnyWarps* kAhead* WeightChunk::kBytes +
                                   2 * static_cast<int>(sizeof(SkinnySums<kColumns>));

/// Epilogue: (row, col, v0, v1) takes columns col and col + 1 of a row, col even.
template <int kColumns, int kAhead, class Rows, class Epilogue>
__global__ void __launch_bounds__(kSkinnyWarps * 32, kColumns > 1 ? 1 : 2)
    skinny_kernel(const SkinnyArgs args, const Rows x, const Epilogue epilogue) {
  static_assert(!Rows::kNormed || kColumns == 1);
  extern __shared__ uint4 skinny_shared[];
  __shared__ float square_sums[kMaxSkinnyLanes][8];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int k_lanes = skinny_lanes(args.n);
  const int k_lane = warp % k_lanes;
  const int tiles_at_once = kSkinnyWarps / k_lanes;
  const int tiles = (args.n + 15) / 16;
  const int step = gridDim.x * tiles_at_once;
  const int first_tile = blockIdx.x * tiles_at_once + warp / k_lanes;
  const int first_row = blockIdx.y * 8 * kColumns;
  const int chunks = args.chunks();
  auto* const shared = reinterpret_cast<std::byte*>(skinny_shared);
  std::byte* const ring = shared + warp * kAhead * WeightChunk::kBytes;
  let_next_begin();

  int ahead_tile = k_lane < chunks ? first_tile : tiles;  // of the next chunk to copy
  int ahead_chunk = k_lane;
  const auto fetch = [&](int slot) {
    if (ahead_tile < tiles) {
      WeightChunk{ring + slot * WeightChunk::kBytes}.copy(args, ahead_tile * 16, ahead_chunk);
      ahead_chunk += k_lanes;
      if (ahead_chunk >= chunks) {
        ahead_chunk = k_lane;
        ahead_tile += step;
      }
    }
    commit_copies();
  };
#pragma unroll
  for (int i = 0; i < kAhead; ++i) fetch(i);
  wait_for_inputs();

  int slot = 0;
  bool is_odd = false;
  for (int first = blockIdx.x * tiles_at_once; first < tiles; first += step, is_odd = !is_odd) {
    float sums[kColumns][4] = {};
    float squares = 0.0F;
    const bool has_tile = first + warp / k_lanes < tiles;
    for (int chunk = k_lane; has_tile && chunk < chunks; chunk += k_lanes) {
      uint2 rows[4][kColumns];
      float part = 0.0F;
#pragma unroll
      for (int depth = 0; depth < 4; ++depth) {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          const int row = first_row + j * 8 + lane / 4;
          const int at = chunk * kSkinnyChunk + depth * 16 + lane % 4 * 4;
          rows[depth][j] = row < args.rows && at < args.k ? x.at(row, at, part) : uint2{};
        }
      }
      if constexpr (Rows::kNormed) squares += chunk_squares(part);
      wait_copies<kAhead - 1>();
      __syncwarp();
      WeightChunk{ring + slot * WeightChunk::kBytes}.multiply(rows, sums);
      __syncwarp();  // all have read what is overwritten
      fetch(slot);
      slot = slot + 1 == kAhead ? 0 : slot + 1;
    }

    // One barrier a round: the sums of the next round go to the other half, and those of the one
    // after it come when all have passed the next barrier.
    constexpr int kRows = kColumns * 8;
    auto& partial = reinterpret_cast<SkinnySums<kColumns>*>(
        shared + kSkinnyWarps * kAhead * WeightChunk::kBytes)[is_odd ? 1 : 0];
    partial.store(sums);
    if constexpr (Rows::kNormed) {
      const bool is_first = first == static_cast<int>(blockIdx.x) * tiles_at_once;
      if (is_first && warp < k_lanes && lane % 4 == 0) square_sums[k_lane][lane / 4] = squares;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < tiles_at_once * 8 * kRows; i += kSkinnyWarps * 32) {
      const int tile = i / 8 / kRows;
      const int pair = i % 8;
      const int r = i / 8 % kRows;
      const int row = first_row + r;
      const int col = (first + tile) * 16 + pair * 2;
      if (row >= args.rows || col >= args.n) continue;
      float2 v = partial.total(tile, k_lanes, pair, r);
      if constexpr (Rows::kNormed) {
        const float scale =
            norm_scale(k_lanes, args.k, x.eps, [&](int i) { return square_sums[i][r]; });
        v = {v.x * scale, v.y * scale};
      }
      epilogue(row, col, v.x, v.y);
    }
  }
}

constexpr int kNormedThreads = 256;

/// The rows that NormedRows makes, one a block, and their scales, with the same bits.
static __global__ void __launch_bounds__(kNormedThreads)
    normed_rows_kernel(const SkinnyArgs args, const NormedRows x, bf16x1* y, float* scales) {
  extern __shared__ uint4 skinny_shared[];
  auto* const squares = reinterpret_cast<float*>(skinny_shared);  // [chunks]
  __shared__ float of_lane[kMaxSkinnyLanes];
  wait_for_inputs();
  const int row = blockIdx.x;
  const int chunks = args.chunks();
  const int lanes = skinny_lanes(args.n);
  for (int first = 0; first < chunks; first += kNormedThreads / 4) {
    const int chunk = first + threadIdx.x / 4;
    float part = 0.0F;
#pragma unroll
    for (int depth = 0; depth < 4; ++depth) {
      const int column = chunk * kSkinnyChunk + depth * 16 + threadIdx.x % 4 * 4;
      if (column >= args.k) continue;
      *reinterpret_cast<uint2*>(y + int64_t{row} * args.k + column) = x.at(row, column, part);
    }
    part = chunk_squares(part);
    if (threadIdx.x % 4 == 0 && chunk < chunks) squares[chunk] = part;
  }
  __syncthreads();
  if (threadIdx.x < lanes) {
    float sum = 0.0F;
    for (int c = threadIdx.x; c < chunks; c += lanes) sum += squares[c];
    of_lane[threadIdx.x] = sum;
  }
  __syncwarp();
  if (threadIdx.x == 0) {
    scales[row] = norm_scale(lanes, args.k, x.eps, [&](int i) { return of_lane[i]; });
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

template <int kColumns, int kAhead, class Rows, class Epilogue>
void launch_skinny_tile(const SkinnyArgs& args, const Rows& x, const Epilogue& epilogue,
                        int sm_count, cudaStream_t stream, bool overlaps) {
  constexpr int kBytes = kSkinnySharedBytes<kColumns, kAhead>;
  const auto kernel = skinny_kernel<kColumns, kAhead, Rows, Epilogue>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int outputs = 16 * kSkinnyWarps / skinny_lanes(args.n);
  const int blocks = std::min((args.n + outputs - 1) / outputs, 2 * sm_count);
  const int row_blocks = (args.rows + 8 * kColumns - 1) / (8 * kColumns);
  launch({.grid = {static_cast<unsigned>(blocks), static_cast<unsigned>(row_blocks)},
          .block = kSkinnyWarps * 32,
          .shared_bytes = kBytes,
          .stream = stream,
          .overlaps = overlaps},
         kernel, args, x, epilogue);
}

}  // namespace qvl::device

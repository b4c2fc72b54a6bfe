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
/// is still running.

#include <algorithm>

#include "core/check.h"
#include "kernels/device/launch.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/numeric.cuh"

namespace qvl::device {

constexpr int kSkinnyChunk = 64;
constexpr int kMaxSkinnyLanes = 8;
/// Of NormedRows that are staged.
constexpr int kMaxNormedChunks = 64;
constexpr int64_t kMostStagedBytes = 64 * 1024;

struct SkinnyArgs {
  const bf16x1* w = nullptr;  ///< [n, k], k a multiple of 8
  int n = 0;                  ///< even
  int k = 0;
  int rows = 0;

  __host__ __device__ int chunks(int depth = kSkinnyChunk) const { return (k + depth - 1) / depth; }
};

/// Lanes of W with n rows: as many as leave no more than `pieces` of 128 outputs; 200 is where an
/// H200 with its 132 multiprocessors is fastest. A power of two.
__host__ __device__ inline int skinny_lanes(int n, int pieces = 200) {
  const int tiles = (n + 127) / 128;
  int lanes = kMaxSkinnyLanes;
  while (lanes > 1 && tiles * lanes > pieces) lanes /= 2;
  return lanes;
}

/// Whether blocks of 12 warps leave less for the multiprocessor with the most to do than blocks of
/// 8, and W takes so long to read that it counts.
inline bool suits_twelve_warps(const SkinnyArgs& args, int sm_count) {
  constexpr int64_t kLargeBytes = 64LL << 20;
  const int lanes = skinny_lanes(args.n);
  if (lanes > 4 || int64_t{args.n} * args.k * 2 < kLargeBytes)
    return false;  // 12 has no lanes of 8
  const auto most = [&](int warps) {
    const int blocks = ((args.n + 15) / 16 * lanes + warps - 1) / warps;
    return (blocks + sm_count - 1) / sm_count * warps;
  };
  return most(12) < most(8);
}

/// Rows of x: [rows, k], ldx a multiple of 8.
struct HalfRows {
  static constexpr bool kNormed = false;
  const bf16x1* x = nullptr;
  int64_t ldx = 0;
};

/// Rows of the float32 residual stream that are normalised on the way: y = s · (w ⊙ x)·Wᵀ with
/// s = 1 / sqrt(mean(x²) + eps). w ⊙ x is rounded to bfloat16, s is applied to the sums.
struct NormedRows {
  static constexpr bool kNormed = true;
  const float* x = nullptr;
  int64_t ldx = 0;
  const int32_t* rows = nullptr;  ///< the rows to take, or null for all in order
  const float* weight = nullptr;
  float eps = 0;

  /// What one of four neighbouring threads needs of a chunk of a row; loads wait for nothing.
  struct Quarter {
    float4 x[4];
    float4 weight[4];
  };
  __device__ Quarter load(int row, int chunk, int k) const {
    const float* const from = x + (rows == nullptr ? row : rows[row]) * ldx;
    Quarter quarter{};
#pragma unroll
    for (int depth = 0; depth < 4; ++depth) {
      const int column = column_of(chunk, depth);
      if (column >= k) continue;
      quarter.x[depth] = *reinterpret_cast<const float4*>(from + column);
      quarter.weight[depth] = *reinterpret_cast<const float4*>(weight + column);
    }
    return quarter;
  }
  /// put(column, four elements of w ⊙ x) for what lies below k. Returns the squares of the chunk.
  template <class Put>
  static __device__ float take(const Quarter& quarter, int chunk, int k, const Put& put);

 private:
  static __device__ int column_of(int chunk, int depth) {
    return chunk * kSkinnyChunk + depth * 16 + static_cast<int>(threadIdx.x) % 4 * 4;
  }
};

/// Sum of the squares of a chunk of a row, of which each of four neighbouring threads has a part;
/// the same in all four.
__device__ inline float chunk_squares(float part) {
  part += __shfl_xor_sync(0xffffffffU, part, 1);
  return part + __shfl_xor_sync(0xffffffffU, part, 2);
}

template <class Put>
__device__ float NormedRows::take(const Quarter& quarter, int chunk, int k, const Put& put) {
  float part = 0.0F;
#pragma unroll
  for (int depth = 0; depth < 4; ++depth) {
    const float4 a = quarter.x[depth];
    const float4 w = quarter.weight[depth];
    part = fmaf(a.x, a.x, part);
    part = fmaf(a.y, a.y, part);
    part = fmaf(a.z, a.z, part);
    part = fmaf(a.w, a.w, part);
    const int column = column_of(chunk, depth);
    if (column < k) put(column, uint2{pack(w.x * a.x, w.y * a.y), pack(w.z * a.z, w.w * a.w)});
  }
  return chunk_squares(part);
}

/// s of a row: the squares of a lane's chunks are added in order, then those of the lanes.
/// `of_lane` gives the sum of one.
template <class OfLane>
__device__ float norm_scale(int lanes, int k, float eps, const OfLane& of_lane) {
  float total = 0.0F;
  for (int i = 0; i < lanes; ++i) total += of_lane(i);
  return 1.0F / sqrtf(total / static_cast<float>(k) + eps);
}

/// Rounded, whatever is added next: every kernel gives the same bits.
__device__ inline float2 scaled(const float2& v, float scale) {
  return {__fmul_rn(v.x, scale), __fmul_rn(v.y, scale)};
}

/// Right operands of a chunk's four k16 and eight rows of x.
using ChunkRows = uint2[4];

/// Those of rows that lie in shared memory `stride` bytes apart, which leaves 16 over when divided
/// by 128: from byte `column` on. What rows beyond the last have does not matter: they have sums of
/// their own.
__device__ inline void load_rows(const std::byte* rows, int count, int stride, int column,
                                 ChunkRows& out) {
  const int lane = threadIdx.x % 32;
  const std::byte* const from = rows + min(lane % 8, count - 1) * stride + column + lane / 8 * 16;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint4 v = load_matrices(from + half * 64);
    out[half * 2] = {v.x, v.y};
    out[half * 2 + 1] = {v.z, v.w};
  }
}

/// A chunk of 16 rows of W in shared memory: rows of 128 bytes, their 16-byte pieces XORed with the
/// row modulo 8, so that eight rows of a matrix load meet no bank twice. A warp copies its own and
/// multiplies it. Other formats of W have chunks of their own; see int4_skinny.cuh.
struct WeightChunk {
  using Args = SkinnyArgs;
  static constexpr int kDepth = kSkinnyChunk;  ///< k of a chunk
  static constexpr int kBytes = 16 * kSkinnyChunk * 2;
  static constexpr int kBlocks = 2;  ///< a multiprocessor, of up to eight rows
  std::byte* data;

  static __host__ __device__ int lanes(const SkinnyArgs& args) { return skinny_lanes(args.n); }

  /// Begins to copy chunk `chunk` of the 16 rows from `first_n` on; zeros outside W.
  __device__ void copy(const SkinnyArgs& args, int first_n, int chunk) const {
    const int lane = threadIdx.x % 32;
    const int column = chunk * kSkinnyChunk + lane % 8 * 8;
    const int row = first_n + lane / 8;
    const bf16x1* const from = args.w + int64_t{row} * args.k + column;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      auto* const piece = reinterpret_cast<uint4*>(data + place(lane / 8 + i * 4, lane % 8));
      if (row + i * 4 < args.n && column < args.k) {
        copy_piece(piece, from + int64_t{i} * 4 * args.k);
      } else {
        *piece = uint4{};
      }
    }
  }
  /// sums += this · rowsᵀ; rows[j] of rows 8 · j and on.
  template <int kColumns>
  __device__ void multiply(const ChunkRows (&rows)[kColumns], float (&sums)[kColumns][4]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int depth = 0; depth < 4; ++depth) {
      const uint4 a = load_matrices(data + place(lane % 16, depth * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        multiply_add(sums[j], a.x, a.y, a.z, a.w, rows[j][depth].x, rows[j][depth].y);
      }
    }
  }
  /// The same; load(i, rows) gives the i-th 64 columns of the rows' chunk.
  template <int kColumns, class Load>
  __device__ void multiply_loaded(const Load& load, float (&sums)[kColumns][4]) const {
    ChunkRows rows[kColumns];
    load(0, rows);
    multiply(rows, sums);
  }

 private:
  static __device__ int place(int row, int piece) { return row * 128 + ((piece ^ row % 8) * 16); }
};

/// The sums of a block's warps: [warps][16 outputs][rows, padded].
template <int kColumns, int kWarps>
struct SkinnySums {
  float sums[kWarps][16][kColumns * 8 + 1];

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

/// Where a block's shared memory has what: a ring for each warp, of chunks of W and, for HalfRows,
/// of the same chunks of x; two times the warps' sums; for NormedRows all of x, staged.
template <int kColumns, int kAhead, int kWarps, bool kNormed, class Chunk = WeightChunk>
struct SkinnyShared {
  static constexpr int kRowBytes = Chunk::kDepth * 2 + 16;  // of a chunk of x
  int slot_bytes;
  int stride;  ///< bytes from a staged row to the next
  int rows;    ///< of the block

  __host__ __device__ explicit SkinnyShared(const SkinnyArgs& args, int first_row = 0)
      : stride(args.chunks(Chunk::kDepth) * Chunk::kDepth * 2 + 16),
        rows(args.rows - first_row < 8 * kColumns ? args.rows - first_row : 8 * kColumns) {
    const int of_x = kNormed ? 0 : (rows * kRowBytes + 127) / 128 * 128;
    slot_bytes = Chunk::kBytes + of_x;
  }
  __host__ __device__ int ring_bytes() const { return kAhead * slot_bytes; }
  __host__ __device__ int sums() const { return kWarps * ring_bytes(); }
  __host__ __device__ int staged() const {
    return sums() + 2 * static_cast<int>(sizeof(SkinnySums<kColumns, kWarps>));
  }
  int bytes() const { return staged() + (kNormed ? rows * stride : 0); }
};

/// Epilogue: (row, col, v0, v1) takes columns col and col + 1 of a row, col even.
template <int kColumns, int kAhead, int kWarps, class Rows, class Epilogue, class Chunk>
__global__ void __launch_bounds__(kWarps * 32, kColumns > 1 ? 1 : Chunk::kBlocks)
    skinny_kernel(const typename Chunk::Args args, const Rows x, const Epilogue epilogue) {
  static_assert(!Rows::kNormed || kColumns == 1);
  using Shared = SkinnyShared<kColumns, kAhead, kWarps, Rows::kNormed, Chunk>;
  constexpr int kDepth = Chunk::kDepth;
  extern __shared__ uint4 skinny_shared[];
  __shared__ float chunk_sums[Rows::kNormed ? 8 : 1][kMaxNormedChunks];
  __shared__ float scales[8];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int k_lanes = Chunk::lanes(args);
  const int k_lane = warp % k_lanes;
  const int tiles_at_once = kWarps / k_lanes;
  const int tiles = (args.n + 15) / 16;
  const int step = gridDim.x * tiles_at_once;
  const int first_tile = blockIdx.x * tiles_at_once + warp / k_lanes;
  const int first_row = blockIdx.y * 8 * kColumns;
  const Shared places(args, first_row);
  const int rows = places.rows;
  const int chunks = args.chunks(kDepth);
  auto* const shared = reinterpret_cast<std::byte*>(skinny_shared);
  std::byte* const ring = shared + warp * places.ring_bytes();
  std::byte* const staged = shared + places.staged();

  // The next chunk to copy.
  int ahead_tile = k_lane < chunks ? first_tile : tiles;
  int ahead_chunk = k_lane;
  const auto copy_x = [&](int chunk, std::byte* slot) {
    if constexpr (!Rows::kNormed) {
      constexpr int kPieces = kDepth / 8;
      for (int i = lane; i < rows * kPieces; i += 32) {
        const int column = chunk * kDepth + i % kPieces * 8;
        auto* const to = reinterpret_cast<uint4*>(
            slot + Chunk::kBytes + i / kPieces * Shared::kRowBytes + i % kPieces * 16);
        if (column < args.k) {
          copy_piece(to, x.x + (first_row + i / kPieces) * x.ldx + column);
        } else {
          *to = uint4{};
        }
      }
    }
  };
  const auto fetch = [&](std::byte* slot, bool with_x) {
    if (ahead_tile < tiles) {
      Chunk{slot}.copy(args, ahead_tile * 16, ahead_chunk);
      if (with_x) copy_x(ahead_chunk, slot);
      ahead_chunk += k_lanes;
      if (ahead_chunk >= chunks) {
        ahead_chunk = k_lane;
        ahead_tile += step;
      }
    }
    commit_copies();
  };
#pragma unroll 1
  for (int i = 0; i < kAhead; ++i) fetch(ring + i * places.slot_bytes, false);
  wait_for_inputs_alone();

  if constexpr (Rows::kNormed) {
    // Two quarters at a time are on their way.
    const int normed_chunks = args.chunks();
    const int quarters = rows * normed_chunks * 4;
    const auto row_of = [&](int i) { return min(i / 4 / normed_chunks, rows - 1); };
    const auto put = [&](int i, const NormedRows::Quarter& quarter) {
      const int row = row_of(i);
      const int chunk = i / 4 % normed_chunks;
      const float squares =
          NormedRows::take(quarter, chunk, args.k, [&](int column, const uint2& v) {
            *reinterpret_cast<uint2*>(staged + row * places.stride + column * 2) = v;
          });
      if (i % 4 == 0) chunk_sums[row][chunk] = squares;
    };
    constexpr int kAtOnce = kWarps * 32;
    for (int i = threadIdx.x; i < (quarters + 31) / 32 * 32; i += 2 * kAtOnce) {
      const int j = i + kAtOnce;
      const bool has_second = j < (quarters + 31) / 32 * 32;
      const auto one = x.load(row_of(i), i / 4 % normed_chunks, args.k);
      const auto two =
          x.load(row_of(has_second ? j : i), (has_second ? j : i) / 4 % normed_chunks, args.k);
      put(i, one);
      if (has_second) put(j, two);
    }
    for (int i = threadIdx.x; i < rows * (chunks * kDepth - args.k); i += kWarps * 32) {
      const int over = chunks * kDepth - args.k;
      *reinterpret_cast<bf16x1*>(staged + i / over * places.stride + (args.k + i % over) * 2) =
          bf16x1{};
    }
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < rows) {
      const float* const sums = chunk_sums[threadIdx.x];
      const int norm_lanes = skinny_lanes(args.n);
      scales[threadIdx.x] = norm_scale(norm_lanes, args.k, x.eps, [&](int i) {
        float sum = 0.0F;
        for (int c = i; c < normed_chunks; c += norm_lanes) sum += sums[c];
        return sum;
      });
    }
  } else if (first_tile < tiles) {
    int chunk = k_lane;
    for (int i = 0; i < kAhead && chunk < chunks; ++i) {
      copy_x(chunk, ring + i * places.slot_bytes);
      chunk += k_lanes;
      // Chunks of the next tile begin again.
      if (chunk >= chunks && first_tile + step < tiles) chunk = k_lane;
    }
    commit_copies();
    wait_copies<0>();
  }

  int slot = 0;
  bool is_odd = false;
  for (int first = blockIdx.x * tiles_at_once; first < tiles; first += step, is_odd = !is_odd) {
    float sums[kColumns][4] = {};
    const bool has_tile = first + warp / k_lanes < tiles;
#pragma unroll 1
    for (int chunk = k_lane; has_tile && chunk < chunks; chunk += k_lanes) {
      std::byte* const at = ring + slot * places.slot_bytes;
      wait_copies<kAhead - 1>();
      __syncwarp();
      const auto load = [&](int i, ChunkRows(&operands)[kColumns]) {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          if constexpr (Rows::kNormed) {
            load_rows(staged, rows, places.stride, chunk * kDepth * 2 + i * 128, operands[j]);
          } else {
            load_rows(at + Chunk::kBytes + j * 8 * Shared::kRowBytes, max(1, rows - j * 8),
                      Shared::kRowBytes, i * 128, operands[j]);
          }
        }
      };
      Chunk{at}.multiply_loaded(load, sums);
      __syncwarp();  // all have read what is overwritten
      fetch(at, true);
      slot = slot + 1 == kAhead ? 0 : slot + 1;
    }

    // One barrier a round: the sums of the next round go to the other half, and those of the one
    // after it come when all have passed the next barrier.
    auto& partial =
        reinterpret_cast<SkinnySums<kColumns, kWarps>*>(shared + places.sums())[is_odd ? 1 : 0];
    partial.store(sums);
    __syncthreads();
    for (int i = threadIdx.x; i < tiles_at_once * 8 * rows; i += kWarps * 32) {
      const int pair = i % 8;
      const int tile = i / 8 % tiles_at_once;
      const int r = i / 8 / tiles_at_once;
      const int col = (first + tile) * 16 + pair * 2;
      if (col >= args.n) continue;
      float2 v = partial.total(tile, k_lanes, pair, r);
      if constexpr (Rows::kNormed) v = scaled(v, scales[r]);
      epilogue(first_row + r, col, v.x, v.y);
    }
  }
}

/// Whether a block of this tile has room in `shared_bytes`.
template <int kColumns, int kAhead, int kWarps, bool kNormed, class Chunk = WeightChunk>
bool skinny_fits(const SkinnyArgs& args, int shared_bytes) {
  constexpr int kStatic = ((kNormed ? 8 : 1) * kMaxNormedChunks + 8) * 4;  // chunk_sums, scales
  return SkinnyShared<kColumns, kAhead, kWarps, kNormed, Chunk>(args).bytes() + kStatic <=
         shared_bytes;
}

constexpr int kNormedThreads = 256;

/// The rows that NormedRows makes, one a block, and their scales, with the same bits; if `kScaled`
/// s · (w ⊙ x) instead, rounded once, and no scales.
template <bool kScaled>
static __global__ void __launch_bounds__(kNormedThreads)
    normed_rows_kernel(const SkinnyArgs args, const NormedRows x, bf16x1* y, float* scales) {
  extern __shared__ uint4 skinny_shared[];
  auto* const squares = reinterpret_cast<float*>(skinny_shared);  // [chunks]
  __shared__ float of_lane[kMaxSkinnyLanes];
  wait_for_inputs();
  const int row = blockIdx.x;
  const int chunks = args.chunks();
  const int lanes = skinny_lanes(args.n);
  const auto put = [&](int column, const uint2& v) {
    *reinterpret_cast<uint2*>(y + int64_t{row} * args.k + column) = v;
  };
  for (int first = 0; first < chunks; first += kNormedThreads / 4) {
    const int chunk = first + threadIdx.x / 4;
    const float part = NormedRows::take(x.load(row, chunk, args.k), chunk, args.k,
                                        [&](int column, const uint2& v) {
                                          if constexpr (!kScaled) put(column, v);
                                        });
    if (threadIdx.x % 4 == 0 && chunk < chunks) squares[chunk] = part;
  }
  __syncthreads();
  if (threadIdx.x < lanes) {
    float sum = 0.0F;
    for (int c = threadIdx.x; c < chunks; c += lanes) sum += squares[c];
    of_lane[threadIdx.x] = sum;
  }
  __syncwarp();
  const auto scale = [&] {
    return norm_scale(lanes, args.k, x.eps, [&](int i) { return of_lane[i]; });
  };
  if constexpr (kScaled) {
    __syncthreads();
    const float s = scale();
    for (int first = 0; first < chunks; first += kNormedThreads / 4) {
      const int chunk = first + threadIdx.x / 4;
      NormedRows::Quarter quarter = x.load(row, chunk, args.k);
      for (float4& v : quarter.x) v = {v.x * s, v.y * s, v.z * s, v.w * s};
      NormedRows::take(quarter, chunk, args.k, put);
    }
  } else if (threadIdx.x == 0) {
    scales[row] = scale();
  }
}

/// Sums of rows that still lack their scale.
template <class Epilogue>
struct Scaled {
  Epilogue epilogue;
  const float* scales;

  __device__ void operator()(int row, int col, float v0, float v1) const {
    const float2 v = scaled({v0, v1}, scales[row]);
    epilogue(row, col, v.x, v.y);
  }
};

template <int kColumns, int kAhead, int kWarps, class Chunk = WeightChunk, class Rows,
          class Epilogue>
void launch_skinny_tile(const Cuda& cuda, const typename Chunk::Args& args, const Rows& x,
                        const Epilogue& epilogue) {
  require(skinny_fits<kColumns, kAhead, kWarps, Rows::kNormed, Chunk>(args, cuda.shared_bytes),
          "a skinny product's shared memory");
  const int bytes = SkinnyShared<kColumns, kAhead, kWarps, Rows::kNormed, Chunk>(args).bytes();
  const auto kernel = skinny_kernel<kColumns, kAhead, kWarps, Rows, Epilogue, Chunk>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  const int outputs = 16 * kWarps / Chunk::lanes(args);
  const int blocks = std::min((args.n + outputs - 1) / outputs, Chunk::kBlocks * cuda.sm_count);
  const int row_blocks = (args.rows + 8 * kColumns - 1) / (8 * kColumns);
  launch({.grid = {static_cast<unsigned>(blocks), static_cast<unsigned>(row_blocks)},
          .block = kWarps * 32,
          .shared_bytes = bytes,
          .stream = cuda.stream,
          .overlaps = overlaps(cuda)},
         kernel, args, x, epilogue);
}

}  // namespace qvl::device

#pragma once

/// Rows of x through the weights of the expert that takes them, for few rows of each expert. Bound
/// by reading the weights of the experts that any row takes, once.
///
/// A warp has 16 outputs of one expert for up to eight rows, and all of k in order: the bits are
/// those of the tiles of gemm_wgmma.cuh on a device that has both. It copies chunks of W and of the
/// rows into a ring of its own, across its units of work, so that no barrier stands between.

#include "kernels/device/gemm_args.h"
#include "kernels/device/skinny.cuh"

namespace qvl::device {

constexpr int kExpertRows = 8;
constexpr int kExpertWarps = 2;
constexpr int kExpertAhead = 6;  ///< chunks on their way

struct ExpertArgs {
  const bf16x1* w;       ///< of expert 0
  int64_t expert_bytes;  ///< from one expert to the next
  const bf16x1* x;
  int64_t ldx;
  const int32_t* entries;  ///< row of x = entries[i] / entries_per_row; or null: row of x = i
  int entries_per_row;
  int n;
  int k;
  const GroupTile* tiles;  ///< of kExpertRows rows at most
  const int32_t* tile_count;
};

/// A chunk of W and the same columns of up to eight rows, in shared memory.
struct ExpertSlot {
  static constexpr int kRowBytes = kSkinnyChunk * 2 + 16;
  static constexpr int kBytes = WeightChunk::kBytes + kExpertRows * kRowBytes;
  std::byte* data;

  __device__ WeightChunk weights() const { return {data}; }
  __device__ std::byte* rows() const { return data + WeightChunk::kBytes; }
};
constexpr int kExpertSharedBytes = kExpertWarps * kExpertAhead * ExpertSlot::kBytes;

/// 16 outputs of the rows of a tile.
struct ExpertUnit {
  GroupTile tile;
  int first_n;
  const bf16x1* w;
  const bf16x1* row[2];  ///< of x, that this lane copies pieces of: lane / 8, and four further

  __device__ ExpertUnit(const ExpertArgs& args, int unit) {
    const int of_tile = (args.n + 15) / 16;
    tile = args.tiles[unit / of_tile];
    first_n = unit % of_tile * 16;
    w = reinterpret_cast<const bf16x1*>(reinterpret_cast<const std::byte*>(args.w) +
                                        tile.group * args.expert_bytes);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = tile.first_row + static_cast<int>(threadIdx.x) % 32 / 8 + i * 4;
      row[i] = nullptr;
      if (at < tile.end_row) {
        const int index = args.entries == nullptr ? at : args.entries[at] / args.entries_per_row;
        row[i] = args.x + index * args.ldx;
      }
    }
  }
  __device__ void copy(const ExpertArgs& args, int chunk, const ExpertSlot& to) const {
    to.weights().copy({.w = w, .n = args.n, .k = args.k}, first_n, chunk);
    const int piece = static_cast<int>(threadIdx.x) % 8;
    const int column = chunk * kSkinnyChunk + piece * 8;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (row[i] == nullptr) continue;
      const int index = static_cast<int>(threadIdx.x) % 32 / 8 + i * 4;
      auto* const place =
          reinterpret_cast<uint4*>(to.rows() + index * ExpertSlot::kRowBytes + piece * 16);
      if (column < args.k) {
        copy_piece(place, row[i] + column);
      } else {
        *place = uint4{};
      }
    }
  }
};

/// epilogue(i, col, v0, v1) gets columns col and col + 1 of entry i.
template <class Epilogue>
__global__ void __launch_bounds__(kExpertWarps * 32)
    expert_kernel(const ExpertArgs args, const Epilogue epilogue) {
  extern __shared__ uint4 expert_shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int chunks = (args.k + kSkinnyChunk - 1) / kSkinnyChunk;
  auto* const ring =
      reinterpret_cast<std::byte*>(expert_shared) + warp * kExpertAhead * ExpertSlot::kBytes;
  const auto slot_at = [&](int slot) { return ExpertSlot{ring + slot * ExpertSlot::kBytes}; };
  const int step = static_cast<int>(gridDim.x) * kExpertWarps;
  const int first_unit = static_cast<int>(blockIdx.x) * kExpertWarps + warp;
  wait_for_inputs_alone();
  const int units = *args.tile_count * ((args.n + 15) / 16);
  if (first_unit >= units) return;

  ExpertUnit ahead(args, first_unit);
  int ahead_unit = first_unit;
  int ahead_chunk = 0;
  const auto fetch = [&](int slot) {
    if (ahead_unit < units) {
      ahead.copy(args, ahead_chunk, slot_at(slot));
      if (++ahead_chunk == chunks) {
        ahead_chunk = 0;
        ahead_unit += step;
        if (ahead_unit < units) ahead = ExpertUnit(args, ahead_unit);
      }
    }
    commit_copies();
  };
#pragma unroll 1
  for (int i = 0; i < kExpertAhead; ++i) fetch(i);

  int slot = 0;
  for (int unit = first_unit; unit < units; unit += step) {
    const int of_tile = (args.n + 15) / 16;
    const GroupTile tile = args.tiles[unit / of_tile];
    const int rows = tile.end_row - tile.first_row;
    float sums[1][4] = {};
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; ++chunk) {
      wait_copies<kExpertAhead - 1>();
      __syncwarp();
      ChunkRows operands[1];
      load_rows(slot_at(slot).rows(), rows, ExpertSlot::kRowBytes, 0, operands[0]);
      slot_at(slot).weights().multiply(operands, sums);
      __syncwarp();  // all have read what is overwritten
      fetch(slot);
      slot = slot + 1 == kExpertAhead ? 0 : slot + 1;
    }
    // Lanes four apart have neighbouring outputs of the same two rows: each takes one row of both.
    const bool odd = lane / 4 % 2 != 0;
    const int row = lane % 4 * 2 + (odd ? 1 : 0);
    const int col = unit % of_tile * 16 + lane / 8 * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* const sum = sums[0] + half * 2;
      const float other = __shfl_xor_sync(0xffffffffU, odd ? sum[0] : sum[1], 4);
      if (row < rows && col + half * 8 < args.n) {
        epilogue(tile.first_row + row, col + half * 8, odd ? other : sum[0], odd ? sum[1] : other);
      }
    }
  }
}

}  // namespace qvl::device

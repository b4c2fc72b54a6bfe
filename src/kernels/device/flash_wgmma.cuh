#pragma once

/// Attention of 64 query rows of one head by each warpgroup of a block, on compute capability 9.0;
/// the keys come in blocks of 128.
///
/// Bound by the tensor cores. One warp drives bulk tensor copies into a ring of shared memory whose
/// parts are the keys or the values of a block, in the order in which they are used: keys 0, keys
/// 1, values 0, keys 2, values 1, … A warpgroup starts the scores of a block and the weighted
/// values of the block before it together. Warpgroups start their products in turns, so that one's
/// softmax runs beside the others' products. (The assembler moves the wait for a warpgroup's own
/// values to before its softmax; keeping it after made no difference on an H200.)
///
/// Rows of shared memory are 64 columns as the copy engine swizzles them; a head_dim of 72 takes
/// two such halves, the second one filled up with zeros by the copy engine.
///
/// The bits of a row depend on its query, its keys and values and their positions alone, as in
/// flash_tile.cuh: a block that lies beyond the row leaves the maximum, multiplies by exactly 1 and
/// adds exactly 0, and warpgroups know nothing of each other's rows.

#include "kernels/device/flash_tile.cuh"
#include "kernels/device/gemm_wgmma.cuh"
#include "kernels/device/launch.cuh"
#include "kernels/device/wgmma.cuh"

namespace qvl::device::flash {

template <int kHeadDim, int kWarpgroups>
struct WgmmaTile {
  static constexpr int kRows = 64 * kWarpgroups;
  static constexpr int kThreads = 128 * (kWarpgroups + 1);  // the last warpgroup copies
  static constexpr int kKeys = 128;                         // of a block
  static constexpr int kPages = kKeys / kBlockKeys;
  static constexpr int kHalves = (kHeadDim + 63) / 64;
  static constexpr int kDepths = (kHeadDim + 15) / 16;
  static constexpr int kRowBytes = 128;                         // of a half
  static constexpr int kBoxBytes = kBlockKeys * kRowBytes;      // what one copy brings
  static constexpr int kHalfBytes = kKeys * kRowBytes;          // of keys or values of a block
  static constexpr int kPartBytes = kHalves * kHalfBytes;       // keys or values of a block
  static constexpr int kQueryBytes = kHalves * 64 * kRowBytes;  // of a warpgroup
  static constexpr int kBlocksPerProcessor = kWarpgroups == 1 ? 2 : 1;
  static constexpr int kParts = kWarpgroups == 1 ? 3 : 5;
  static constexpr int kBarriers = 2 * kParts + 1;
  static constexpr int kSharedBytes =
      kWarpgroups * kQueryBytes + kParts * kPartBytes + kBarriers * 8;
  static_assert(kBlocksPerProcessor * (kSharedBytes + 1024) <= 228 * 1024);
  // Of 65,536 registers.
  static constexpr int kCopyRegisters = kWarpgroups == 1 ? 40 : kWarpgroups == 2 ? 24 : 32;
  static constexpr int kRegisters = kWarpgroups == 1 ? 216 : kWarpgroups == 2 ? 240 : 160;
};

/// Where the copy engine finds the keys and values of a head: boxes of 64 columns and 64 keys at
/// (column, key_place or value_place, outer(page)), where page p has keys 64p … 64p + 63.
struct KeyBoxes {
  const CUtensorMap* map = nullptr;
  const int32_t* block_table = nullptr;  // null: keys follow each other from `first` on
  int first = 0;
  int key_place = 0;
  int value_place = 0;

  __device__ int outer(int page) const {
    return block_table != nullptr ? block_table[page] : first + page * kBlockKeys;
  }
};

/// Of one block of threads.
template <class Shape>
struct Ring {
  uint32_t parts;
  uint32_t barriers;

  __device__ uint32_t part(int stage) const { return parts + stage * Shape::kPartBytes; }
  __device__ uint32_t full(int stage) const { return barriers + 8 * stage; }
  __device__ uint32_t empty(int stage) const { return barriers + 8 * (Shape::kParts + stage); }
  __device__ uint32_t last_values() const { return barriers + 8 * 2 * Shape::kParts; }

  __device__ void start() const {
    for (int stage = 0; stage < Shape::kParts; ++stage) {
      barrier_init(full(stage), 1);
      barrier_init(empty(stage), 4 * (Shape::kRows / 64));  // one arrival per warp
    }
    barrier_init(last_values(), 1);
    barrier_init_fence();
  }
};

/// By one warp: fills the ring with `keys` keys and their values. Slots after the last value become
/// zeros: they may hold NaN, and their weights of 0 would not keep it out.
template <class Shape>
__device__ inline void fill_ring(const Ring<Shape>& ring, const KeyBoxes& source, int keys) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int last_page = (keys - 1) / kBlockKeys;
  const int blocks = (keys + Shape::kKeys - 1) / Shape::kKeys;
  RingPlace<Shape::kParts> place;
  const auto fill = [&](int block, int kind, bool cut) {
    int outer[Shape::kPages];
#pragma unroll
    for (int i = 0; i < Shape::kPages; ++i) {
      outer[i] = source.outer(min(block * Shape::kPages + i, last_page));
    }
    barrier_wait(ring.empty(place.stage), place.parity ^ 1);
    const uint32_t part = ring.part(place.stage);
    const uint32_t barrier = cut ? ring.last_values() : ring.full(place.stage);
    if (lane == 0) {
      barrier_arrive_expecting(barrier, Shape::kPartBytes);
#pragma unroll
      for (int i = 0; i < Shape::kPages; ++i) {
#pragma unroll
        for (int half = 0; half < Shape::kHalves; ++half) {
          copy_box(part + half * Shape::kHalfBytes + i * Shape::kBoxBytes, source.map, half * 64,
                   kind, outer[i], barrier);
        }
      }
    }
    __syncwarp();
    if (cut) {
      barrier_wait(barrier, 0);
      for (int half = 0; half < Shape::kHalves; ++half) {
        const uint32_t from = part + half * Shape::kHalfBytes;
        for (int at = (keys - block * Shape::kKeys) * Shape::kRowBytes + lane * 16;
             at < Shape::kHalfBytes; at += 32 * 16) {
          store_zeros(from + at);
        }
      }
      shared_writes_fence();
      __syncwarp();
      if (lane == 0) barrier_arrive(ring.full(place.stage));
    }
    place.advance();
  };
  fill(0, source.key_place, false);
  for (int block = 1; block < blocks; ++block) {
    fill(block, source.key_place, false);
    fill(block - 1, source.value_place, false);
  }
  fill(blocks - 1, source.value_place, keys % Shape::kKeys != 0);
}

/// What a warpgroup knows of its rows. A thread has rows h = 0, 1: g and g + 8 of the 16 of its
/// warp.
template <int kHeadDim, int kWarpgroups>
struct WarpgroupRows {
  using Shape = WgmmaTile<kHeadDim, kWarpgroups>;

  float scores[Shape::kKeys / 2];
  uint32_t weights[Shape::kKeys / 16][4];
  float sums[kHeadDim / 2];
  float max[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.0F, 0.0F};  // of this lane's columns
  float factor[2];                // of the last change of the maximum

  /// scores = query · keysᵀ, to be waited for.
  __device__ void start_scores(uint32_t query, uint32_t keys) {
    const uint64_t a = swizzled_rows(query);
    const uint64_t b = swizzled_rows(keys);
    pin_registers(scores);
    wgmma_fence();
#pragma unroll
    for (int depth = 0; depth < Shape::kDepths; ++depth) {
      const int half = depth / 4;
      const uint64_t in_a = a + half * (64 * Shape::kRowBytes / 16) + depth % 4 * 2;
      const uint64_t in_b = b + half * (Shape::kHalfBytes / 16) + depth % 4 * 2;
      if (depth == 0) {
        wgmma_first(scores, in_a, in_b);
      } else {
        wgmma(scores, in_a, in_b);
      }
    }
    wgmma_commit();
  }

  /// sums += weights · values, to be waited for.
  __device__ void start_values(uint32_t values) {
    const uint64_t b = swizzled_columns(values, Shape::kHalfBytes);
    pin_registers(sums);
    wgmma_fence();
#pragma unroll
    for (int depth = 0; depth < Shape::kKeys / 16; ++depth) {
      wgmma(sums, weights[depth], b + depth * (16 * Shape::kRowBytes / 16));
    }
    wgmma_commit();
  }

  /// last: the last key of the block, counted from its first, that the warp's first row attends to;
  /// each row after it attends to `step` more.
  __device__ void mask(int last, int step) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row_last = last + (h * 8 + lane / 4) * step - lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (n * 8 + e > row_last) scores[4 * n + 2 * h + e] = -INFINITY;
        }
      }
    }
  }

  /// scores become weights 2^((score - max) · scale), and total follows the new maximum.
  __device__ void weigh(float scale) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float most = scores[2 * h];
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 8; ++n) {
        most = fmaxf(most, fmaxf(scores[4 * n + 2 * h], scores[4 * n + 2 * h + 1]));
      }
      most = fmaxf(max[h], quad_max(most));
      factor[h] = power_of_two(__fmul_rn(__fsub_rn(max[h], most), scale));
      const float shift = -__fmul_rn(most, scale);
      max[h] = most;
      float sum[2] = {0.0F, 0.0F};  // two chains of additions, half as long
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& weight = scores[4 * n + 2 * h + e];
          weight = power_of_two(__fmaf_rn(weight, scale, shift));
          sum[e] = __fadd_rn(sum[e], weight);
        }
      }
      total[h] = __fmaf_rn(total[h], factor[h], __fadd_rn(sum[0], sum[1]));
    }
  }

  __device__ void round_weights() {
#pragma unroll
    for (int depth = 0; depth < Shape::kKeys / 16; ++depth) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = scores + 8 * depth + 2 * i;
        weights[depth][i] = pack(pair[0], pair[1]);
      }
    }
    pin_registers(weights);
  }

  __device__ void rescale() {
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[4 * n + i] = __fmul_rn(sums[4 * n + i], factor[i / 2]);
    }
  }

  /// rows: how many of the warp's rows there are; may be negative.
  __device__ void store(bf16* out, int stride, int rows) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float inverse = __frcp_rn(quad_sum(total[h]));
      const int row = h * 8 + lane / 4;
      if (row >= rows) continue;
      auto* to = reinterpret_cast<uint32_t*>(out + int64_t{row} * stride) + lane % 4;
#pragma unroll
      for (int n = 0; n < kHeadDim / 8; ++n) {
        to[n * 4] = pack(__fmul_rn(sums[4 * n + 2 * h], inverse),
                         __fmul_rn(sums[4 * n + 2 * h + 1], inverse));
      }
    }
  }
};

/// Copies the 64 rows of a warpgroup as the copy engine would; those from `rows` on become zeros.
template <class Shape, int kHeadDim>
__device__ inline void copy_query(uint32_t to, const bf16* from, int stride, int rows) {
  constexpr int kChunks = 2 * Shape::kDepths;  // of 16 bytes
  for (int i = static_cast<int>(threadIdx.x) % 128; i < 64 * kChunks; i += 128) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const bool there = row < rows && chunk * 8 < kHeadDim;
    copy_piece<Fetch::line>(to + chunk / 8 * (64 * Shape::kRowBytes) + row * Shape::kRowBytes +
                                ((chunk ^ row) % 8) * 16,
                            there ? from + row * stride + chunk * 8 : from, there);
  }
}

/// The whole of a tile by all threads of the block. shared: WgmmaTile::kSharedBytes, aligned to
/// 1024.
template <int kHeadDim, int kWarpgroups, bool kCausal>
__device__ inline void attend_wgmma(const Tile& tile, const KeyBoxes& source, uint32_t shared,
                                    const Ring<WgmmaTile<kHeadDim, kWarpgroups>>& ring) {
  using Shape = WgmmaTile<kHeadDim, kWarpgroups>;
  constexpr bool kTurns = kWarpgroups > 1;
  const int keys = tile.position + (kCausal ? tile.rows : 1);
  const int warpgroup = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x) / 128, 0);
  const int warp = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x) / 32, 0);
  if (warpgroup == kWarpgroups) {
    give_registers<Shape::kCopyRegisters>();
    if (warp == 4 * kWarpgroups) fill_ring(ring, source, keys);
    return;
  }
  take_registers<Shape::kRegisters>();
  const int blocks = (keys + Shape::kKeys - 1) / Shape::kKeys;
  const int warp_row = warp * 16;
  const int first_reach = tile.position + (kCausal ? warp_row : 0);
  const float scale = 1.44269504F / sqrtf(static_cast<float>(kHeadDim));  // exp(x) = 2^(x·log2 e)
  const uint32_t query = shared + warpgroup * Shape::kQueryBytes;
  const int own_barrier = 1 + warpgroup;
  const auto turn = [&](int of) { return 1 + kWarpgroups + of % kWarpgroups; };
  const auto release = [&](int stage) {
    if (threadIdx.x % 32 == 0) barrier_arrive(ring.empty(stage));
  };

  copy_query<Shape, kHeadDim>(query, tile.query + warpgroup * 64 * tile.query_stride,
                              tile.query_stride, tile.rows - warpgroup * 64);
  wait_all_copies();
  shared_writes_fence();
  named_barrier_wait(own_barrier, 128);
  if (kTurns && blocks > 1 && warpgroup == kWarpgroups - 1) named_barrier_arrive(turn(0), 256);

  WarpgroupRows<kHeadDim, kWarpgroups> rows;
  RingPlace<Shape::kParts> place;
  const auto weigh = [&](int block) {
    if ((block + 1) * Shape::kKeys - 1 > first_reach) {
      rows.mask(first_reach - block * Shape::kKeys, kCausal ? 1 : 0);
    }
    rows.weigh(scale);
  };
#pragma unroll
  for (float& sum : rows.sums) sum = 0.0F;
  barrier_wait(ring.full(place.stage), place.parity);
  rows.start_scores(query, ring.part(place.stage));
  wgmma_wait<0>();
  pin_registers(rows.scores);
  release(place.stage);
  place.advance();
  weigh(0);
  rows.round_weights();
  for (int block = 1; block < blocks; ++block) {
    const int key_stage = place.stage;
    if constexpr (kTurns) named_barrier_wait(turn(warpgroup), 256);
    barrier_wait(ring.full(place.stage), place.parity);
    rows.start_scores(query, ring.part(place.stage));
    place.advance();
    const int value_stage = place.stage;
    barrier_wait(ring.full(place.stage), place.parity);
    rows.start_values(ring.part(place.stage));
    place.advance();
    if (kTurns && (warpgroup < kWarpgroups - 1 || block + 1 < blocks)) {
      named_barrier_arrive(turn(warpgroup + 1), 256);
    }
    wgmma_wait<1>();
    pin_registers(rows.scores);
    release(key_stage);
    weigh(block);
    wgmma_wait<0>();
    pin_registers(rows.sums);
    pin_registers(rows.weights);
    release(value_stage);
    rows.rescale();
    rows.round_weights();
  }
  barrier_wait(ring.full(place.stage), place.parity);
  rows.start_values(ring.part(place.stage));
  wgmma_wait<0>();
  pin_registers(rows.sums);
  rows.store(tile.out + int64_t{warp_row} * tile.out_stride, tile.out_stride, tile.rows - warp_row);
}

}  // namespace qvl::device::flash

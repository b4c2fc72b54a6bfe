#pragma once

/// All layers of a step of few generated rows in one kernel. Bound by reading the weights once:
/// each warp has a ring of chunks of the weights that it will multiply, through all products of all
/// layers, and goes on filling it while the blocks wait for each other between two products. One
/// block stays on each multiprocessor.
///
/// Bits: products as skinny.cuh has them, attention as decode_attention.cuh.

#include "kernels/device/decode_attention.cuh"
#include "kernels/device/epilogues.cuh"
#include "kernels/device/skinny.cuh"

namespace qvl::device {

constexpr int kStepRows = 8;
constexpr int kMaxStepLayers = 64;
constexpr int kStepThreads = kSkinnyWarps * 32;
constexpr int kStepTeams = kSkinnyWarps / kDecodeWarps;
constexpr int kStepAhead = 7;       ///< chunks of a warp's ring
constexpr int kMaxStepChunks = 64;  ///< of a row that is staged

/// The products of a layer in their order.
enum StepProduct : int { kStepQkv, kStepOutput, kStepGateUp, kStepDown, kStepProducts };

struct StepLayer {
  const bf16x1* weights[kStepProducts];
  const float* input_norm;
  const float* post_attention_norm;
  const float* q_norm;
  const float* k_norm;
  std::byte* pages;
};

struct StepArgs {
  int layer_count;
  int rows;  ///< at most kStepRows
  int outputs[kStepProducts];
  int inputs[kStepProducts];
  float eps;
  float* x;
  int64_t ldx;
  bf16x1* qkv;
  int64_t ldq;
  bf16x1* mlp;
  int64_t ldm;
  DecodeArgs attention;  ///< but for what is a layer's own
  uint32_t* barrier;     ///< [2], zero between launches
  StepLayer layers[kMaxStepLayers];
};

/// A barrier of some of a block's threads; `arrive` does not wait for the others.
template <int kId, int kThreads>
struct NamedBarrier {
  static __device__ void sync() {
    asm volatile("bar.sync %0, %1;" ::"n"(kId), "n"(kThreads) : "memory");
  }
  static __device__ void arrive() {
    asm volatile("bar.arrive %0, %1;" ::"n"(kId), "n"(kThreads) : "memory");
  }
};

/// Makes the working warps of all blocks wait for each other; all blocks run at the same time. One
/// more warp does it for its block: a fence would wait for the copies that a working warp has on
/// their way.
class GridBarrier {
 public:
  /// For the working warps: stores before it are visible to those that have waited.
  static __device__ void arrive() { Arrived::arrive(); }
  static __device__ void wait() { Released::sync(); }
  static __device__ void sync_workers() { Workers::sync(); }

  /// For the other warp: all of `times` barriers. `counts` are two words, zero between launches.
  static __device__ void serve(uint32_t* counts, int times) {
    const bool speaks = threadIdx.x % 32 == 0;
    for (uint32_t target = gridDim.x; times > 0; --times, target += gridDim.x) {
      Arrived::sync();
      if (speaks) {
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counts) : "memory");
        uint32_t count = 0;
        do {
          asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                       : "=r"(count)
                       : "l"(counts)
                       : "memory");
        } while (count < target);
      }
      __syncwarp();
      Released::arrive();
    }
    if (speaks && atomicAdd(counts + 1, 1U) + 1 == gridDim.x) counts[0] = counts[1] = 0;
  }

 private:
  using Workers = NamedBarrier<3, kStepThreads>;
  using Arrived = NamedBarrier<4, kStepThreads + 32>;
  using Released = NamedBarrier<5, kStepThreads + 32>;
};

/// Tiles of 16 outputs of a product that a block has, and how its warps share them.
struct StepPlan {
  int first_tile;
  int last_tile;
  int lanes;
  int chunks;
};

/// The chunks that a warp multiplies, in order through all layers, and the ring they are copied to.
/// Outputs are whole tiles and inputs whole chunks.
class WeightStream {
 public:
  __device__ WeightStream(const StepArgs& args, const StepPlan* plans, std::byte* ring)
      : args_(args), plans_(plans), ring_(ring + warp() * kStepAhead * WeightChunk::kBytes) {
    begin_product();
#pragma unroll 1
    for (int i = 0; i < kStepAhead; ++i) {
      fetch(ring_ + slot_);
      advance_slot();
    }
  }

  /// Calls f with the next chunk once it is there, and begins to copy another to its place.
  template <class F>
  __device__ void take(F&& f) {
    wait_copies<kStepAhead - 1>();
    __syncwarp();
    f(WeightChunk{ring_ + slot_});
    __syncwarp();  // all have read what is overwritten
    fetch(ring_ + slot_);
    advance_slot();
  }

 private:
  static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }

  __device__ void advance_slot() {
    slot_ += WeightChunk::kBytes;
    if (slot_ == kStepAhead * WeightChunk::kBytes) slot_ = 0;
  }
  /// Goes to this warp's first chunk of the product, or of a later one if there is none.
  __device__ void begin_product() {
    for (; layer_ < args_.layer_count; next_product()) {
      const StepPlan& plan = plans_[product_];
      tile_ = plan.first_tile + warp() / plan.lanes;
      if (tile_ < plan.last_tile && warp() % plan.lanes < plan.chunks) {
        begin_tile();
        return;
      }
    }
    left_ = 0;
  }
  __device__ void begin_tile() {
    const StepPlan& plan = plans_[product_];
    const int k = args_.inputs[product_];
    const int k_lane = warp() % plan.lanes;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    left_ = (plan.chunks - k_lane + plan.lanes - 1) / plan.lanes;
    from_ = args_.layers[layer_].weights[product_] + int64_t{tile_ * 16 + lane / 8} * k +
            k_lane * kSkinnyChunk + lane % 8 * 8;
    step_ = plan.lanes * kSkinnyChunk;
    rows_ = 4 * k;
  }
  __device__ void next_product() {
    if (++product_ == kStepProducts) {
      product_ = 0;
      ++layer_;
    }
  }
  __device__ void fetch(std::byte* slot) {
    if (left_ > 0) {
      WeightChunk{slot}.copy_whole(from_, rows_);
      from_ += step_;
      if (--left_ == 0) {
        const StepPlan& plan = plans_[product_];
        tile_ += kSkinnyWarps / plan.lanes;
        if (tile_ < plan.last_tile) {
          begin_tile();
        } else {
          next_product();
          begin_product();
        }
      }
    }
    commit_copies();
  }

  const StepArgs& args_;
  const StepPlan* plans_;
  std::byte* ring_;
  const bf16x1* from_ = nullptr;  // this lane's piece of the next chunk to copy
  int step_ = 0;                  // elements to the chunk after it
  int rows_ = 0;                  // elements from a row to the fourth after it
  int left_ = 0;                  // chunks of the tile that are not yet copied
  int layer_ = 0;
  int product_ = 0;
  int tile_ = 0;
  int slot_ = 0;  // bytes
};

/// Rows of a product's input in shared memory, each with 32 bytes more than it needs, so that four
/// rows' reads meet no bank twice.
struct StagedRows {
  bf16x1* data;
  int k;
  int rows;

  static __host__ __device__ int stride(int k) {
    return (k + kSkinnyChunk - 1) / kSkinnyChunk * kSkinnyChunk + 16;
  }
  __device__ bf16x1* at(int row, int column) const { return data + row * stride(k) + column; }

  /// Rows of bfloat16 as they are.
  __device__ void stage(const bf16x1* x, int64_t ldx) const {
    const int pieces = k / 8;
    for (int i = threadIdx.x; i < rows * pieces; i += kStepThreads) {
      const int row = i / pieces;
      const int column = i % pieces * 8;
      *reinterpret_cast<uint4*>(at(row, column)) =
          *reinterpret_cast<const uint4*>(x + row * ldx + column);
    }
  }
  /// w ⊙ x, and the squares of x by chunk, [rows][kMaxStepChunks].
  __device__ void stage(const NormedRows& x, float* squares) const {
    const int chunks = (k + kSkinnyChunk - 1) / kSkinnyChunk;
    const int jobs = (rows * chunks * 4 + 31) / 32 * 32;  // whole warps
    for (int i = threadIdx.x; i < jobs; i += kStepThreads) {
      const int row = i / 4 / chunks;
      const int chunk = i / 4 % chunks;
      float part = 0.0F;
#pragma unroll
      for (int depth = 0; depth < 4; ++depth) {
        const int column = chunk * kSkinnyChunk + depth * 16 + i % 4 * 4;
        if (row >= rows || column >= k) continue;
        *reinterpret_cast<uint2*>(at(row, column)) = x.at(row, column, part);
      }
      part = chunk_squares(part);
      if (i % 4 == 0 && row < rows) squares[row * kMaxStepChunks + chunk] = part;
    }
  }
  /// The operands of a chunk. What rows beyond the last have does not matter: they have sums of
  /// their own.
  __device__ void load(int chunk, uint2 (&out)[4][1]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const bf16x1* const from = at(min(lane / 4, rows - 1), chunk * kSkinnyChunk + lane % 4 * 4);
#pragma unroll
    for (int depth = 0; depth < 4; ++depth) {
      out[depth][0] = *reinterpret_cast<const uint2*>(from + depth * 16);
    }
  }
};

/// What a block has in shared memory besides the ring.
struct StepShared {
  StepPlan plans[kStepProducts];
  float squares[kStepRows][kMaxStepChunks];
  float lane_squares[kStepRows][kMaxSkinnyLanes];
  bool flags[kStepTeams];
};

/// A product's rounds of eight warps' tiles. `load` gives the operands of a chunk; the epilogue
/// gets sums.
template <class Load, class Epilogue>
__device__ void multiply_rounds(const StepArgs& args, const StepPlan& plan, StepProduct product,
                                WeightStream& stream, SkinnySums<1>* sums, const Load& load,
                                const Epilogue& epilogue) {
  const int warp = threadIdx.x / 32;
  const int tiles_at_once = kSkinnyWarps / plan.lanes;
  const int k_lane = warp % plan.lanes;
  bool is_odd = false;
  for (int first = plan.first_tile; first < plan.last_tile;
       first += tiles_at_once, is_odd = !is_odd) {
    float of_warp[1][4] = {};
    if (first + warp / plan.lanes < plan.last_tile) {
#pragma unroll 1
      for (int chunk = k_lane; chunk < plan.chunks; chunk += plan.lanes) {
        uint2 rows[4][1];
        load(chunk, rows);
        stream.take([&](const WeightChunk& weights) { weights.multiply(rows, of_warp); });
      }
    }
    SkinnySums<1>& round = sums[is_odd ? 1 : 0];
    round.store(of_warp);
    GridBarrier::sync_workers();
    for (int i = threadIdx.x; i < tiles_at_once * 8 * args.rows; i += kStepThreads) {
      const int pair = i % 8;
      const int tile = i / 8 % tiles_at_once;
      const int row = i / 8 / tiles_at_once;
      const int col = (first + tile) * 16 + pair * 2;
      if (first + tile >= plan.last_tile || col >= args.outputs[product]) continue;
      const float2 v = round.total(tile, plan.lanes, pair, row);
      epilogue(row, col, v.x, v.y);
    }
  }
  // The sums of the first round of the next product may go where those of this one's last are read.
  GridBarrier::sync_workers();
}

static __global__ void __launch_bounds__(kStepThreads + 32, 1)
    decode_layers_kernel(const __grid_constant__ StepArgs args) {
  extern __shared__ uint4 step_shared[];
  __shared__ StepShared shared;
  auto* const ring = reinterpret_cast<std::byte*>(step_shared);
  auto* const sums =
      reinterpret_cast<SkinnySums<1>*>(ring + kSkinnyWarps * kStepAhead * WeightChunk::kBytes);
  // Attention and the products' inputs take turns.
  auto* const work = reinterpret_cast<std::byte*>(sums + 2);
  const int thread = threadIdx.x;
  if (thread < kStepProducts) {
    const int tiles = (args.outputs[thread] + 15) / 16;
    const int blocks = gridDim.x;
    shared.plans[thread] = {
        .first_tile = static_cast<int>(int64_t{blockIdx.x} * tiles / blocks),
        .last_tile = static_cast<int>((int64_t{blockIdx.x} + 1) * tiles / blocks),
        .lanes = skinny_lanes(args.outputs[thread]),
        .chunks = (args.inputs[thread] + kSkinnyChunk - 1) / kSkinnyChunk};
  }
  __syncthreads();
  if (thread >= kStepThreads) {
    wait_for_inputs();
    GridBarrier::serve(args.barrier, 5 * args.layer_count - 1);
    return;
  }
  WeightStream stream(args, shared.plans, ring);
  wait_for_inputs();

  const int group = args.attention.heads.num_heads / args.attention.heads.num_kv_heads;
  const int team_bytes = decode_team_bytes(1, group);
  const int team_index = thread / (kDecodeWarps * 32);
  const DecodeTeam team{
      .index = team_index * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x),
      .count = kStepTeams * static_cast<int>(gridDim.x),
      .thread = thread % (kDecodeWarps * 32),
      .barrier = 1 + team_index,
      .flag = &shared.flags[team_index]};
  auto* const queries =
      reinterpret_cast<uint4(*)[kDecodeHeadDim / 8]>(work + kStepTeams * team_bytes);

  const auto staged = [&](StepProduct product) {
    return StagedRows{reinterpret_cast<bf16x1*>(work), args.inputs[product], args.rows};
  };
  const auto multiply = [&](StepProduct product, const auto& load, const auto& epilogue) {
    multiply_rounds(args, shared.plans[product], product, stream, sums, load, epilogue);
  };
  // A product of normalised rows; the epilogue gets scaled sums.
  const auto multiply_normed = [&](StepProduct product, const float* weight, const auto& epilogue) {
    const StagedRows rows = staged(product);
    const StepPlan& plan = shared.plans[product];
    rows.stage({.x = args.x, .ldx = args.ldx, .weight = weight}, &shared.squares[0][0]);
    GridBarrier::sync_workers();
    if (thread < args.rows * plan.lanes) {
      float sum = 0.0F;
      for (int c = thread % plan.lanes; c < plan.chunks; c += plan.lanes) {
        sum += shared.squares[thread / plan.lanes][c];
      }
      shared.lane_squares[thread / plan.lanes][thread % plan.lanes] = sum;
    }
    multiply(
        product, [&](int chunk, uint2(&out)[4][1]) { rows.load(chunk, out); },
        [&](int row, int col, float v0, float v1) {
          const float scale = norm_scale(plan.lanes, args.inputs[product], args.eps,
                                         [&](int i) { return shared.lane_squares[row][i]; });
          epilogue(row, col, v0 * scale, v1 * scale);
        });
  };

  const AddTo add{args.x, args.ldx, nullptr};
  for (int l = 0; l < args.layer_count; ++l) {
    const StepLayer& layer = args.layers[l];
    multiply_normed(kStepQkv, layer.input_norm, StoreHalf<NoChange>{args.qkv, args.ldq, nullptr});
    GridBarrier::arrive();

    DecodeArgs attention = args.attention;
    attention.heads.q_weight = layer.q_norm;
    attention.heads.k_weight = layer.k_norm;
    attention.heads.pages = layer.pages;
    const auto ready = [] { GridBarrier::wait(); };
    if (!attend<1>(attention, team, work + team_index * team_bytes,
                   queries + team_index * kDecodeWarps * group, ready)) {
      ready();
    }
    GridBarrier::arrive();
    GridBarrier::wait();

    const StagedRows attended = staged(kStepOutput);
    attended.stage(args.attention.out, args.attention.ldo);
    GridBarrier::sync_workers();
    multiply(
        kStepOutput, [&](int chunk, uint2(&out)[4][1]) { attended.load(chunk, out); }, add);
    GridBarrier::arrive();
    GridBarrier::wait();

    multiply_normed(kStepGateUp, layer.post_attention_norm, SiluProduct{args.mlp, args.ldm});
    GridBarrier::arrive();
    GridBarrier::wait();

    // Used once, and too long to be staged: read a chunk ahead.
    const int lane = thread % 32;
    const bf16x1* const mlp = args.mlp + min(lane / 4, args.rows - 1) * args.ldm + lane % 4 * 4;
    uint2 next[4];
    const auto read = [&](int chunk) {
      const bf16x1* const from =
          mlp + min(chunk, shared.plans[kStepDown].chunks - 1) * kSkinnyChunk;
#pragma unroll
      for (int depth = 0; depth < 4; ++depth) {
        next[depth] = *reinterpret_cast<const uint2*>(from + depth * 16);
      }
    };
    read(thread / 32 % shared.plans[kStepDown].lanes);
    multiply(
        kStepDown,
        [&](int chunk, uint2(&out)[4][1]) {
#pragma unroll
          for (int depth = 0; depth < 4; ++depth) out[depth][0] = next[depth];
          read(chunk + shared.plans[kStepDown].lanes);
        },
        add);
    if (l + 1 < args.layer_count) {
      GridBarrier::arrive();
      GridBarrier::wait();
    }
  }
}

/// Of a block, for inputs of at most `k` elements that are staged.
inline int step_shared_bytes(int group, int k) {
  const int attention =
      kStepTeams * (decode_team_bytes(1, group) + kDecodeWarps * group * kDecodeHeadDim * 2);
  const int inputs = kStepRows * StagedRows::stride(k) * 2;
  return kSkinnyWarps * kStepAhead * WeightChunk::kBytes +
         2 * static_cast<int>(sizeof(SkinnySums<1>)) + std::max(attention, inputs);
}

}  // namespace qvl::device

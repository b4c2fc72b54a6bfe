#include "kernels/attention.h"
#include "kernels/device/decode_attention.cuh"
#include "kernels/device/flash.cuh"
#include "kernels/device/products.cuh"
#include "kernels/device_lists.h"

namespace qvl {
namespace {

constexpr int kHeadDim = 128;

/// Prompt rows: q is normalised, rotated and rounded in place, k and v go to their pages. One warp
/// a head of a row, four elements a lane.
__global__ void prepare_kernel(const device::HeadArgs args, const PrefillTile* tiles,
                               int64_t tile_rows) {
  device::wait_for_inputs();
  const PrefillTile tile = tiles[blockIdx.x];
  const SequenceRows sequence = args.sequences[tile.sequence];
  const int64_t last = min(tile.first + tile_rows, sequence.rows);
  const int heads = args.num_heads + args.num_kv_heads;
  const int warps = blockDim.x / 32;
  const int64_t jobs = (last - tile.first) * heads;
  for (int64_t job = int64_t{blockIdx.y} * warps + threadIdx.x / 32; job < jobs;
       job += int64_t{gridDim.y} * warps) {
    const int64_t i = tile.first + job / heads;
    const int head = static_cast<int>(job % heads);
    const int64_t row = sequence.first_row + i;
    if (head < args.num_heads) {
      const device::HeadTurn turn(args, row, args.q_weight, args.q_eps);
      device::store_half(turn(device::load_head(args, row, head)),
                         args.qkv + row * args.ldq + head * kHeadDim);
    } else {
      device::write_key_value(args, sequence.block_table, row, sequence.start + i,
                              head - args.num_heads);
    }
  }
}

}  // namespace

int64_t kv_page_bytes(const Cuda&, const KvShape& shape) {
  return Arena::padded(2 * shape.num_kv_heads * kPageTokens * shape.head_dim * 2);
}

/// What `sequences` says must be what the backend's lists were placed from.
void attention(Cuda& cuda, ActMat qkv, const AttentionLayer& layer, const RopeTable& rope,
               std::span<const SequenceRows>, const KvLayer& cache, ActMat out) {
  require_equal(cache.shape.head_dim, kHeadDim, "device attention: head_dim");
  require(cache.shape.dtype == DType::bf16 && qkv.dtype == DType::bf16, "device attention: dtype");
  const DeviceLists& lists = *cuda.lists;
  const device::HeadArgs heads = device::head_args(cuda, qkv, layer, rope, cache);
  if (lists.tile_count > 0) {
    const auto tiles = static_cast<unsigned>(lists.tile_count);
    device::launch(device::blocks_of(cuda, {tiles, 8}, 256), prepare_kernel, heads, lists.tiles,
                   lists.tile_rows);
    device::prefill_attention(cuda, {.query = static_cast<const bf16*>(qkv.data),
                                     .query_stride = qkv.stride,
                                     .cache = cache.base,
                                     .page_bytes = cache.page_bytes,
                                     .sequences = lists.sequences,
                                     .tiles = lists.tiles,
                                     .num_tiles = lists.tile_count,
                                     .tile_rows = lists.tile_rows,
                                     .num_heads = layer.num_heads,
                                     .num_kv_heads = cache.shape.num_kv_heads,
                                     .head_dim = kHeadDim,
                                     .out = static_cast<bf16*>(out.data),
                                     .out_stride = out.stride});
  }
  if (lists.decode_count > 0) {
    device::launch_decode_attention(heads, lists, device::half(out.data), out.stride, cuda);
  }
}

}  // namespace qvl

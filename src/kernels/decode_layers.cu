#include "core/check.h"
#include "kernels/decode_layers.h"
#include "kernels/device/decode_layers.cuh"
#include "kernels/device/products.cuh"
#include "kernels/device_lists.h"

namespace qvl {
namespace {

using namespace device;  // NOLINT: this file is of that namespace

bool is_plain(const Linear& w) {
  return w.bias == nullptr && w.desc.in % kSkinnyChunk == 0 && w.desc.out % 16 == 0;
}

/// Whether one block can stay on every multiprocessor, of this kernel and this much memory.
bool fits(int shared_bytes) {
  int most = 0;
  int device = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  if (shared_bytes + static_cast<int>(sizeof(StepShared)) > most) return false;
  check(cudaFuncSetAttribute(decode_layers_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             shared_bytes));
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &blocks, decode_layers_kernel, kStepThreads + 32, static_cast<size_t>(shared_bytes)));
  return blocks >= 1;
}

}  // namespace

bool decode_layers(Cuda& cuda, std::span<const DecodeLayer> layers, const DecodeRows& rows) {
  const DeviceLists& lists = *cuda.lists;
  const DecodeLayer& like = layers.front();
  const bool suits = overlaps(cuda) && rows.x.rows <= kStepRows &&
                     layers.size() <= kMaxStepLayers && lists.tile_count == 0 &&
                     lists.decode_count == rows.x.rows &&
                     lists.decode_count <= lists.partial_rows && is_plain(like.qkv) &&
                     is_plain(like.output) && is_plain(like.gate_up) && is_plain(like.down);
  const auto group = static_cast<int>(like.attention.num_heads / like.cache.shape.num_kv_heads);
  const auto staged = static_cast<int>(std::max(like.qkv.desc.in, like.output.desc.in));
  if (!suits || group > kMaxGroup || staged > kMaxStepChunks * kSkinnyChunk) return false;
  const int shared_bytes = step_shared_bytes(group, staged);
  if (!fits(shared_bytes)) return false;

  StepArgs args{};
  args.layer_count = static_cast<int>(layers.size());
  args.rows = static_cast<int>(rows.x.rows);
  const Linear* const products[kStepProducts] = {&like.qkv, &like.output, &like.gate_up,
                                                 &like.down};
  for (int i = 0; i < kStepProducts; ++i) {
    args.outputs[i] = static_cast<int>(products[i]->desc.out);
    args.inputs[i] = static_cast<int>(products[i]->desc.in);
  }
  args.eps = like.input_norm.eps;
  args.x = rows.x.data;
  args.ldx = rows.x.stride;
  args.qkv = half(rows.qkv.data);
  args.ldq = rows.qkv.stride;
  args.mlp = half(rows.mlp.data);
  args.ldm = rows.mlp.stride;
  args.attention = {.heads = head_args(cuda, rows.qkv, like.attention, rows.rope, like.cache),
                    .rows = lists.decode_rows,
                    .first_split = lists.first_split,
                    .row_count = static_cast<int>(lists.decode_count),
                    .first_row = static_cast<int>(lists.first_decode_row),
                    .partials = lists.partials,
                    .arrivals = lists.arrivals,
                    .out = half(rows.attended.data),
                    .ldo = rows.attended.stride};
  args.barrier = lists.step_barrier;
  for (size_t i = 0; i < layers.size(); ++i) {
    const DecodeLayer& layer = layers[i];
    args.layers[i] = {.weights = {half(layer.qkv.data), half(layer.output.data),
                                  half(layer.gate_up.data), half(layer.down.data)},
                      .input_norm = layer.input_norm.weight.data,
                      .post_attention_norm = layer.post_attention_norm.weight.data,
                      .q_norm = layer.attention.q_norm.weight.data,
                      .k_norm = layer.attention.k_norm.weight.data,
                      .pages = layer.cache.base};
  }
  launch({.grid = static_cast<unsigned>(cuda.sm_count),
          .block = kStepThreads + 32,
          .shared_bytes = shared_bytes,
          .stream = cuda.stream},
         decode_layers_kernel, args);
  return true;
}

}  // namespace qvl

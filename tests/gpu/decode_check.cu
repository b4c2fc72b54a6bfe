// Times what a decoding step consists of: the skinny product with several tiles, on weights that no
// cache holds and beside the rate at which the same memory can be read, and attention. Compares the
// tiles' bits; exits 1 if they differ.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/attention.h"
#include "kernels/device/epilogues.cuh"
#include "kernels/device/skinny.cuh"
#include "kernels/device/skinny_wgmma.cuh"
#include "kernels/device_lists.h"
#include "kernels/linear.h"
#include "kernels/norm_linear.h"
#include "timing.cuh"

namespace qvl::device {
namespace {

constexpr int64_t kWeightBytes = 1LL << 30;
constexpr int kLaunches = 24;
constexpr int kRows = 128;

__global__ void __launch_bounds__(1024) read_kernel(const uint4* p, int64_t n, uint32_t* out) {
  wait_for_inputs();
  uint32_t all = 0;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 7 * stride < n; i += 8 * stride) {
    uint4 v[8];
#pragma unroll
    for (int u = 0; u < 8; ++u) v[u] = load_once(p + i + u * stride);
#pragma unroll
    for (int u = 0; u < 8; ++u) all ^= v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
  }
  for (; i < n; i += stride) all ^= load_once(p + i).x;
  if (all == 0x12345) out[0] = all;
}

struct Bench {
  Cuda cuda;
  CudaStream stream = make_stream();
  Arena memory = std::move(*make_device_arena("weights", kWeightBytes + (320LL << 20)));
  bf16x1* w = memory.take<bf16x1>(kWeightBytes / 2);
  bf16x1* x = memory.take<bf16x1>(kRows * 8192);
  float* norm = memory.take<float>(8192);
  bool differs = false;
  float* y = memory.take<float>(kRows * 151936);

  /// Median microseconds of a launch.
  template <class Launch>
  double time(const Launch& launch_one) {
    const CudaGraph graph = record_graph(stream.get(), [&] {
      for (int i = 0; i < kLaunches; ++i) launch_one(i);
    });
    return graph_us(stream, graph) / kLaunches;
  }
};

/// Runs one product, compares its bits with `first`'s, and times it.
template <class Launch>
void run(Bench& bench, const char* name, int n, int k, int rows, std::vector<float>& first,
         const Launch& launch_product) {
  const int64_t bytes = int64_t{n} * k * 2;
  const auto launch_one = [&](int i) {
    const int64_t places = std::max<int64_t>(1, kWeightBytes / bytes);
    launch_product(SkinnyArgs{bench.w + i % places * (bytes / 2), n, k, rows}, HalfRows{bench.x, k},
                   StoreFloat{bench.y, n, nullptr});
  };
  check(cudaMemset(bench.y, 0xff, size_t(rows) * n * 4));
  launch_one(0);
  std::vector<float> y(size_t(rows) * n);
  check(cudaStreamSynchronize(bench.stream.get()));
  check(cudaMemcpy(y.data(), bench.y, y.size() * 4, cudaMemcpyDeviceToHost));
  if (first.empty()) first = y;
  // Rows are the same in every number of them.
  const size_t common = std::min(first.size(), y.size());
  const bool same = std::memcmp(first.data(), y.data(), common * 4) == 0;
  bench.differs |= !same;
  const double us = bench.time(launch_one);
  std::printf("  %s %.2fus %.0f%s", name, us, bytes / us / 1e3, same ? "" : " BITS DIFFER");
}

void all(Bench& bench, int n, int k) {
  const int64_t bytes = int64_t{n} * k * 2;
  const double us = bench.time([&](int i) {
    const int64_t places = std::max<int64_t>(1, kWeightBytes / bytes);
    launch({.grid = 264,
            .block = 1024,
            .stream = bench.stream.get(),
            .overlaps = overlaps(bench.cuda)},
           read_kernel, reinterpret_cast<const uint4*>(bench.w + i % places * (bytes / 2)),
           bytes / 16, reinterpret_cast<uint32_t*>(bench.y));
  });
  std::printf("%d x %d: read %.2fus %.0f GB/s\n", n, k, us, bytes / us / 1e3);
  std::vector<float> first;
  for (const int rows : {1, 5, 8, 16, 29, 32, 64, 77, 128}) {
    std::printf("  rows %d:", rows);
    const auto mma = [&]<int kColumns, int kAhead>(const char* name) {
      if (!skinny_fits<kColumns, kAhead, 8, false>({.n = n, .k = k, .rows = rows},
                                                   bench.cuda.shared_bytes)) {
        return;
      }
      run(bench, name, n, k, rows, first, [&](const auto& args, const auto& x, const auto& store) {
        launch_skinny_tile<kColumns, kAhead, 8>(bench.cuda, args, x, store);
      });
    };
    const auto wgmma = [&]<int kColumns>(const char* name) {
      if (!has_wgmma(bench.cuda)) return;
      run(bench, name, n, k, rows, first, [&](const auto& args, const auto& x, const auto& store) {
        launch_skinny_wgmma<kColumns>(args, x, store, bench.stream.get());
      });
    };
    if (rows <= 8) {
      mma.template operator()<1, 2>("mma/2");
      mma.template operator()<1, 3>("mma/3");
      mma.template operator()<1, 4>("mma/4");
      mma.template operator()<1, 6>("mma/6");
      wgmma.template operator()<16>("wgmma16");
    } else if (rows <= 16) {
      mma.template operator()<2, 1>("mma/1");
      mma.template operator()<2, 2>("mma/2");
      wgmma.template operator()<16>("wgmma16");
      wgmma.template operator()<32>("wgmma32");
    } else if (rows <= 32) {
      mma.template operator()<2, 1>("mma/1");
      mma.template operator()<2, 2>("mma/2");
      wgmma.template operator()<32>("wgmma32");
      wgmma.template operator()<64>("wgmma64");
    } else {
      wgmma.template operator()<64>("wgmma64");
      wgmma.template operator()<128>("wgmma128");
    }
    std::printf("\n");
  }
}

/// Attention of `rows` sequences of `context` tokens each, in layers that do not share pages.
void time_attention(Bench& bench, int64_t heads, int64_t kv_heads, int64_t rows, int64_t context) {
  Arena scratch = std::move(*make_device_arena("scratch", 1 << 20));
  Cuda cuda = bench.cuda;
  cuda.stream = bench.stream.get();
  cuda.scratch = &scratch;
  const KvShape shape{kv_heads, 128, DType::bf16};
  const int64_t page_bytes = kv_page_bytes(cuda, shape);
  const int64_t pages = pages_for(context) * rows;
  const int64_t layers = std::clamp<int64_t>((2LL << 30) / (pages * page_bytes), 1, kLaunches);
  Arena memory = std::move(*make_device_arena(
      "pages", layers * pages * page_bytes + rows * (heads * 3 + 2 * kv_heads) * 512 + 65536));
  std::vector<KvLayer> caches;
  for (int64_t l = 0; l < layers; ++l) {
    caches.push_back({memory.take<std::byte>(pages * page_bytes), page_bytes, shape});
    fill_kernel<<<1024, 256>>>(reinterpret_cast<uint16_t*>(caches.back().base),
                               pages * page_bytes / 2, 3);
  }
  const ActMat qkv = memory.take_act(DType::bf16, rows, (heads + 2 * kv_heads) * 128);
  fill_kernel<<<64, 256>>>(static_cast<uint16_t*>(qkv.data), rows * qkv.cols, 4);
  const ActMat out = memory.take_act(DType::bf16, rows, heads * 128);
  const RopeTable rope{memory.take_mat<float>(rows, 64), memory.take_mat<float>(rows, 64)};
  const RmsNorm norm{{bench.norm, 128}, 1e-6F};
  const StepCapacity capacity{.rows = rows,
                              .sequences = rows,
                              .decode_rows = rows,
                              .max_model_len = context,
                              .num_heads = heads,
                              .num_kv_heads = kv_heads,
                              .head_dim = 128};
  Arena list_memory = std::move(*make_device_arena("lists", StepLists::device_bytes(capacity)));
  StepLists lists(capacity, list_memory);
  std::vector<int32_t> table(static_cast<size_t>(pages));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  std::vector<SequenceRows> sequences;
  for (int64_t r = 0; r < rows; ++r) {
    sequences.push_back(
        {r, 1, context - 1, Role::generated, table.data() + r * pages_for(context)});
  }
  const std::vector<int32_t> zeros(static_cast<size_t>(3 * rows), 0);
  lists.place(cuda, {.tokens = {zeros.data(), rows},
                     .positions = make_mat<const int32_t>(zeros.data(), 3, rows),
                     .sequences = sequences});
  check(cudaDeviceSynchronize());
  const double us = bench.time([&](int i) {
    attention(cuda, qkv, {heads, norm, norm}, rope, sequences, caches[i % layers], out);
  });
  const double bytes = static_cast<double>(rows * context * kv_heads) * 512;
  std::printf("attention %lld/%lld heads, %lld rows of %lld: %.2fus %.0f GB/s\n",
              static_cast<long long>(heads), static_cast<long long>(kv_heads),
              static_cast<long long>(rows), static_cast<long long>(context), us, bytes / us / 1e3);
}

struct DecodeLayer {
  RmsNorm input_norm;
  Linear qkv;
  AttentionLayer attention;
  Linear output;
  RmsNorm post_attention_norm;
  Linear gate_up;
  Linear down;
  KvLayer cache;
};

/// A text model's layers with random weights, and a step of `rows` sequences of `context` tokens.
/// Times a layer's operators and all layers, and compares the bits of rows with those that the same
/// rows have in a step of another size.
struct LayersCheck {
  static constexpr int64_t kHeadDim = 128;
  int64_t hidden;
  int64_t intermediate;
  int64_t heads;
  int64_t kv_heads;
  int64_t count;

  /// `first`: what smaller steps left, and then what the largest did.
  void run(Bench& bench, int64_t rows, int64_t context, std::vector<float>& first) const {
    Arena scratch = std::move(*make_device_arena("scratch", 64 << 20));
    Cuda cuda = bench.cuda;
    cuda.stream = bench.stream.get();
    cuda.scratch = &scratch;
    const int64_t width = (heads + 2 * kv_heads) * kHeadDim;
    const KvShape shape{kv_heads, kHeadDim, DType::bf16};
    const int64_t page_bytes = kv_page_bytes(cuda, shape);
    const int64_t pages = pages_for(context) * rows;
    const int64_t layer_weights =
        hidden * (width + heads * kHeadDim + 3 * intermediate) * 2 + 4 * 4096;
    Arena memory = std::move(
        *make_device_arena("layers", count * (layer_weights + pages * page_bytes) + (64LL << 20)));
    uint32_t seed = 0;
    const auto linear = [&](int64_t out, int64_t in, LinearKind kind = LinearKind::plain) {
      auto* const w = memory.take<bf16x1>(out * in);
      fill_kernel<<<1024, 256>>>(reinterpret_cast<uint16_t*>(w), out * in, ++seed);
      return Linear{{.out = out, .in = in, .kind = kind}, w, nullptr};
    };
    auto* const ones = memory.take<float>(hidden);
    const std::vector<float> one(static_cast<size_t>(hidden), 1.0F);
    check(cudaMemcpy(ones, one.data(), one.size() * 4, cudaMemcpyHostToDevice));
    const RmsNorm norm{{ones, hidden}, 1e-6F};
    const RmsNorm head_norm{{ones, kHeadDim}, 1e-6F};
    std::vector<DecodeLayer> layers;
    for (int64_t l = 0; l < count; ++l) {
      layers.push_back({norm,
                        linear(width, hidden),
                        {heads, head_norm, head_norm},
                        linear(hidden, heads * kHeadDim),
                        norm,
                        linear(2 * intermediate, hidden, LinearKind::gate_up),
                        linear(hidden, intermediate),
                        {memory.take<std::byte>(pages * page_bytes), page_bytes, shape}});
      fill_kernel<<<1024, 256>>>(reinterpret_cast<uint16_t*>(layers.back().cache.base),
                                 pages * page_bytes / 2, 3);
    }
    const Mat<float> x = memory.take_mat<float>(rows, hidden);
    std::vector<float> embeddings(static_cast<size_t>(rows * hidden));
    std::mt19937 random(5);  // NOLINT: the same each time
    for (float& v : embeddings) v = std::normal_distribution<float>()(random);
    const RopeTable rope{memory.take_mat<float>(rows, 64), memory.take_mat<float>(rows, 64)};
    const std::vector<float> angles(static_cast<size_t>(rows * 64), 0.70710678F);
    for (float* const table : {rope.cos.data, rope.sin.data}) {
      check(cudaMemcpy(table, angles.data(), angles.size() * 4, cudaMemcpyHostToDevice));
    }
    const ActMat qkv = memory.take_act(DType::bf16, rows, width);
    const ActMat attended = memory.take_act(DType::bf16, rows, heads * kHeadDim);
    const ActMat mlp = memory.take_act(DType::bf16, rows, intermediate);
    const StepCapacity capacity{.rows = rows,
                                .sequences = rows,
                                .decode_rows = rows,
                                .max_model_len = context,
                                .num_heads = heads,
                                .num_kv_heads = kv_heads,
                                .head_dim = kHeadDim};
    Arena list_memory = std::move(*make_device_arena("lists", StepLists::device_bytes(capacity)));
    StepLists lists(capacity, list_memory);
    std::vector<int32_t> table(static_cast<size_t>(pages));
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
    std::vector<SequenceRows> sequences;
    for (int64_t r = 0; r < rows; ++r) {  // the contexts differ
      sequences.push_back({r, 1, context - 1 - r % context, Role::generated,
                           table.data() + r * pages_for(context)});
    }
    const std::vector<int32_t> zeros(static_cast<size_t>(3 * rows), 0);
    lists.place(cuda, {.tokens = {zeros.data(), rows},
                       .positions = make_mat<const int32_t>(zeros.data(), 3, rows),
                       .sequences = sequences});
    check(cudaDeviceSynchronize());

    const RowRoles roles{.generated = rows};
    const auto by_operators = [&](unsigned which) {
      for (const DecodeLayer& l : layers) {
        if ((which & 1) != 0) rms_norm_linear(cuda, roles, x, l.input_norm, l.qkv, qkv);
        if ((which & 2) != 0) {
          attention(cuda, qkv, l.attention, rope, sequences, l.cache, attended);
        }
        if ((which & 4) != 0) linear_residual(cuda, roles, attended, l.output, x);
        if ((which & 8) != 0) {
          rms_norm_gate_up_silu(cuda, roles, x, l.post_attention_norm, l.gate_up, mlp);
        }
        if ((which & 16) != 0) linear_residual(cuda, roles, mlp, l.down, x);
      }
    };
    const auto result = [&](const auto& compute) {
      check(cudaMemcpy(x.data, embeddings.data(), embeddings.size() * 4, cudaMemcpyHostToDevice));
      check(cudaDeviceSynchronize());
      compute();
      check(cudaStreamSynchronize(bench.stream.get()));
      std::vector<float> out(embeddings.size());
      check(cudaMemcpy(out.data(), x.data, out.size() * 4, cudaMemcpyDeviceToHost));
      return out;
    };
    const auto per_layer = [&](const auto& compute) {
      const CudaGraph graph = record_graph(bench.stream.get(), compute);
      return graph_us(bench.stream, graph) / static_cast<double>(count);
    };
    std::printf("layers %lld -> %lld, %lld rows of %lld, us a layer:",
                static_cast<long long>(hidden), static_cast<long long>(intermediate),
                static_cast<long long>(rows), static_cast<long long>(context));
    const std::vector<float> expected = result([&] { by_operators(31); });
    const struct {
      const char* name;
      unsigned which;
    } parts[] = {{"qkv", 1},   {"attention", 2}, {"output", 4}, {"gate_up", 8},
                 {"down", 16}, {"products", 29}, {"all", 31}};
    for (const auto& [name, which] : parts) {
      std::printf(" %s %.2f", name, per_layer([&, w = which] { by_operators(w); }));
    }
    const size_t common = std::min(expected.size(), first.size());
    const bool same = std::memcmp(first.data(), expected.data(), common * 4) == 0;
    bench.differs |= !same;
    if (!same) std::printf(" BITS DIFFER");
    if (expected.size() > first.size()) first = expected;
    std::printf("\n");
    std::fflush(stdout);
  }
};

}  // namespace
}  // namespace qvl::device

int main() {
  using namespace qvl::device;
  const auto info = qvl::open_cuda_device(0);
  if (!info) {
    std::printf("FAIL: %s\n", info.error().message().c_str());
    return 1;
  }
  const auto cuda = qvl::make_cuda();
  if (!cuda) {
    std::printf("FAIL: %s\n", cuda.error().message().c_str());
    return 1;
  }
  Bench bench;
  bench.cuda = *cuda;
  bench.cuda.stream = bench.stream.get();
  fill_kernel<<<1024, 256>>>(reinterpret_cast<uint16_t*>(bench.w), kWeightBytes / 2, 1);
  fill_kernel<<<64, 256>>>(reinterpret_cast<uint16_t*>(bench.x), kRows * 8192, 2);
  fill_kernel<<<64, 256>>>(reinterpret_cast<uint16_t*>(bench.norm), 8192 * 2, 6);
  qvl::check(cudaDeviceSynchronize());
  all(bench, 4096, 2048);
  all(bench, 2048, 2048);
  all(bench, 12288, 2048);
  all(bench, 2048, 6144);
  all(bench, 151936, 2048);
  all(bench, 1002, 1096);  // neither whole tiles nor whole chunks
  for (const int64_t rows : {1, 8, 64}) {
    for (const int64_t context : {64, 512, 2048, 8192}) {
      time_attention(bench, 16, 8, rows, context);
    }
  }
  time_attention(bench, 32, 8, 1, 512);
  time_attention(bench, 32, 8, 64, 512);
  const LayersCheck small{
      .hidden = 1032, .intermediate = 2888, .heads = 8, .kv_heads = 4, .count = 3};
  const LayersCheck of_2b{
      .hidden = 2048, .intermediate = 6144, .heads = 16, .kv_heads = 8, .count = 28};
  const LayersCheck of_8b{
      .hidden = 4096, .intermediate = 12288, .heads = 32, .kv_heads = 8, .count = 36};
  for (const int64_t context : {9, 130, 1500}) {
    std::vector<float> first;
    for (const int64_t rows : {1, 3, 8, 11, 30, 64, 100}) {
      small.run(bench, rows, context, first);
    }
  }
  std::vector<float> first;
  for (const int64_t rows : {1, 2, 3, 4, 5, 6, 8, 16, 64}) of_2b.run(bench, rows, 576, first);
  first.clear();
  for (const int64_t rows : {1, 8}) of_2b.run(bench, rows, 4096, first);
  first.clear();
  for (const int64_t rows : {1, 8, 64}) of_8b.run(bench, rows, 576, first);
  return bench.differs ? 1 : 0;
}

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
#include "kernels/device_lists.h"

namespace qvl::device {
namespace {

constexpr int64_t kWeightBytes = 1LL << 30;
constexpr int kLaunches = 24;

__global__ void fill_kernel(uint16_t* p, int64_t n, uint32_t seed) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761U ^ seed;
    h ^= h >> 15;
    h *= 2246822519U;
    h ^= h >> 13;
    p[i] = static_cast<uint16_t>((h & 0x807f) | (0x3c00 + (h >> 16 & 0x180)));  // ±0.008 … 0.06
  }
}

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
  CudaStream stream = make_stream();
  Arena memory = std::move(*make_device_arena("weights", kWeightBytes + (256LL << 20)));
  bf16x1* w = memory.take<bf16x1>(kWeightBytes / 2);
  bf16x1* x = memory.take<bf16x1>(64 * 8192);
  float* norm = memory.take<float>(8192);
  bool differs = false;
  float* y = memory.take<float>(64 * 151936);

  /// Median microseconds of a launch.
  template <class Launch>
  double time(const Launch& launch_one) {
    const CudaGraph graph = record_graph(stream.get(), [&] {
      for (int i = 0; i < kLaunches; ++i) launch_one(i);
    });
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
    check(cudaEventCreate(&begin));
    check(cudaEventCreate(&end));
    std::vector<float> times;
    for (int i = 0; i < 9; ++i) {
      check(cudaEventRecord(begin, stream.get()));
      check(cudaGraphLaunch(graph.get(), stream.get()));
      check(cudaEventRecord(end, stream.get()));
      check(cudaEventSynchronize(end));
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin, end));
      if (i > 1) times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2] * 1e3 / kLaunches;
  }
};

template <int kTiles, int kColumns, int kAhead>
void run(Bench& bench, int n, int k, int rows, std::vector<float>& first) {
  const int64_t bytes = int64_t{n} * k * 2;
  const auto args = [&](int i) {
    const int64_t places = std::max<int64_t>(1, kWeightBytes / bytes);
    return SkinnyArgs{bench.w + i % places * (bytes / 2), n, k, rows};
  };
  const StoreFloat store{bench.y, n, nullptr};
  const auto launch_one = [&](int i) {
    launch_skinny_tile<kTiles, kColumns, kAhead>(args(i), HalfRows{bench.x, k}, store,
                                                 bench.stream.get(), true);
  };
  check(cudaMemset(bench.y, 0xff, size_t(rows) * n * 4));
  launch_one(0);
  std::vector<float> y(size_t(rows) * n);
  check(cudaStreamSynchronize(bench.stream.get()));
  check(cudaMemcpy(y.data(), bench.y, y.size() * 4, cudaMemcpyDeviceToHost));
  if (first.empty()) first = y;
  const bool same = std::memcmp(first.data(), y.data(), y.size() * 4) == 0;
  bench.differs |= !same;
  const double us = bench.time(launch_one);
  std::printf("  %d,%d,%d %.2fus %.0f%s", kTiles, kColumns, kAhead, us, bytes / us / 1e3,
              same ? "" : " BITS DIFFER");
}

void all(Bench& bench, int n, int k) {
  const int64_t bytes = int64_t{n} * k * 2;
  const double us = bench.time([&](int i) {
    const int64_t places = std::max<int64_t>(1, kWeightBytes / bytes);
    launch({.grid = 264, .block = 1024, .stream = bench.stream.get()}, read_kernel,
           reinterpret_cast<const uint4*>(bench.w + i % places * (bytes / 2)), bytes / 16,
           reinterpret_cast<uint32_t*>(bench.y));
  });
  std::printf("%d x %d: read %.2fus %.0f GB/s\n", n, k, us, bytes / us / 1e3);
  for (const int rows : {1, 8, 16, 32, 64}) {
    std::vector<float> first;
    std::printf("  rows %d:", rows);
    if (rows <= 8) {
      run<1, 1, 3>(bench, n, k, rows, first);
      run<1, 1, 4>(bench, n, k, rows, first);
      run<1, 1, 6>(bench, n, k, rows, first);
      run<1, 1, 12>(bench, n, k, rows, first);
      run<2, 1, 2>(bench, n, k, rows, first);
      run<2, 1, 3>(bench, n, k, rows, first);
    } else if (rows == 16) {
      run<1, 2, 4>(bench, n, k, rows, first);
      run<1, 2, 6>(bench, n, k, rows, first);
      run<2, 2, 2>(bench, n, k, rows, first);
      run<2, 2, 3>(bench, n, k, rows, first);
    } else if (rows == 32) {
      run<1, 4, 4>(bench, n, k, rows, first);
      run<2, 4, 2>(bench, n, k, rows, first);
      run<2, 4, 3>(bench, n, k, rows, first);
      run<4, 4, 2>(bench, n, k, rows, first);
    } else {
      run<1, 8, 4>(bench, n, k, rows, first);
      run<1, 8, 6>(bench, n, k, rows, first);
      run<2, 8, 2>(bench, n, k, rows, first);
      run<2, 8, 3>(bench, n, k, rows, first);
      run<4, 8, 2>(bench, n, k, rows, first);
    }
    std::printf("\n");
  }
}

/// Attention of `rows` sequences of `context` tokens each, in layers that do not share pages.
void time_attention(Bench& bench, const CudaDeviceInfo& info, int64_t heads, int64_t kv_heads,
                    int64_t rows, int64_t context) {
  Arena scratch = std::move(*make_device_arena("scratch", 1 << 20));
  Cuda cuda;
  cuda.stream = bench.stream.get();
  cuda.scratch = &scratch;
  cuda.compute_capability = info.compute_capability;
  cuda.sm_count = info.sm_count;
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

}  // namespace
}  // namespace qvl::device

int main() {
  using namespace qvl::device;
  const auto info = qvl::open_cuda_device(0);
  if (!info) {
    std::printf("FAIL: %s\n", info.error().message().c_str());
    return 1;
  }
  Bench bench;
  fill_kernel<<<1024, 256>>>(reinterpret_cast<uint16_t*>(bench.w), kWeightBytes / 2, 1);
  fill_kernel<<<64, 256>>>(reinterpret_cast<uint16_t*>(bench.x), 64 * 8192, 2);
  fill_kernel<<<64, 256>>>(reinterpret_cast<uint16_t*>(bench.norm), 8192 * 2, 6);
  qvl::check(cudaDeviceSynchronize());
  all(bench, 4096, 2048);
  all(bench, 2048, 2048);
  all(bench, 12288, 2048);
  all(bench, 2048, 6144);
  all(bench, 151936, 2048);
  for (const int64_t rows : {1, 8, 64}) {
    for (const int64_t context : {64, 512, 2048, 8192}) {
      time_attention(bench, *info, 16, 8, rows, context);
    }
  }
  time_attention(bench, *info, 32, 8, 1, 512);
  time_attention(bench, *info, 32, 8, 64, 512);
  return bench.differs ? 1 : 0;
}

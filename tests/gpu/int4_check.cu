// Times products with 4-bit weights beside those of bfloat16 ones, at the shapes of the 2B and 8B
// text layers, on weights that no cache holds. Compares the kernels' bits; exits 1 if they differ
// or an output was not written.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels/device/products.cuh"
#include "timing.cuh"

namespace qvl::device {
namespace {

constexpr int64_t kWeightBytes = 1LL << 30;
constexpr int64_t kScratchBytes = 256LL << 20;
constexpr int kLaunches = 24;
constexpr int kMostRows = 1024;
constexpr int kMostColumns = 12288;
constexpr int kMostOutputs = 24576;

class Int4Check {
 public:
  explicit Int4Check(const Cuda& device) : cuda_(device) {
    cuda_.stream = stream_.get();
    cuda_.scratch = &scratch_;
    fill_kernel<<<1024, 256>>>(reinterpret_cast<uint16_t*>(w_), kWeightBytes / 2, 1);
    fill_kernel<<<1024, 256>>>(reinterpret_cast<uint16_t*>(x_), int64_t{kMostRows} * kMostColumns,
                               2);
    check(cudaDeviceSynchronize());
  }

  void all(const char* name, int n, int k, int64_t group_size) {
    const Int4SkinnyArgs shape{{.n = n, .k = k}, w_, int4_parts(group_size)};
    const int64_t bytes = shape.layout().bytes();
    std::printf("%s, %d x %d, groups of %lld: %.1f MB, as bfloat16 %.1f\n", name, n, k,
                static_cast<long long>(group_size), bytes / 1e6, int64_t{n} * k * 2 / 1e6);
    first_.clear();
    for (const int rows : {1, 2, 4, 5, 8, 16, 17, 32, 64, 128}) {
      std::printf("  rows %4d:", rows);
      const auto at = [&](int i) {
        Int4SkinnyArgs args = shape;
        args.rows = rows;
        args.packed = w_ + place(i, bytes);
        return args;
      };
      const StoreFloat store{y_, n, nullptr};
      const HalfRows x{x_, k};
      run("4 bits", rows, n, bytes, [&](int i) { launch_skinny(cuda_, at(i), x, store); });
      if (rows <= 16) {
        run("warps", rows, n, bytes, [&](int i) { launch_int4_skinny(cuda_, at(i), x, store); });
        if (has_wgmma(cuda_)) {
          run("wgmma", rows, n, bytes,
              [&](int i) { launch_int4_wgmma(at(i), x, store, cuda_.stream); });
        }
      }
      time("bfloat16", int64_t{n} * k * 2,
           [&](int i) { launch_skinny(cuda_, half_at(i, n, k, rows), x, store); });
      std::printf("\n");
    }
    for (const int rows : {64, kMostRows}) {
      std::printf("  prompt of %d rows:", rows);
      const ActMat x{x_, DType::bf16, rows, k, k};
      const auto multiply = [&](const Linear& w) {
        product(cuda_, {.prompt = rows}, x, w, StoreFloat{y_, n, nullptr});
      };
      LinearDesc desc{.out = n, .in = k};
      time("bfloat16", int64_t{n} * k * 2, [&](int i) {
        multiply({desc, half_at(i, n, k, rows).w, nullptr});
      });
      desc.weight = WeightFormat::int4;
      desc.group_size = group_size;
      time("4 bits", bytes, [&](int i) { multiply({desc, w_ + place(i, bytes), nullptr}); });
      time("of that widening", bytes, [&](int i) {
        Int4SkinnyArgs args = shape;
        args.packed = w_ + place(i, bytes);
        ScratchScope scratch(cuda_);
        launch_widen_int4(cuda_, args, scratch.take<bf16x1>(int64_t{n} * k));
      });
      std::printf("\n");
    }
    std::fflush(stdout);
  }

  bool differs() const { return differs_; }

 private:
  /// Another place each time.
  static int64_t place(int i, int64_t bytes) {
    const int64_t stride = Arena::padded(bytes);
    return i % std::max<int64_t>(1, kWeightBytes / stride) * stride;
  }
  SkinnyArgs half_at(int i, int n, int k, int rows) const {
    return {.w = half(w_ + place(i, int64_t{n} * k * 2)), .n = n, .k = k, .rows = rows};
  }

  template <class Launch>
  void time(const char* what, int64_t bytes, const Launch& launch_one) {
    const CudaGraph graph = record_graph(stream_.get(), [&] {
      for (int i = 0; i < kLaunches; ++i) launch_one(i);
    });
    const double us = graph_us(stream_, graph) / kLaunches;
    std::printf("  %s %.2fus %.0f GB/s", what, us, bytes / us / 1e3);
  }

  /// Compares the bits of a row with those it had before, and times.
  template <class Launch>
  void run(const char* what, int rows, int n, int64_t bytes, const Launch& launch_one) {
    std::vector<float> y(static_cast<size_t>(rows) * n);
    check(cudaMemset(y_, 0xff, y.size() * 4));
    check(cudaDeviceSynchronize());
    launch_one(0);
    check(cudaStreamSynchronize(stream_.get()));
    check(cudaMemcpy(y.data(), y_, y.size() * 4, cudaMemcpyDeviceToHost));
    const size_t common = std::min(first_.size(), y.size());
    const bool same = std::memcmp(first_.data(), y.data(), common * 4) == 0;
    const bool whole = std::none_of(y.begin(), y.end(), [](float v) { return std::isnan(v); });
    differs_ |= !same || !whole;
    if (y.size() > first_.size()) first_ = y;
    time(what, bytes, launch_one);
    if (!same) std::printf(" BITS DIFFER");
    if (!whole) std::printf(" NOT A NUMBER");
  }

  CudaStream stream_ = make_stream();
  Arena memory_ = std::move(*make_device_arena(
      "weights",
      kWeightBytes + int64_t{kMostRows} * (kMostColumns * 2 + kMostOutputs * 4) + 65536));
  Arena scratch_ = std::move(*make_device_arena("scratch", kScratchBytes));
  Cuda cuda_;
  uint8_t* w_ = memory_.take<uint8_t>(kWeightBytes);
  bf16x1* x_ = memory_.take<bf16x1>(int64_t{kMostRows} * kMostColumns);
  float* y_ = memory_.take<float>(int64_t{kMostRows} * kMostOutputs);
  std::vector<float> first_;
  bool differs_ = false;
};

int all() {
  const Result<CudaDeviceInfo> info = open_cuda_device(0);
  if (!info) {
    std::printf("FAIL: %s\n", info.error().message().c_str());
    return 1;
  }
  const Result<Cuda> device = make_cuda();
  if (!device) {
    std::printf("FAIL: %s\n", device.error().message().c_str());
    return 1;
  }
  Int4Check checked(*device);
  checked.all("2B qkv", 4096, 2048, 128);
  checked.all("2B output", 2048, 2048, 128);
  checked.all("2B gate, up", 12288, 2048, 128);
  checked.all("2B down", 2048, 6144, 128);
  checked.all("8B qkv", 6144, 4096, 128);
  checked.all("8B output", 4096, 4096, 128);
  checked.all("8B gate, up", 24576, 4096, 128);
  checked.all("8B down", 4096, 12288, 128);
  checked.all("8B gate, up", 24576, 4096, 32);
  checked.all("neither whole tiles nor whole chunks", 1002, 1096, 32);
  return checked.differs() ? 1 : 0;
}

}  // namespace
}  // namespace qvl::device

int main() {
  try {
    return qvl::device::all();
  } catch (const std::exception& error) {
    std::printf("FAIL: %s\n", error.what());
    return 1;
  }
}

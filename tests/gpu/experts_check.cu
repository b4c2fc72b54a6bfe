// Times a block of experts of 30B-A3B on weights that no cache holds: bytes of the experts that the
// rows take, and multiplications, by the time. With a number: one pass of so many rows, for a
// profiler.

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernels/backend.h"
#include "kernels/moe.h"
#include "kernels/moe_cuda.h"
#include "timing.cuh"

namespace qvl::device {
namespace {

constexpr int64_t kHidden = 2048;
constexpr int64_t kWidth = 768;
constexpr int64_t kExperts = 128;
constexpr int64_t kTopK = 8;
constexpr int kLayers = 8;
constexpr int64_t kMostRows = 8192;

class ExpertsCheck {
 public:
  explicit ExpertsCheck(const Cuda& device) : cuda_(device) {
    cuda_.stream = stream_.get();
    cuda_.scratch = &scratch_;
    scratch_ = std::move(*make_device_arena(
        "scratch", moe_scratch_bytes(cuda_, {kMostRows, kHidden, kWidth, kExperts, kTopK})));
    const std::vector<float> ones(kHidden, 1.0F);
    auto* const norm = memory_.take<float>(kHidden);
    check(cudaMemcpy(norm, ones.data(), kHidden * 4, cudaMemcpyHostToDevice));
    norm_ = {{norm, kHidden}, 1e-6F};
    for (int l = 0; l < kLayers; ++l) {
      Experts& layer = layers_.emplace_back();
      layer.router = linear(kExperts, kHidden);
      for (int64_t e = 0; e < kExperts; ++e) {
        layer.gate_up.push_back(linear(2 * kWidth, kHidden, LinearKind::gate_up));
        layer.down.push_back(linear(kHidden, kWidth));
      }
      layer.top_k = kTopK;
    }
    x_ = memory_.take_mat<float>(kMostRows, kHidden);
    std::vector<float> x(kMostRows * kHidden);
    uint64_t state = 1;
    for (float& v : x) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      v = static_cast<float>(static_cast<int32_t>(state >> 32)) * 0x1p-31F;
    }
    check(cudaMemcpy(x_.data, x.data(), x.size() * 4, cudaMemcpyHostToDevice));
  }

  /// One layer, for a profiler.
  void once(int64_t rows) {
    rms_norm_moe(cuda_, {.prompt = rows}, norm_, layers_[0], x_.slice_rows(0, rows));
    check(cudaDeviceSynchronize());
  }

  /// Median microseconds of a layer.
  double time(int64_t rows) {
    const CudaGraph graph = record_graph(stream_.get(), [&] {
      for (const Experts& layer : layers_) {
        rms_norm_moe(cuda_, {.generated = rows}, norm_, layer, x_.slice_rows(0, rows));
      }
    });
    return graph_us(stream_, graph) / kLayers;
  }

 private:
  Linear linear(int64_t out, int64_t in, LinearKind kind = LinearKind::plain) {
    auto* const w = memory_.take<uint16_t>(out * in);
    fill_kernel<<<1024, 256>>>(w, out * in, ++seed_);
    return {{.out = out, .in = in, .kind = kind}, w, nullptr};
  }

  CudaStream stream_ = make_stream();
  Arena memory_ = std::move(*make_device_arena(
      "weights", kLayers*(kExperts*(3 * kWidth + 1) * kHidden * 2) + (128LL << 20)));
  Arena scratch_;
  Cuda cuda_;
  RmsNorm norm_;
  std::vector<Experts> layers_;
  Mat<float> x_;
  uint32_t seed_ = 0;
};

void all(int64_t rows_of_one_pass) {
  const Result<Cuda> device = make_cuda();
  if (!device) {
    std::printf("%s\n", device.error().message().c_str());
    std::exit(1);
  }
  ExpertsCheck checked(*device);
  if (rows_of_one_pass > 0) return checked.once(rows_of_one_pass);
  constexpr double kExpertBytes = 3.0 * kWidth * kHidden * 2;
  std::printf("%6s %10s %10s %8s %10s\n", "rows", "us", "experts", "GB/s", "TFLOP/s");
  for (const int64_t rows : {1, 2, 4, 8, 16, 17, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192}) {
    // Of random rows: how many experts any of them takes.
    double missed = 1;
    for (int64_t r = 0; r < rows; ++r) missed *= 1.0 - static_cast<double>(kTopK) / kExperts;
    const double taken = kExperts * (1 - missed);
    const double us = checked.time(rows);
    std::printf("%6lld %10.1f %10.1f %8.0f %10.1f\n", static_cast<long long>(rows), us, taken,
                kExpertBytes * taken / us / 1e3, kExpertBytes * rows * kTopK / us / 1e6);
  }
}

}  // namespace
}  // namespace qvl::device

int main(int argc, char** argv) {
  try {
    qvl::device::all(argc > 1 ? std::atoll(argv[1]) : 0);
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}

// What operators do on devices with less than the one at hand: on it, with the choices of theirs.

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "gpu_testing.h"
#include "kernels/norm_linear.h"

namespace qvl {
namespace {

/// Compute capability and KiB of shared memory.
struct Lesser {
  int compute_capability;
  int shared_kib;
};
constexpr Lesser kLesser[] = {{75, 64}, {86, 99}, {80, 163}};

LinearDesc desc_of(int64_t out, int64_t in) {
  return {.out = out, .in = in, .weight = WeightFormat::bf16, .activation = ActFormat::bf16};
}

TEST(GpuLesserDevices, GiveProductsOfGeneratedRowsTheSameBits) {
  struct Shape {
    int64_t out;
    int64_t in;
    int64_t group_size = 0;  // of 4-bit weights
  };
  for (const Shape s : {Shape{70, 192},
                        {1152, 1536},
                        {2048, 4096},
                        {256, 5120},
                        {12288, 3072},
                        {130, 200, 32},
                        {2048, 4096, 128},
                        {256, 5120, 64}}) {
    TestGpu gpu;
    const Cuda device = *gpu;
    LinearDesc desc = desc_of(s.out, s.in);
    if (s.group_size > 0) desc.weight = WeightFormat::int4;
    desc.group_size = s.group_size;
    const TestWeight weight(desc, 1);
    const Linear w = gpu.put_linear(desc, weight, true);
    const std::vector<float> scale(static_cast<size_t>(s.in), 1.25F);
    const RmsNorm norm{gpu.put_vector(scale), 1e-6F};
    TestMat halves = TestMat::normal(DType::bf16, 33, s.in, 2);
    TestMat floats = TestMat::normal(DType::f32, 33, s.in, 3);
    const ActMat x = gpu.put(halves);
    const Mat<float> residual = gpu.put_floats(floats);
    for (const int64_t rows : {1, 2, 4, 5, 8, 9, 16, 33}) {
      const ActMat plain = gpu.room(DType::f32, rows, s.out);
      const ActMat normed = gpu.room(DType::bf16, rows, s.out);
      const auto compute = [&] {
        linear(*gpu, {.generated = rows}, x.slice_rows(0, rows), w, plain);
        rms_norm_linear(*gpu, {.generated = rows}, residual.slice_rows(0, rows), norm, w, normed);
        return std::pair{gpu.get(plain), gpu.get(normed)};
      };
      *gpu = device;
      const auto expected = compute();
      for (const Lesser& lesser : kLesser) {
        (*gpu).compute_capability = std::min(device.compute_capability, lesser.compute_capability);
        (*gpu).shared_bytes = std::min(device.shared_bytes, lesser.shared_kib * 1024);
        const auto found = compute();
        for (int64_t r = 0; r < rows; ++r) {
          SCOPED_TRACE(testing::Message()
                       << s.out << " × " << s.in << ", groups of " << s.group_size << ", row " << r
                       << " of " << rows << ", " << lesser.shared_kib << " KiB");
          ASSERT_TRUE(same_bits(found.first, r, expected.first, r));
          if (lesser.compute_capability < 80) continue;  // where the norm's scale comes first
          ASSERT_TRUE(same_bits(found.second, r, expected.second, r));
        }
      }
    }
  }
}

TEST(GpuLesserDevices, TakeRowsOfAnySizeBeforeTheirNorm) {
  constexpr double kTolerance = 6e-3;  // as of other normed rows
  TestGpu gpu;
  Ref ref;
  const Cuda device = *gpu;
  const LinearDesc desc = desc_of(128, 1536);
  const TestWeight weight(desc, 1);
  const Linear w = gpu.put_linear(desc, weight, true);
  const TestLinear ref_w = pack(ref, desc, weight, weight.bias.data());
  const std::vector<float> scale(1536, 1.25F);
  const RmsNorm norm{{scale.data(), 1536}, 1e-6F};
  const RmsNorm gpu_norm{gpu.put_vector(scale), 1e-6F};
  for (const int64_t rows : {1, 8, 17}) {
    TestMat x = TestMat::normal(DType::f32, rows, 1536, 3);
    x.set(0, 1001, 1e6F);
    for (int64_t c = 0; c < 1536; ++c) x.set(rows - 1, c, x.at(rows - 1, c) * 1e5F);
    const Mat<float> dx = gpu.put_floats(x);
    TestMat y(DType::bf16, rows, 128);
    rms_norm_linear(ref, {.generated = rows}, x.f32(), norm, ref_w.linear, y.act());
    for (const Lesser& lesser : kLesser) {
      (*gpu).compute_capability = std::min(device.compute_capability, lesser.compute_capability);
      (*gpu).shared_bytes = std::min(device.shared_bytes, lesser.shared_kib * 1024);
      const ActMat dy = gpu.room(DType::bf16, rows, 128);
      rms_norm_linear(*gpu, {.generated = rows}, dx, gpu_norm, w, dy);
      EXPECT_TRUE(close(gpu.get(dy), y, kTolerance)) << rows << " rows, " << lesser.shared_kib;
    }
  }
}

TEST(GpuLinear, IsFiniteBeyondTheNumbersOfFloat16AndExactForSmallOnes) {
  constexpr int64_t kSize = 64;
  TestGpu gpu;
  const std::vector<bf16> ones(static_cast<size_t>(kSize * kSize), bf16(1.0F));
  const auto read = [&](int64_t first, int64_t) -> const void* {
    return ones.data() + first * kSize;
  };
  const Linear w = pack_linear(*gpu, desc_of(kSize, kSize), read, nullptr, gpu.memory());
  TestMat x(DType::bf16, 4, kSize);
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t c = 0; c < kSize; ++c) x.set(r, c, 0.0F);
  }
  x.set(0, 21, 3e38F);
  x.set(1, 22, -3e38F);
  x.set(2, 23, std::ldexp(1.5F, -20));
  x.set(3, 24, 65280.0F);
  const ActMat dx = gpu.put(x);
  for (const RowRoles roles : {RowRoles{.prompt = 4}, RowRoles{.generated = 4}}) {
    const ActMat dy = gpu.room(DType::f32, 4, kSize);
    linear(*gpu, roles, dx, w, dy);
    const TestMat y = gpu.get(dy);
    for (int64_t c = 0; c < kSize; ++c) {
      EXPECT_GE(y.at(0, c), 65504.0F);
      EXPECT_LE(y.at(1, c), -65504.0F);
      EXPECT_TRUE(std::isfinite(y.at(0, c)) && std::isfinite(y.at(1, c)));
      EXPECT_EQ(y.at(2, c), std::ldexp(1.5F, -20));
      EXPECT_EQ(y.at(3, c), 65280.0F);
    }
  }
}

}  // namespace
}  // namespace qvl

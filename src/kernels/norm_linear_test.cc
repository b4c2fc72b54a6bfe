#include "kernels/norm_linear.h"

#include "kernels/activations.h"
#include "kernels/kernel_testing.h"

namespace qvl {
namespace {

/// Rows of the residual stream are not centred and differ in size.
TestMat stream(int64_t rows, int64_t cols, uint32_t seed, int64_t gap = 3) {
  TestMat x(DType::f32, rows, cols, gap);
  Random random(seed);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      x.set(r, c, (random.normal() + 0.3F) * static_cast<float>(1 + r % 5));
    }
  }
  return x;
}

std::vector<float> vector_of(int64_t n, float mean, uint32_t seed) {
  Random random(seed);
  std::vector<float> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(mean + 0.3F * random.normal());
  return out;
}

Vec<const float> view(const std::vector<float>& v) {
  return {v.data(), static_cast<int64_t>(v.size())};
}

/// float32 differs in the order of sums. With bf16, a normalised value near the middle of two
/// neighbours may round to the other one, and so may the result: one unit is 2^-8.
double tolerance(ActFormat act, DType y) {
  return act == ActFormat::bf16 || y == DType::bf16 ? 0x1p-8 : 2e-6;
}

constexpr int64_t kRows[] = {1, 19, 99};

TEST(RmsNormLinear, AgreesWithTheReference) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    for (const int64_t in : {1, 19, 989}) {
      const LinearDesc desc{.out = 67, .in = in, .weight = weight, .activation = act};
      const TestWeight w(desc, 1);
      const std::vector<float> scale = vector_of(in, 1.0F, 2);
      const RmsNorm norm{view(scale), 1e-6F};
      Ref ref;
      TestCpu cpu(isa, 2, {.max_rows = 99, .max_in = in, .max_out = desc.out});
      const TestLinear reference = pack(ref, desc, w);
      const TestLinear packed = pack(*cpu, desc, w);
      for (const int64_t rows : kRows) {
        TestMat x = stream(rows, in, 3);
        for (const DType y_type : {DType::f32, DType::bf16}) {
          TestMat expected(y_type, rows, desc.out);
          TestMat found(y_type, rows, desc.out);
          rms_norm_linear(ref, {.prompt = rows}, x.f32(), norm, reference.linear, expected.act());
          rms_norm_linear(*cpu, {.prompt = rows}, x.f32(), norm, packed.linear, found.act());
          ASSERT_TRUE(close(found, expected, tolerance(act, y_type))) << rows << " x " << in;
        }
      }
    }
  });
}

TEST(RmsNormGateUpSilu, AgreesWithTheReference) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    // Halves of one panel and a part, of whole panels, and of less than a panel.
    for (const int64_t half : {19, 64, 5, 99}) {
      const int64_t in = 99;
      const LinearDesc desc{.out = 2 * half,
                            .in = in,
                            .weight = weight,
                            .activation = act,
                            .kind = LinearKind::gate_up};
      const TestWeight w(desc, 4);
      const std::vector<float> scale = vector_of(in, 1.0F, 5);
      const RmsNorm norm{view(scale), 1e-6F};
      Ref ref;
      TestCpu cpu(isa, 2, {.max_rows = 99, .max_in = in, .max_out = desc.out});
      for (const bool with_bias : {false, true}) {
        const float* bias = with_bias ? w.bias.data() : nullptr;
        const TestLinear reference = pack(ref, desc, w, bias);
        const TestLinear packed = pack(*cpu, desc, w, bias);
        for (const int64_t rows : kRows) {
          TestMat x = stream(rows, in, 6);
          for (const DType y_type : {DType::f32, DType::bf16}) {
            TestMat expected(y_type, rows, half);
            TestMat found(y_type, rows, half);
            rms_norm_gate_up_silu(ref, {.prompt = rows}, x.f32(), norm, reference.linear,
                                  expected.act());
            rms_norm_gate_up_silu(*cpu, {.prompt = rows}, x.f32(), norm, packed.linear,
                                  found.act());
            ASSERT_TRUE(close(found, expected, tolerance(act, y_type))) << rows << " x " << half;
          }
        }
      }
    }
  });
}

TEST(RmsNormHead, TakesTheRowsItIsAskedFor) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    const LinearDesc desc{.out = 131, .in = 99, .weight = weight, .activation = act};
    const TestWeight w(desc, 7);
    const std::vector<float> scale = vector_of(99, 1.0F, 8);
    const RmsNorm norm{view(scale), 1e-6F};
    const std::vector<int32_t> rows = {18, 3, 3, 0};
    Ref ref;
    TestCpu cpu(isa, 3, {.max_rows = 4, .max_in = 99, .max_out = 131});
    const TestLinear reference = pack(ref, desc, w);
    const TestLinear packed = pack(*cpu, desc, w);
    TestMat x = stream(19, 99, 9);
    TestMat expected(DType::f32, 4, 131);
    TestMat found(DType::f32, 4, 131);
    rms_norm_head(ref, {.generated = 4}, x.f32(), {rows.data(), 4}, norm, reference.linear,
                  expected.f32());
    rms_norm_head(*cpu, {.generated = 4}, x.f32(), {rows.data(), 4}, norm, packed.linear,
                  found.f32());
    ASSERT_TRUE(close(found, expected, tolerance(act, DType::f32)));
    ASSERT_TRUE(same_bits(found, 1, found, 2));
  });
}

TEST(LayerNormLinear, AgreesWithTheReference) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    for (const int64_t in : {2, 19, 989}) {
      const LinearDesc desc{.out = 67, .in = in, .weight = weight, .activation = act};
      const TestWeight w(desc, 10);
      const std::vector<float> scale = vector_of(in, 1.0F, 11);
      const std::vector<float> shift = vector_of(in, 0.0F, 12);
      const LayerNorm norm{view(scale), view(shift), 1e-6F};
      Ref ref;
      TestCpu cpu(isa, 2, {.max_rows = 99, .max_in = in, .max_out = desc.out});
      const TestLinear reference = pack(ref, desc, w, w.bias.data());
      const TestLinear packed = pack(*cpu, desc, w, w.bias.data());
      for (const int64_t rows : kRows) {
        TestMat x = stream(rows, in, 13);
        TestMat expected(DType::f32, rows, desc.out);
        TestMat found(DType::f32, rows, desc.out);
        layer_norm_linear(ref, x.f32(), norm, reference.linear, expected.act());
        layer_norm_linear(*cpu, x.f32(), norm, packed.linear, found.act());
        ASSERT_TRUE(close(found, expected, tolerance(act, DType::f32))) << rows << " x " << in;
      }
    }
  });
}

TEST(LayerNormLinearGelu, AgreesWithTheReferenceMergedOrNot) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    const int64_t width = 19;
    for (const int64_t merge : {1, 4}) {
      const int64_t in = width * merge;
      const LinearDesc desc{.out = 67, .in = in, .weight = weight, .activation = act};
      const TestWeight w(desc, 14);
      Ref ref;
      TestCpu cpu(isa, 2, {.max_rows = 99, .max_in = in, .max_out = desc.out});
      const TestLinear reference = pack(ref, desc, w, w.bias.data());
      const TestLinear packed = pack(*cpu, desc, w, w.bias.data());
      for (const int64_t norm_width : {width, in}) {
        const std::vector<float> scale = vector_of(norm_width, 1.0F, 15);
        const std::vector<float> shift = vector_of(norm_width, 0.0F, 16);
        const LayerNorm norm{view(scale), view(shift), 1e-6F};
        for (const int64_t rows : kRows) {
          TestMat x = stream(rows * merge, width, 17, /*gap=*/0);
          for (const Gelu gelu : {Gelu::tanh, Gelu::erf}) {
            TestMat expected(act_dtype(act), rows, desc.out);
            TestMat found(act_dtype(act), rows, desc.out);
            layer_norm_linear_gelu(ref, x.f32(), norm, reference.linear, gelu, expected.act());
            layer_norm_linear_gelu(*cpu, x.f32(), norm, packed.linear, gelu, found.act());
            ASSERT_TRUE(close(found, expected, tolerance(act, act_dtype(act))))
                << rows << " rows, merge " << merge << ", norm over " << norm_width;
          }
        }
      }
    }
  });
}

TEST(NormLinear, RowsHaveTheSameBitsInAnyCompanyAndOnAnyNumberOfThreads) {
  for (const Isa isa : supported_isas()) {
    for (const ActFormat act : kActFormats) {
      const int64_t in = 99;
      const LinearDesc desc{.out = 86, .in = in, .activation = act};
      LinearDesc gated = desc;
      gated.kind = LinearKind::gate_up;
      const OperatorShapes shapes{.max_rows = 33, .max_in = in, .max_out = desc.out};
      const TestWeight w(desc, 18);
      const std::vector<float> scale = vector_of(in, 1.0F, 19);
      const std::vector<float> shift = vector_of(in, 0.0F, 20);
      const RmsNorm rms{view(scale), 1e-6F};
      const LayerNorm layer{view(scale), view(shift), 1e-6F};
      TestCpu packer(isa, 1, shapes);
      const TestLinear packed = pack(*packer, desc, w, w.bias.data());
      const TestLinear gate_up = pack(*packer, gated, w);
      TestMat x = stream(33, in, 21);
      expect_rows_independent(
          isa, shapes, x, DType::f32, desc.out, [&](Cpu& cpu, TestMat& some, TestMat& y) {
            rms_norm_linear(cpu, {.prompt = some.rows()}, some.f32(), rms, packed.linear, y.act());
          });
      expect_rows_independent(isa, shapes, x, DType::f32, desc.out / 2,
                              [&](Cpu& cpu, TestMat& some, TestMat& y) {
                                rms_norm_gate_up_silu(cpu, {.generated = some.rows()}, some.f32(),
                                                      rms, gate_up.linear, y.act());
                              });
      expect_rows_independent(
          isa, shapes, x, DType::f32, desc.out, [&](Cpu& cpu, TestMat& some, TestMat& y) {
            layer_norm_linear_gelu(cpu, some.f32(), layer, packed.linear, Gelu::erf, y.act());
          });
    }
  }
}

TEST(NormLinear, NotANumberReachesAllOfItsRowAndNoOther) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    LinearDesc desc{.out = 38, .in = 19, .weight = weight, .activation = act};
    const TestWeight w(desc, 22);
    const std::vector<float> ones(19, 1.0F);
    TestCpu cpu(isa, 1, {.max_rows = 3, .max_in = 19, .max_out = 38});
    const TestLinear plain = pack(*cpu, desc, w);
    desc.kind = LinearKind::gate_up;
    const TestLinear gate_up = pack(*cpu, desc, w);
    TestMat x = stream(3, 19, 23);
    x.set(1, 7, std::numeric_limits<float>::quiet_NaN());
    TestMat y(act_dtype(act), 3, 38);
    TestMat gated(act_dtype(act), 3, 19);
    const LayerNorm norm{view(ones), view(ones), 1e-6F};
    for (const Gelu gelu : {Gelu::tanh, Gelu::erf}) {
      layer_norm_linear_gelu(*cpu, x.f32(), norm, plain.linear, gelu, y.act());
      rms_norm_gate_up_silu(*cpu, {.prompt = 3}, x.f32(), {view(ones), 1e-6F}, gate_up.linear,
                            gated.act());
      for (int64_t r = 0; r < 3; ++r) {
        for (int64_t c = 0; c < 38; ++c) ASSERT_EQ(std::isnan(y.at(r, c)), r == 1);
        for (int64_t c = 0; c < 19; ++c) ASSERT_EQ(std::isnan(gated.at(r, c)), r == 1);
      }
    }
  });
}

/// f of Cpu on one value, by a 1×1 Linear behind a norm that passes `bias` through.
class Activation : public testing::Test {
 protected:
  template <class Function>
  static void expect_function(Gelu gelu, const Function& exact) {
    for (const Isa isa : supported_isas()) {
      std::vector<float> values;
      for (int i = -1600; i <= 1600; ++i) values.push_back(static_cast<float>(i) / 100.0F);
      const auto n = static_cast<int64_t>(values.size());
      const LinearDesc desc{
          .out = n, .in = 2, .weight = WeightFormat::f32, .activation = ActFormat::f32};
      TestCpu cpu(isa, 1, {.max_rows = 1, .max_in = 2, .max_out = n});
      Arena arena = std::move(*Arena::create("w", packed_bytes(*cpu, desc)));
      const std::vector<float> zeros(static_cast<size_t>(2 * n), 0.0F);
      const auto read = [&](int64_t first, int64_t) { return zeros.data() + 2 * first; };
      const Linear l = pack_linear(*cpu, desc, read, values.data(), arena);
      const std::vector<float> ones = {1.0F, 1.0F};
      TestMat x = TestMat::normal(DType::f32, 1, 2, 1);
      TestMat y(DType::f32, 1, n);
      layer_norm_linear_gelu(*cpu, x.f32(), {view(ones), view(ones), 1e-6F}, l, gelu, y.act());
      for (int64_t i = 0; i < n; ++i) {
        const double v = values[static_cast<size_t>(i)];
        ASSERT_NEAR(y.at(0, i), exact(v), 3e-7 * std::abs(v) + 1e-30) << v << isa_name(isa);
      }
    }
  }
};

TEST_F(Activation, GeluTanhIsAccurateEverywhere) {
  expect_function(Gelu::tanh, [](double v) {
    return 0.5 * v * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (v + 0.044715 * v * v * v)));
  });
}

TEST_F(Activation, GeluErfIsAccurateEverywhere) {
  expect_function(Gelu::erf, [](double v) { return 0.5 * v * std::erfc(-v / std::sqrt(2.0)); });
}

}  // namespace
}  // namespace qvl

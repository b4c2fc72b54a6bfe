#include "kernels/linear.h"

#include "kernels/kernel_testing.h"

namespace qvl {
namespace {

struct Size {
  int64_t rows;
  int64_t in;
  int64_t out;
};
constexpr Size kSizes[] = {{1, 1, 1},     {19, 99, 19},  {7, 19, 99},  {2, 989, 65},
                           {13, 600, 33}, {99, 64, 130}, {201, 37, 16}};

OperatorShapes shapes_of(const Size& size) {
  return {.max_rows = size.rows, .max_in = size.in, .max_out = size.out};
}

/// Same sums in another order; a result rounded to bf16 may fall to the other side.
double tolerance(DType y) { return y == DType::bf16 ? 1e-3 : 1e-6; }

TEST(Linear, AgreesWithTheReferenceForAllFormatsAndAwkwardSizes) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    for (const Size& size : kSizes) {
      SCOPED_TRACE(testing::Message() << size.rows << "x" << size.in << "x" << size.out);
      const LinearDesc desc{.out = size.out, .in = size.in, .weight = weight, .activation = act};
      const TestWeight w(desc, 1);
      TestMat x = TestMat::normal(act_dtype(act), size.rows, size.in, 2);
      Ref ref;
      TestCpu cpu(isa, 2, shapes_of(size));
      for (const bool with_bias : {false, true}) {
        const float* bias = with_bias ? w.bias.data() : nullptr;
        const TestLinear reference = pack(ref, desc, w, bias);
        const TestLinear packed = pack(*cpu, desc, w, bias);
        for (const DType y_type : {DType::f32, DType::bf16}) {
          TestMat expected(y_type, size.rows, size.out);
          TestMat found(y_type, size.rows, size.out);
          linear(ref, {.prompt = size.rows}, x.act(), reference.linear, expected.act());
          linear(*cpu, {.prompt = size.rows}, x.act(), packed.linear, found.act());
          ASSERT_TRUE(close(found, expected, tolerance(y_type)));
        }
      }
    }
  });
}

TEST(Linear, Float32IsWithinOneInAMillionOfDoublePrecision) {
  const Size size{9, 6144, 48};
  for (const Isa isa : supported_isas()) {
    for (const WeightFormat weight : kWeightFormats) {
      const LinearDesc desc{
          .out = size.out, .in = size.in, .weight = weight, .activation = ActFormat::f32};
      const TestWeight w(desc, 3);
      TestMat x = TestMat::normal(DType::f32, size.rows, size.in, 4);
      TestCpu cpu(isa, 2, shapes_of(size));
      const TestLinear packed = pack(*cpu, desc, w);
      TestMat y(DType::f32, size.rows, size.out);
      linear(*cpu, {.prompt = size.rows}, x.act(), packed.linear, y.act());
      double error = 0.0;
      double norm = 0.0;
      for (int64_t r = 0; r < size.rows; ++r) {
        for (int64_t n = 0; n < size.out; ++n) {
          double sum = 0.0;
          for (int64_t k = 0; k < size.in; ++k) sum += double{x.at(r, k)} * double{w.at(n, k)};
          error += (y.at(r, n) - sum) * (y.at(r, n) - sum);
          norm += sum * sum;
        }
      }
      EXPECT_LE(std::sqrt(error / norm), 1e-6) << isa_name(isa);
    }
  }
}

TEST(Linear, SumsAreLiteral) {
  const std::vector<float> w = {1, 2, 3, 4, 5, 6};  // 2 rows of 3
  const std::vector<float> bias = {0.5F, -0.5F};
  for (const Isa isa : supported_isas()) {
    TestCpu cpu(isa, 1, {.max_rows = 1, .max_in = 3, .max_out = 2});
    const LinearDesc desc{
        .out = 2, .in = 3, .weight = WeightFormat::f32, .activation = ActFormat::f32};
    Arena arena = std::move(*Arena::create("w", packed_bytes(*cpu, desc)));
    const auto read = [&](int64_t first, int64_t) { return w.data() + first * 3; };
    const Linear l = pack_linear(*cpu, desc, read, bias.data(), arena);
    float x[] = {1, 10, 100};
    float y[2] = {};
    linear(*cpu, {.generated = 1}, {x, DType::f32, 1, 3, 3}, l, {y, DType::f32, 1, 2, 2});
    EXPECT_EQ(y[0], 321.5F);
    EXPECT_EQ(y[1], 653.5F);  // 654 - 0.5
    linear_residual(*cpu, {.generated = 1}, {x, DType::f32, 1, 3, 3}, l, {y, 1, 2, 2});
    EXPECT_EQ(y[0], 643.0F);
  }
}

TEST(Linear, RowsHaveTheSameBitsInAnyCompanyAndOnAnyNumberOfThreads) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    // 1100 inputs are three chunks of sums, the last one partial.
    const LinearDesc desc{.out = 83, .in = 1101, .weight = weight, .activation = act};
    const OperatorShapes shapes{.max_rows = 33, .max_in = desc.in, .max_out = desc.out};
    const TestWeight w(desc, 5);
    TestMat x = TestMat::normal(act_dtype(act), 33, desc.in, 6);
    TestCpu packer(isa, 1, shapes);
    const TestLinear packed = pack(*packer, desc, w, w.bias.data());
    expect_rows_independent(
        isa, shapes, x, DType::f32, desc.out, [&](Cpu& cpu, TestMat& some, TestMat& y) {
          // Roles do not matter to a backend whose kernels are the same.
          const int64_t generated = some.rows() / 2;
          linear(cpu, {some.rows() - generated, generated}, some.act(), packed.linear, y.act());
        });
  });
}

TEST(Linear, LongInputsAreSplitWithoutATrace) {
  // More rows than are prepared at a time (960), and more than a thread sums at a time (192).
  const Size size{1000, 37, 20};
  for (const Isa isa : supported_isas()) {
    const LinearDesc desc{.out = size.out, .in = size.in};
    const TestWeight w(desc, 7);
    TestMat x = TestMat::normal(DType::bf16, size.rows, size.in, 8);
    TestCpu cpu(isa, 3, shapes_of(size));
    const TestLinear packed = pack(*cpu, desc, w);
    TestMat all(DType::f32, size.rows, size.out);
    linear(*cpu, {.prompt = size.rows}, x.act(), packed.linear, all.act());
    for (const int64_t r : {0, 191, 192, 499, 500, 959, 960, 999}) {
      TestMat one = x.pick({r});
      TestMat y(DType::f32, 1, size.out);
      linear(*cpu, {.prompt = 1}, one.act(), packed.linear, y.act());
      EXPECT_TRUE(same_bits(y, 0, all, r));
    }
  }
}

struct Int4Size {
  int64_t rows;
  int64_t in;
  int64_t out;
  int64_t group;
};
/// Groups that end with the chunks of sums, inside them, beyond them and with the row.
constexpr Int4Size kInt4Sizes[] = {{1, 8, 1, 8},       {19, 96, 19, 32},   {2, 1096, 65, 1096},
                                   {7, 1536, 40, 768}, {13, 640, 33, 128}, {99, 200, 130, 24},
                                   {201, 64, 16, 64}};

/// body(isa, desc, rows of x) for all sizes of 4-bit weights.
template <class Body>
void for_all_int4(const Body& body) {
  for (const Isa isa : supported_isas()) {
    for (const ActFormat act : kActFormats) {
      for (const Int4Size& size : kInt4Sizes) {
        SCOPED_TRACE(testing::Message()
                     << isa_name(isa) << ", activation format " << static_cast<int>(act) << ", "
                     << size.rows << "x" << size.in << "x" << size.out << " by " << size.group);
        body(isa,
             LinearDesc{.out = size.out,
                        .in = size.in,
                        .weight = WeightFormat::int4,
                        .activation = act,
                        .group_size = size.group},
             size.rows);
      }
    }
  }
}

TEST(LinearInt4, AgreesWithTheReferenceAndWithTheWeightsItStandsFor) {
  for_all_int4([](Isa isa, const LinearDesc& desc, int64_t rows) {
    const TestWeight w(desc, 21);
    TestMat x = TestMat::normal(act_dtype(desc.activation), rows, desc.in, 22);
    Ref ref;
    TestCpu cpu(isa, 2, {.max_rows = rows, .max_in = desc.in, .max_out = desc.out});
    ASSERT_TRUE(keeps_int4(*cpu, desc));
    const TestLinear reference = pack(ref, desc, w, w.bias.data());
    const TestLinear packed = pack(*cpu, desc, w, w.bias.data());
    TestMat expected(DType::f32, rows, desc.out);
    TestMat found(DType::f32, rows, desc.out);
    linear(ref, {.prompt = rows}, x.act(), reference.linear, expected.act());
    linear(*cpu, {.prompt = rows}, x.act(), packed.linear, found.act());
    EXPECT_TRUE(close(found, expected, 2e-6));
    TestMat exact(DType::f32, rows, desc.out);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t n = 0; n < desc.out; ++n) {
        double sum = double{w.bias[static_cast<size_t>(n)]};
        for (int64_t k = 0; k < desc.in; ++k) sum += double{x.at(r, k)} * double{w.at(n, k)};
        exact.set(r, n, static_cast<float>(sum));
      }
    }
    EXPECT_TRUE(close(found, exact, 2e-6));
  });
}

TEST(LinearInt4, RowsHaveTheSameBitsInAnyCompanyAndOnAnyNumberOfThreads) {
  for (const Isa isa : supported_isas()) {
    for (const ActFormat act : kActFormats) {
      const LinearDesc desc{.out = 83,
                            .in = 1096,
                            .weight = WeightFormat::int4,
                            .activation = act,
                            .group_size = 136};
      const OperatorShapes shapes{.max_rows = 33, .max_in = desc.in, .max_out = desc.out};
      const TestWeight w(desc, 23);
      TestMat x = TestMat::normal(act_dtype(act), 33, desc.in, 24);
      TestCpu packer(isa, 1, shapes);
      const TestLinear packed = pack(*packer, desc, w, w.bias.data());
      expect_rows_independent(
          isa, shapes, x, DType::f32, desc.out, [&](Cpu& cpu, TestMat& some, TestMat& y) {
            linear(cpu, {.prompt = some.rows()}, some.act(), packed.linear, y.act());
          });
    }
  }
}

TEST(LinearInt4, GroupsThatCutAWordAreNotKept) {
  TestCpu cpu(Isa::avx2, 1, {.max_rows = 1, .max_in = 64, .max_out = 16});
  EXPECT_TRUE(keeps_int4(*cpu, {.out = 16, .in = 64, .group_size = 8}));
  EXPECT_FALSE(keeps_int4(*cpu, {.out = 16, .in = 64, .group_size = 12}));
  EXPECT_FALSE(keeps_int4(*cpu, {.out = 16, .in = 68, .group_size = 32}));
}

TEST(LinearResidual, AddsTheFinishedSumToTheStream) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    const Size size{19, 99, 65};
    const LinearDesc desc{.out = size.out, .in = size.in, .weight = weight, .activation = act};
    const TestWeight w(desc, 9);
    TestMat a = TestMat::normal(act_dtype(act), size.rows, size.in, 10);
    const TestMat before = TestMat::normal(DType::f32, size.rows, size.out, 11);
    TestCpu cpu(isa, 2, shapes_of(size));
    const TestLinear packed = pack(*cpu, desc, w, w.bias.data());
    TestMat sums(DType::f32, size.rows, size.out);
    linear(*cpu, {.prompt = size.rows}, a.act(), packed.linear, sums.act());
    TestMat expected = before;
    for (int64_t r = 0; r < size.rows; ++r) {
      for (int64_t n = 0; n < size.out; ++n) expected.set(r, n, before.at(r, n) + sums.at(r, n));
    }
    TestMat x = before;
    linear_residual(*cpu, {.prompt = size.rows}, a.act(), packed.linear, x.f32());
    for (int64_t r = 0; r < size.rows; ++r) ASSERT_TRUE(same_bits(x, r, expected, r));
  });
}

TEST(GatherRows, GivesTheRowsOfWExactly) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    for (const int64_t in : {1, 64, 99}) {
      for (const LinearKind kind : {LinearKind::plain, LinearKind::gate_up}) {
        const LinearDesc desc{
            .out = 74, .in = in, .weight = weight, .activation = act, .kind = kind};
        const TestWeight w(desc, 12);
        TestCpu cpu(isa, 3, {.max_rows = 5, .max_in = in, .max_out = desc.out});
        const TestLinear packed = pack(*cpu, desc, w);
        const std::vector<int32_t> ids = {73, 0, 36, 37, 16};
        TestMat x(DType::f32, 5, in);
        gather_rows(*cpu, {ids.data(), 5}, packed.linear, x.f32());
        for (int64_t r = 0; r < 5; ++r) {
          for (int64_t k = 0; k < in; ++k) {
            ASSERT_EQ(x.at(r, k), w.at(ids[static_cast<size_t>(r)], k)) << r << ", " << k;
          }
        }
      }
    }
  });
}

TEST(Isa, DetectedOneHasANameAndATable) {
  const Result<Isa> isa = detect_isa();
  ASSERT_TRUE(isa);
  EXPECT_EQ(isa_name(Isa::avx2), "avx2");
  EXPECT_EQ(isa_name(Isa::avx512), "avx512");
  EXPECT_EQ(isa_name(Isa::avx512_bf16), "avx512_bf16");
  EXPECT_GE(supported_isas().size(), 1U);
}

}  // namespace
}  // namespace qvl

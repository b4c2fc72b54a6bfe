// Products with 4-bit weights on the Cuda backend: against the reference backend, against the same
// weights as bfloat16 where they are widened, and a row alone against the row among others.

#include <algorithm>
#include <vector>

#include "gpu_testing.h"
#include "kernels/norm_linear.h"

namespace qvl {
namespace {

constexpr double kSumTolerance = 1e-5;     // the same products in another order
constexpr double kHalfTolerance = 4e-3;    // results or weights rounded to bfloat16
constexpr double kNormedTolerance = 8e-3;  // and normed ones; 0.0059 for two outputs

struct Shape {
  int64_t out;
  int64_t in;
};
constexpr Shape kShapes[] = {{2, 64}, {48, 136}, {130, 200}, {1000, 2048}, {48, 4104}};
constexpr int64_t kGroups[] = {32, 64, 128};
constexpr int64_t kRows[] = {1, 2, 7, 8, 9, 16, 17, 33, 64, 65, 130};

LinearDesc desc_of(const Shape& s, int64_t group, LinearKind kind = LinearKind::plain) {
  return {.out = s.out,
          .in = s.in,
          .weight = WeightFormat::int4,
          .activation = ActFormat::bf16,
          .kind = kind,
          .group_size = group};
}

std::vector<RowRoles> roles_of(int64_t rows) {
  std::vector<RowRoles> out{{.prompt = rows}, {.generated = rows}};
  if (rows > 2) out.push_back({.prompt = rows / 3, .generated = rows - rows / 3});
  return out;
}

/// Calls body(desc) for every shape and group size.
template <class Body>
void for_all_shapes(const Body& body) {
  for (const Shape& s : kShapes) {
    for (const int64_t group : kGroups) {
      SCOPED_TRACE(testing::Message() << s.out << " × " << s.in << ", groups of " << group);
      body(desc_of(s, group));
    }
  }
}

TEST(GpuInt4, IsTheReferencesForEveryRoleAndNumberOfRows) {
  for_all_shapes([](const LinearDesc& desc) {
    TestGpu gpu;
    Ref ref;
    ASSERT_TRUE(keeps_int4(*gpu, desc));
    const TestWeight weight(desc, 1);
    const Linear w = gpu.put_linear(desc, weight, true);
    const TestLinear expected_w = pack(ref, desc, weight, weight.bias.data());
    TestMat x = TestMat::normal(DType::bf16, 130, desc.in, 2);
    const ActMat dx = gpu.put(x);
    TestMat y(DType::f32, 130, desc.out);
    linear(ref, {.prompt = 130}, x.act(), expected_w.linear, y.act());
    for (const int64_t rows : kRows) {
      std::vector<int64_t> ids(static_cast<size_t>(rows));
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
      const TestMat expected = y.pick(ids);
      for (const RowRoles roles : roles_of(rows)) {
        SCOPED_TRACE(testing::Message() << roles.prompt << " + " << roles.generated << " rows");
        for (const DType type : {DType::bf16, DType::f32}) {
          const ActMat dy = gpu.room(type, rows, desc.out);
          linear(*gpu, roles, dx.slice_rows(0, rows), w, dy);
          const bool is_exact = type == DType::f32 && roles.prompt == 0;
          EXPECT_TRUE(close(gpu.get(dy), expected, is_exact ? kSumTolerance : kHalfTolerance));
        }
      }
    }
    TestMat sum = TestMat::normal(DType::f32, 130, desc.out, 3);
    const Mat<float> dsum = gpu.put_floats(sum);
    linear_residual(ref, {.generated = 130}, x.act(), expected_w.linear, sum.f32());
    linear_residual(*gpu, {.generated = 130}, dx, w, dsum);
    EXPECT_TRUE(close(gpu.get(dsum), sum, kSumTolerance));
  });
}

TEST(GpuInt4, PromptRowsHaveTheBitsOfTheRoundedWeights) {
  for_all_shapes([](const LinearDesc& desc) {
    TestGpu gpu;
    const TestWeight weight(desc, 1);
    const Linear w = gpu.put_linear(desc, weight, true);
    std::vector<bf16> rounded;
    for (int64_t n = 0; n < desc.out; ++n) {
      for (int64_t k = 0; k < desc.in; ++k) rounded.emplace_back(weight.at(n, k));
    }
    LinearDesc half = desc;
    half.weight = WeightFormat::bf16;
    const auto read = [&](int64_t first, int64_t) -> const void* {
      return rounded.data() + first * desc.in;
    };
    const Linear expected_w = pack_linear(*gpu, half, read, w.bias, gpu.memory());
    TestMat x = TestMat::normal(DType::bf16, 65, desc.in, 2);
    const ActMat dx = gpu.put(x);
    const ActMat dy = gpu.room(DType::f32, 65, desc.out);
    linear(*gpu, {.prompt = 65}, dx, w, dy);
    const TestMat found = gpu.get(dy);
    linear(*gpu, {.prompt = 65}, dx, expected_w, dy);
    const TestMat expected = gpu.get(dy);
    for (int64_t r = 0; r < 65; ++r) ASSERT_TRUE(same_bits(found, r, expected, r));
  });
}

TEST(GpuInt4, ARowHasTheSameBitsAloneAndAmongOthers) {
  for_all_shapes([](const LinearDesc& desc) {
    TestGpu gpu;
    const TestWeight weight(desc, 1);
    const Linear w = gpu.put_linear(desc, weight, true);
    TestMat x = TestMat::normal(DType::bf16, 150, desc.in, 2);
    const ActMat dx = gpu.put(x);
    for (const bool prompt : {true, false}) {
      const auto product = [&](int64_t first, int64_t rows) {
        const ActMat y = gpu.room(DType::f32, rows, desc.out);
        const RowRoles roles = prompt ? RowRoles{.prompt = rows} : RowRoles{.generated = rows};
        linear(*gpu, roles, dx.slice_rows(first, rows), w, y);
        return gpu.get(y);
      };
      const TestMat all = product(0, 150);
      for (const int64_t rows : kRows) {
        for (const int64_t first : {int64_t{0}, int64_t{5}, 150 - rows}) {
          const TestMat some = product(first, rows);
          for (int64_t r = 0; r < rows; ++r) {
            ASSERT_TRUE(same_bits(some, r, all, first + r))
                << "rows " << first << " + " << rows << (prompt ? " prompt" : " generated");
          }
        }
      }
    }
  });
}

TEST(GpuInt4, ProductsOfNormedRowsAreTheReferencesAndHaveTheirBits) {
  for_all_shapes([](const LinearDesc& desc) {
    TestGpu gpu;
    Ref ref;
    LinearDesc gated = desc;
    gated.kind = LinearKind::gate_up;
    const TestWeight weight(desc, 1);
    const Linear w = gpu.put_linear(desc, weight, false);
    const Linear pairs = gpu.put_linear(gated, weight, false);
    const TestLinear ref_w = pack(ref, desc, weight);
    const TestLinear ref_pairs = pack(ref, gated, weight);
    Random random(5);
    std::vector<float> scale;
    for (int64_t i = 0; i < desc.in; ++i) scale.push_back(1.0F + 0.3F * random.normal());
    const RmsNorm norm{{scale.data(), desc.in}, 1e-6F};
    const RmsNorm gpu_norm{gpu.put_vector(scale), 1e-6F};
    TestMat x = TestMat::normal(DType::f32, 33, desc.in, 2);
    const Mat<float> dx = gpu.put_floats(x);
    TestMat y(DType::bf16, 33, desc.out);
    TestMat half(DType::bf16, 33, desc.out / 2);
    rms_norm_linear(ref, {.prompt = 33}, x.f32(), norm, ref_w.linear, y.act());
    rms_norm_gate_up_silu(ref, {.prompt = 33}, x.f32(), norm, ref_pairs.linear, half.act());
    const auto compute = [&](RowRoles roles) {
      const int64_t rows = roles.rows();
      const ActMat dy = gpu.room(DType::bf16, rows, desc.out);
      const ActMat dhalf = gpu.room(DType::bf16, rows, desc.out / 2);
      rms_norm_linear(*gpu, roles, dx.slice_rows(0, rows), gpu_norm, w, dy);
      rms_norm_gate_up_silu(*gpu, roles, dx.slice_rows(0, rows), gpu_norm, pairs, dhalf);
      return std::pair{gpu.get(dy), gpu.get(dhalf)};
    };
    for (const RowRoles roles : roles_of(33)) {
      SCOPED_TRACE(testing::Message() << roles.prompt << " + " << roles.generated << " rows");
      const auto found = compute(roles);
      EXPECT_TRUE(close(found.first, y, kNormedTolerance));
      EXPECT_TRUE(close(found.second, half, kNormedTolerance));
    }
    const auto all = compute({.generated = 33});
    for (const int64_t rows : {1, 2, 4, 5, 8, 9, 17}) {
      const auto some = compute({.generated = rows});
      for (int64_t r = 0; r < rows; ++r) {
        ASSERT_TRUE(same_bits(some.first, r, all.first, r)) << rows << " rows";
        ASSERT_TRUE(same_bits(some.second, r, all.second, r)) << rows << " rows";
      }
    }
    const std::vector<int32_t> picked{32, 7, 0, 19, 3};
    TestMat logits(DType::f32, 5, desc.out);
    const ActMat dlogits = gpu.room(DType::f32, 5, desc.out);
    rms_norm_head(ref, {.prompt = 5}, x.f32(), {picked.data(), 5}, norm, ref_w.linear,
                  logits.f32());
    rms_norm_head(*gpu, {.prompt = 5}, dx, {gpu.put_list(picked), 5}, gpu_norm, w,
                  dlogits.as<float>());
    EXPECT_TRUE(close(gpu.get(dlogits), logits, kNormedTolerance));
  });
}

TEST(GpuInt4, IsPackedInPiecesAsLargeAsScratchMemoryHasRoom) {
  constexpr int64_t kScratch = 40 << 10;  // four tiles of rows of 552 bytes
  Ref ref;
  for (const LinearKind kind : {LinearKind::plain, LinearKind::gate_up}) {
    for (const int64_t group : {64, 128}) {
      TestGpu gpu(kScratch);
      const LinearDesc desc = desc_of({304, 1024}, group, kind);
      const TestWeight weight(desc, 1);
      const Linear w = gpu.put_linear(desc, weight, false);
      LinearDesc plain = desc;  // what the reference has in order, pairs have alternating
      plain.kind = LinearKind::plain;
      const TestLinear expected_w = pack(ref, plain, weight);
      TestMat x = TestMat::normal(DType::bf16, 3, desc.in, 2);
      TestMat y(DType::f32, 3, desc.out);
      linear(ref, {.prompt = 3}, x.act(), expected_w.linear, y.act());
      const ActMat dy = gpu.room(DType::f32, 3, desc.out);
      linear(*gpu, {.generated = 3}, gpu.put(x), w, dy);
      const TestMat found = gpu.get(dy);
      TestMat in_order(DType::f32, 3, desc.out);
      for (int64_t r = 0; r < 3; ++r) {
        for (int64_t n = 0; n < desc.out; ++n) {
          const int64_t at = kind == LinearKind::plain ? n : n % 152 * 2 + n / 152;
          in_order.set(r, n, found.at(r, at));
        }
      }
      EXPECT_TRUE(close(in_order, y, kSumTolerance)) << group;
    }
  }
}

TEST(GpuInt4, IsKeptWhereGroupsAndRowsFit) {
  const Cuda cuda;
  EXPECT_TRUE(keeps_int4(cuda, desc_of({16, 264}, 32)));
  EXPECT_TRUE(keeps_int4(cuda, desc_of({16, 256}, 256)));
  EXPECT_FALSE(keeps_int4(cuda, desc_of({16, 256}, 16)));
  EXPECT_FALSE(keeps_int4(cuda, desc_of({16, 260}, 32)));
  EXPECT_FALSE(keeps_int4(cuda, desc_of({15, 256}, 32)));
  LinearDesc router = desc_of({16, 256}, 128);
  router.activation = ActFormat::f32;
  EXPECT_FALSE(keeps_int4(cuda, router));
  // 0.54 bytes a weight; product rows widened by prompts.
  const LinearDesc large = desc_of({4096, 4096}, 128);
  EXPECT_EQ(packed_bytes(cuda, large), 4096 * 4096 / 2048 * 1104);
  EXPECT_EQ(product_scratch_bytes(cuda, large), 4096 * 4096 * 2);
}

}  // namespace
}  // namespace qvl

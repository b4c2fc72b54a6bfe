#include "kernels/patch_embed.h"

#include "kernels/kernel_testing.h"

namespace qvl {
namespace {

std::vector<uint8_t> bytes_of(int64_t n) {
  Random random(1);
  std::vector<uint8_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<uint8_t>(random.below(256)));
  return out;
}

constexpr PixelNorm kNorm{{2.0F / 255.0F, 1.0F / 255.0F, 0.01F}, {-1.0F, -0.5F, 0.3F}};

TEST(PatchEmbed, AgreesWithTheReference) {
  for_all_formats([](Isa isa, WeightFormat weight, ActFormat act) {
    for (const int64_t in : {3, 57, 297, 1536}) {
      const LinearDesc desc{.out = 19, .in = in, .weight = weight, .activation = act};
      const TestWeight w(desc, 2);
      const std::vector<uint8_t> bytes = bytes_of(99 * (in + 5));
      Ref ref;
      TestCpu cpu(isa, 2, {.max_rows = 99, .max_in = in, .max_out = desc.out});
      const TestLinear reference = pack(ref, desc, w, w.bias.data());
      const TestLinear packed = pack(*cpu, desc, w, w.bias.data());
      for (const int64_t rows : {1, 19, 99}) {
        const Mat<const uint8_t> patches{bytes.data(), rows, in, in + 5};
        TestMat expected(DType::f32, rows, desc.out);
        TestMat found(DType::f32, rows, desc.out);
        patch_embed(ref, patches, kNorm, reference.linear, expected.f32());
        patch_embed(*cpu, patches, kNorm, packed.linear, found.f32());
        ASSERT_TRUE(close(found, expected, 1e-6)) << rows << " x " << in;
      }
    }
  });
}

TEST(PatchEmbed, RowsHaveTheSameBitsInAnyCompany) {
  for (const Isa isa : supported_isas()) {
    const LinearDesc desc{.out = 35, .in = 96};
    const TestWeight w(desc, 3);
    const std::vector<uint8_t> bytes = bytes_of(3168);
    TestCpu cpu(isa, 2, {.max_rows = 33, .max_in = 96, .max_out = 35});
    const TestLinear packed = pack(*cpu, desc, w);
    TestMat all(DType::f32, 33, 35);
    patch_embed(*cpu, {bytes.data(), 33, 96, 96}, kNorm, packed.linear, all.f32());
    for (int64_t r = 0; r < 33; ++r) {
      TestMat one(DType::f32, 1, 35);
      patch_embed(*cpu, {bytes.data() + 96 * r, 1, 96, 96}, kNorm, packed.linear, one.f32());
      ASSERT_TRUE(same_bits(one, 0, all, r));
    }
  }
}

TEST(PositionEmbedding, AddsTheFourCornersAsTheReferenceDoes) {
  for (const Isa isa : supported_isas()) {
    for (const int64_t dim : {1, 19, 99}) {
      TestMat table = TestMat::normal(DType::f32, 16, dim, 4);
      const TestMat before = TestMat::normal(DType::f32, 19, dim, 5);
      std::vector<PositionCorners> corners;
      Random random(6);
      for (int i = 0; i < 19; ++i) {
        PositionCorners c{};
        for (int j = 0; j < 4; ++j) {
          c.row[j] = static_cast<int32_t>(random.below(16));
          c.weight[j] = random.normal();
        }
        corners.push_back(c);
      }
      Ref ref;
      TestCpu cpu(isa, 2, {});
      TestMat expected = before;
      TestMat found = before;
      add_position_embedding(ref, {corners.data(), 19}, table.f32(), expected.f32());
      add_position_embedding(*cpu, {corners.data(), 19}, table.f32(), found.f32());
      for (int64_t r = 0; r < 19; ++r) ASSERT_TRUE(same_bits(found, r, expected, r));
    }
  }
}

}  // namespace
}  // namespace qvl

#include "kernels/vision_attention.h"

#include "kernels/kernel_testing.h"

namespace qvl {
namespace {

struct Angles {
  TestMat cos;
  TestMat sin;

  Angles(int64_t rows, int64_t pairs) : cos(DType::f32, rows, pairs), sin(DType::f32, rows, pairs) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < pairs; ++i) {
        const double angle = 0.37 * static_cast<double>(r) / static_cast<double>(i + 1);
        cos.set(r, i, static_cast<float>(std::cos(angle)));
        sin.set(r, i, static_cast<float>(std::sin(angle)));
      }
    }
  }
  RopeTable table() { return {cos.f32(), sin.f32()}; }
};

OperatorShapes shapes_of(int64_t rows, int64_t longest, int64_t heads, int64_t head_dim) {
  return {
      .max_rows = rows, .max_attention_len = longest, .max_heads = heads, .max_head_dim = head_dim};
}

TEST(VisionAttention, AgreesWithTheReference) {
  for (const Isa isa : supported_isas()) {
    for (const int64_t head_dim : {8, 12, 20, 64, 72}) {
      for (const DType act : {DType::f32, DType::bf16}) {
        const int64_t heads = 3;
        const std::vector<int64_t> segments = {0, 1, 20, 119, 119, 183, 312};
        const int64_t rows = segments.back();
        TestMat qkv = TestMat::normal(act, rows, 3 * heads * head_dim, 1);
        Angles angles(rows, head_dim / 2);
        TestMat expected(act, rows, heads * head_dim);
        TestMat found(act, rows, heads * head_dim);
        Ref ref;
        TestCpu cpu(isa, 2, shapes_of(rows, 129, heads, head_dim));
        vision_attention(ref, qkv.act(), heads, angles.table(), segments, expected.act());
        vision_attention(*cpu, qkv.act(), heads, angles.table(), segments, found.act());
        ASSERT_TRUE(close(found, expected, act == DType::bf16 ? 1e-3 : 2e-6))
            << isa_name(isa) << ", head_dim " << head_dim;
      }
    }
  }
}

TEST(VisionAttention, ManyKeysAgreeWithTheReference) {
  const int64_t rows = 989;
  const std::vector<int64_t> segments = {0, rows};
  TestMat qkv = TestMat::normal(DType::f32, rows, 48, 2);
  Angles angles(rows, 8);
  TestMat expected(DType::f32, rows, 16);
  Ref ref;
  vision_attention(ref, qkv.act(), 1, angles.table(), segments, expected.act());
  for (const Isa isa : supported_isas()) {
    TestCpu cpu(isa, 3, shapes_of(rows, rows, 1, 16));
    TestMat found(DType::f32, rows, 16);
    vision_attention(*cpu, qkv.act(), 1, angles.table(), segments, found.act());
    EXPECT_TRUE(close(found, expected, 2e-6)) << isa_name(isa);
  }
}

TEST(VisionAttention, ASegmentHasTheSameBitsAloneAndAmongOthersOnAnyNumberOfThreads) {
  const int64_t heads = 2;
  const int64_t head_dim = 12;
  for (const Isa isa : supported_isas()) {
    const std::vector<int64_t> segments = {0, 65, 84, 290};
    TestMat qkv = TestMat::normal(DType::bf16, 290, 3 * heads * head_dim, 3);
    Angles angles(290, head_dim / 2);
    TestMat together(DType::bf16, 290, heads * head_dim);
    {
      TestCpu cpu(isa, 1, shapes_of(290, 206, heads, head_dim));
      vision_attention(*cpu, qkv.act(), heads, angles.table(), segments, together.act());
    }
    for (const int threads : {1, 2, 3}) {
      for (size_t s = 0; s + 1 < segments.size(); ++s) {
        const int64_t first = segments[s];
        const int64_t rows = segments[s + 1] - first;
        const std::vector<int64_t> own = {0, rows};
        TestCpu cpu(isa, threads, shapes_of(rows, rows, heads, head_dim));
        TestMat alone(DType::bf16, rows, heads * head_dim);
        const RopeTable all = angles.table();
        vision_attention(*cpu, qkv.act().slice_rows(first, rows), heads,
                         {all.cos.slice_rows(first, rows), all.sin.slice_rows(first, rows)}, own,
                         alone.act());
        for (int64_t r = 0; r < rows; ++r) {
          ASSERT_TRUE(same_bits(alone, r, together, first + r)) << isa_name(isa);
        }
      }
    }
  }
}

TEST(VisionAttention, NotANumberInAQueryReachesItsRowAndNoOther) {
  const std::vector<int64_t> segments = {0, 70};
  for (const Isa isa : supported_isas()) {
    TestMat qkv = TestMat::normal(DType::f32, 70, 24, 4);
    qkv.set(66, 3, std::numeric_limits<float>::quiet_NaN());
    Angles angles(70, 4);
    TestMat out(DType::f32, 70, 8);
    TestCpu cpu(isa, 2, shapes_of(70, 70, 1, 8));
    vision_attention(*cpu, qkv.act(), 1, angles.table(), segments, out.act());
    for (int64_t r = 0; r < 70; ++r) {
      for (int64_t c = 0; c < 8; ++c) ASSERT_EQ(std::isnan(out.at(r, c)), r == 66);
    }
  }
}

TEST(VisionAttention, EqualKeysGiveTheMeanOfTheValues) {
  const std::vector<int64_t> segments = {0, 4};
  for (const Isa isa : supported_isas()) {
    TestMat qkv(DType::f32, 4, 24);
    TestMat one(DType::f32, 4, 4);
    TestMat zero(DType::f32, 4, 4);
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t c = 0; c < 24; ++c) qkv.set(r, c, c < 16 ? 0.5F : static_cast<float>(1 << r));
      for (int64_t c = 0; c < 4; ++c) {
        one.set(r, c, 1.0F);
        zero.set(r, c, 0.0F);
      }
    }
    TestMat out(DType::f32, 4, 8);
    TestCpu cpu(isa, 1, shapes_of(4, 4, 1, 8));
    vision_attention(*cpu, qkv.act(), 1, {one.f32(), zero.f32()}, segments, out.act());
    for (int64_t r = 0; r < 4; ++r) EXPECT_EQ(out.at(r, 5), 3.75F);  // (1 + 2 + 4 + 8) / 4
  }
}

}  // namespace
}  // namespace qvl

#include "kernels/features.h"

#include "kernels/kernel_testing.h"

namespace qvl {
namespace {

TEST(Features, AreSetAndAddedExactly) {
  for (const Isa isa : supported_isas()) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const int64_t cols : {1, 19, 99}) {
        TestMat features = TestMat::normal(type, 7, cols, 1);
        const TestMat before = TestMat::normal(DType::f32, 7, cols, 2);
        TestCpu cpu(isa, 2, {});
        TestMat set = before;
        TestMat added = before;
        set_features(*cpu, features.act(), set.f32());
        add_features(*cpu, features.act(), added.f32());
        for (int64_t r = 0; r < 7; ++r) {
          for (int64_t c = 0; c < cols; ++c) {
            ASSERT_EQ(set.at(r, c), features.at(r, c));
            ASSERT_EQ(added.at(r, c), before.at(r, c) + features.at(r, c));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace qvl

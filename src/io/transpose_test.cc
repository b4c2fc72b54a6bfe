#include "io/transpose.h"

#include <gtest/gtest.h>

#include <vector>

namespace qvl {
namespace {

template <class From, class To>
void check(int64_t rows, int64_t cols) {
  const int64_t from_stride = cols + 3;
  const int64_t to_stride = rows + 5;
  std::vector<From> from(static_cast<size_t>(rows * from_stride));
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<From>(i % 60'013);
  std::vector<To> to(static_cast<size_t>(cols * to_stride), To(7));
  transpose(from.data(), from_stride, rows, cols, to.data(), to_stride);
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < to_stride; ++r) {
      const To expected = r < rows ? To(from[static_cast<size_t>(r * from_stride + c)]) : To(7);
      ASSERT_EQ(to[static_cast<size_t>(c * to_stride + r)], expected)
          << rows << " x " << cols << ", row " << r << ", column " << c;
    }
  }
}

TEST(Transpose, PutsRowsInThePlaceOfColumnsAtAnySize) {
  for (const int64_t rows : {1, 7, 8, 31, 32, 33, 64, 101}) {
    for (const int64_t cols : {1, 7, 8, 9, 16, 45}) {
      check<uint16_t, uint16_t>(rows, cols);
      check<uint32_t, uint32_t>(rows, cols);
      check<uint8_t, float>(rows, cols);
    }
  }
}

}  // namespace
}  // namespace qvl

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/arena.h"
#include "core/dtype.h"
#include "core/threads.h"

namespace qvl {
namespace {

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(bf16(1.0F).bits, 0x3f80);
  EXPECT_EQ(bf16(1.00390625F).bits, 0x3f80);  // halfway between 1 and 1.0078125: to the even one
  EXPECT_EQ(bf16(1.01171875F).bits, 0x3f82);  // halfway, the even one is above
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(NAN))));
  EXPECT_TRUE(std::isinf(static_cast<float>(bf16(3.4e38F))));
}

TEST(F16, WidensNormalsSubnormalsAndInfinity) {
  EXPECT_EQ(static_cast<float>(f16{0x3c00}), 1.0F);
  EXPECT_EQ(static_cast<float>(f16{0xc000}), -2.0F);
  EXPECT_EQ(static_cast<float>(f16{0x0001}), 0x1p-24F);
  EXPECT_EQ(static_cast<float>(f16{0x7bff}), 65504.0F);
  EXPECT_TRUE(std::isinf(static_cast<float>(f16{0x7c00})));
  EXPECT_TRUE(std::isnan(static_cast<float>(f16{0x7e00})));
}

TEST(Arena, HandsOutAlignedMemoryAndRewinds) {
  Result<Arena> arena = Arena::create("test", 4096);
  ASSERT_TRUE(arena);
  auto* first = arena->take<float>(3);
  auto* second = arena->take<float>(3);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(second) % Arena::kAlignment, 0U);
  EXPECT_GE(second - first, 3);
  const int64_t mark = arena->used();
  void* third = arena->take_bytes(100);
  arena->rewind(mark);
  EXPECT_EQ(arena->take_bytes(100), third);
}

TEST(Threads, EveryItemIsVisitedOnceForAnyNumberOfThreads) {
  for (const int count : {1, 2, 3, 7}) {
    Threads threads(count);
    for (const int64_t items : {0, 1, 2, 19, 989}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(items));
      const auto visit = [&](int64_t first, int64_t last, int thread) {
        EXPECT_LT(thread, count);
        for (int64_t i = first; i < last; ++i) ++visits[static_cast<size_t>(i)];
      };
      threads.parallel_for(items, visit);
      threads.parallel_dynamic(items, 4, visit);
      for (const auto& v : visits) EXPECT_EQ(v.load(), 2);
    }
  }
}

TEST(Error, MessageIsOneLineWithWhatToDo) {
  const Error error{ErrorCode::bad_image, "found a\nnewline", "photo.png"};
  EXPECT_EQ(error.message(),
            "photo.png: the picture cannot be decoded: found a\\x0anewline; check that the file is "
            "complete; saving it again as PNG often helps");
}

}  // namespace
}  // namespace qvl

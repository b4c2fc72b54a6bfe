#include "cli/load_bar.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

TEST(LoadBarText, SaysShareBytesSpeedAndTimeLeft) {
  EXPECT_EQ(load_bar_text(0.42, 4'255'064'064, 0.851),
            "loading  42 %  1.79 of 4.26 GB  2.10 GB/s  2 s left");
  EXPECT_EQ(load_bar_text(1, 4'255'064'064, 2),
            "loading 100 %  4.26 of 4.26 GB  2.13 GB/s  0 s left");
}

TEST(LoadBarText, GuessesNoSpeedBeforeThereIsOne) {
  EXPECT_EQ(load_bar_text(0, 1'000'000'000, 5), "loading   0 %  0.00 of 1.00 GB");
  EXPECT_EQ(load_bar_text(0.5, 1'000'000'000, 0.1), "loading  50 %  0.50 of 1.00 GB");
}

TEST(LoadBarText, NeverSaysDoneBeforeItIs) {
  EXPECT_EQ(load_bar_text(0.9999, 1'000'000'000, 0), "loading  99 %  1.00 of 1.00 GB");
}

}  // namespace
}  // namespace qvl

#include "media/image_options.h"

#include <gtest/gtest.h>

#include <string>

namespace qvl {
namespace {

constexpr int64_t kToken = int64_t{32} * 32;
constexpr ImageBudgets kDefaults = {};  // 64 to 16,384 tokens, as the published checkpoints

Size scaled(Size size, const ImageOptions& options, const ImageBudgets& budgets = kDefaults) {
  const Result<Size> out = scaled_size(size, options, budgets);
  EXPECT_TRUE(out) << out.error().message();
  return out ? *out : Size{};
}

std::string refused(const ImageOptions& options, const ImageBudgets& budgets = kDefaults) {
  const Result<Size> out = scaled_size({480, 640}, options, budgets);
  if (out) return "accepted";
  EXPECT_EQ(out.error().code, ErrorCode::bad_image_options);
  return out.error().detail;
}

constexpr Size kPhoto = {3000, 4000};

TEST(ScaledSize, WithoutOptionsIsSmartResize) {
  for (const Size size : {kPhoto, Size{480, 640}, Size{20, 33}}) {
    EXPECT_EQ(scaled(size, {}), *smart_resize(size, {}));
  }
}

TEST(ScaledSize, LowDetailIsAtMost256Tokens) {
  const Size low = scaled(kPhoto, {.detail = ImageDetail::low});
  EXPECT_EQ(low, (Size{416, 576}));  // 13 x 18 = 234 tokens
  EXPECT_EQ(scaled({480, 640}, {.detail = ImageDetail::low}), (Size{416, 576}));
  EXPECT_EQ(scaled({320, 320}, {.detail = ImageDetail::low}),
            (Size{320, 320}));  // never grows to it
  EXPECT_EQ(scaled({512, 512}, {.detail = ImageDetail::low}), (Size{512, 512}));  // exactly 256
}

TEST(ScaledSize, LowDetailIsNotAboveTheLimitInForce) {
  const ImageBudgets small = {.in_force = {.min_pixels = 4 * kToken, .max_pixels = 100 * kToken}};
  EXPECT_LE(scaled(kPhoto, {.detail = ImageDetail::low}, small).pixels(), 100 * kToken);
}

TEST(ScaledSize, LowDetailLowersADefaultMinimumAboveIt) {
  const ImageBudgets fine = {.in_force = {.min_pixels = 1000 * kToken}};
  EXPECT_LE(scaled({480, 640}, {.detail = ImageDetail::low}, fine).pixels(), 256 * kToken);
}

TEST(ScaledSize, HighDetailIsTheCheckpointsOwnLimit) {
  const ImageBudgets raised = {.checkpoint = {.max_pixels = 1000 * kToken},
                               .in_force = {.max_pixels = 4000 * kToken}};
  const Size automatic = scaled(kPhoto, {}, raised);
  const Size high = scaled(kPhoto, {.detail = ImageDetail::high}, raised);
  EXPECT_GT(automatic.pixels(), 3500 * kToken);
  EXPECT_LE(high.pixels(), 1000 * kToken);
  EXPECT_GT(high.pixels(), 850 * kToken);
}

TEST(ScaledSize, NothingExceedsTheLimitInForce) {
  const ImageBudgets lowered = {.in_force = {.max_pixels = 500 * kToken}};
  const Size automatic = scaled(kPhoto, {}, lowered);
  EXPECT_EQ(scaled(kPhoto, {.detail = ImageDetail::high}, lowered), automatic);
  EXPECT_EQ(scaled(kPhoto, {.max_pixels = 9000 * kToken}, lowered), automatic);
}

TEST(ScaledSize, PixelsGoBeforeDetail) {
  const ImageOptions most = {.max_pixels = 1000 * kToken, .detail = ImageDetail::low};
  EXPECT_EQ(scaled(kPhoto, most), scaled(kPhoto, {.max_pixels = 1000 * kToken}));
  const ImageOptions least = {.min_pixels = 1000 * kToken, .detail = ImageDetail::low};
  EXPECT_GE(scaled({480, 640}, least).pixels(), 1000 * kToken);
}

TEST(ScaledSize, AMaximumLowersTheDefaultMinimum) {
  EXPECT_EQ(scaled({480, 640}, {.max_pixels = kToken}), (Size{32, 32}));
}

TEST(ScaledSize, TheLongerSideIsWithinMaxEdge) {
  EXPECT_EQ(scaled(kPhoto, {.max_edge = 1024}), (Size{768, 1024}));
  EXPECT_EQ(scaled({4000, 3000}, {.max_edge = 1024}), (Size{1024, 768}));
  EXPECT_EQ(scaled(kPhoto, {.max_edge = 1023}), (Size{736, 992}));  // whole tokens: 31
  EXPECT_EQ(scaled({480, 640}, {.max_edge = 640}), (Size{480, 640}));
  EXPECT_EQ(scaled({100, 4000}, {.max_edge = 64}), (Size{32, 64}));
  EXPECT_EQ(scaled({480, 640}, {.max_edge = 32}), (Size{32, 32}));
}

TEST(ScaledSize, MaxEdgeNeverMakesAPictureLargerThanItsPixels) {
  // 3200 x 63 within its own area is 3200 x 32: 63 is rounded down. At 3168 it would round up.
  const ImageOptions options = {.max_pixels = int64_t{3200} * 63, .max_edge = 3168};
  EXPECT_LE(scaled({630, 32'000}, options).pixels(), int64_t{3200} * 63);
}

TEST(ScaledSize, LimitsOfLessThanATokenAreErrors) {
  EXPECT_EQ(refused({.max_pixels = 1023}),
            "found max_pixels 1023, expected at least 1024, which is one image token");
  EXPECT_EQ(refused({.min_pixels = 1}),
            "found min_pixels 1, expected at least 1024, which is one image token");
  EXPECT_EQ(refused({.max_pixels = -5}),
            "found max_pixels -5, expected at least 1024, which is one image token");
  EXPECT_EQ(refused({.max_edge = 31}), "found max_edge 31, expected at least 32");
  EXPECT_EQ(refused({.max_edge = -1}), "found max_edge -1, expected at least 32");
}

TEST(ScaledSize, LimitsThatContradictEachOtherAreErrors) {
  EXPECT_EQ(refused({.min_pixels = 5000, .max_pixels = 4000}),
            "found min_pixels 5000 above max_pixels 4000");
  EXPECT_EQ(refused({.min_pixels = 2000 * kToken}, {.in_force = {.max_pixels = 1000 * kToken}}),
            "found min_pixels 2048000, expected at most 1024000, the limit in force");
  EXPECT_EQ(refused({.min_pixels = 10'000, .max_edge = 100}),
            "found min_pixels 10000, which no picture of max_edge 100 has");
  EXPECT_EQ(refused({.min_pixels = 9216, .max_edge = 100}), "accepted");
}

}  // namespace
}  // namespace qvl

#include "media/smart_resize.h"

#include <gtest/gtest.h>

#include <climits>
#include <optional>

#include "media/media_test_support.h"

namespace qvl {
namespace {

using test::read_json;
using test::source_path;

constexpr PixelBudget kVideoBudget{.min_pixels = 4096, .max_pixels = 25'165'824};

/// No value if there is an error.
std::optional<Size> image_size(int height, int width, const PixelBudget& budget = {}) {
  const Result<Size> size = smart_resize({height, width}, budget);
  return size ? std::optional(*size) : std::nullopt;
}

std::optional<Size> video_size(int frames, int height, int width,
                               const PixelBudget& budget = kVideoBudget) {
  const Result<Size> size = smart_resize_video(frames, {height, width}, 2, budget);
  return size ? std::optional(*size) : std::nullopt;
}

ErrorCode error_of(Size size, const PixelBudget& budget = {}) {
  return smart_resize(size, budget).error().code;
}

TEST(SmartResize, RoundsSidesToMultiplesOfTheFactor) {
  EXPECT_EQ(image_size(1080, 1920), (Size{1088, 1920}));
  EXPECT_EQ(image_size(4000, 3000), (Size{4000, 3008}));
  EXPECT_EQ(image_size(300, 400), (Size{288, 384}));
  EXPECT_EQ(image_size(240, 320), (Size{256, 320}));
}

TEST(SmartResize, HalvesRoundToEvenAsPythonRoundDoes) {
  EXPECT_EQ(image_size(720, 1280), (Size{704, 1280}));  // 22.5 → 22
  EXPECT_EQ(image_size(752, 1280), (Size{768, 1280}));  // 23.5 → 24
}

TEST(SmartResize, LargePicturesShrinkIntoTheBudget) {
  EXPECT_EQ(image_size(8000, 6000), (Size{4704, 3520}));
}

TEST(SmartResize, SmallPicturesGrowIntoTheBudget) {
  for (const int side : {16, 100, 224}) EXPECT_EQ(image_size(side, side), (Size{256, 256}));
  EXPECT_EQ(image_size(48, 80), (Size{224, 352}));
  EXPECT_EQ(image_size(144, 176), (Size{256, 288}));
  EXPECT_EQ(image_size(10, 500), (Size{64, 1824}));
  EXPECT_EQ(image_size(1, 1), (Size{256, 256}));
}

TEST(SmartResize, AspectRatiosUpTo200AreScaled) {
  EXPECT_TRUE(image_size(10, 2000));
  EXPECT_EQ(error_of({10, 2001}), ErrorCode::image_too_large);
  EXPECT_EQ(error_of({201, 1}), ErrorCode::image_too_large);
}

TEST(SmartResize, NoSizeIsAccident) {
  EXPECT_EQ(error_of({0, 5}), ErrorCode::bad_image);
  EXPECT_EQ(error_of({5, -1}), ErrorCode::bad_image);
  EXPECT_EQ(error_of({INT_MAX, INT_MAX}), ErrorCode::image_too_large);
  EXPECT_EQ(smart_resize_video(INT_MAX, {64, 64}, 2, kVideoBudget).error().code,
            ErrorCode::image_too_large);
}

TEST(SmartResize, TheResultNeverExceedsTheBudget) {
  // 48×80 grows to 224×352, as 256×256 is not of its shape; that is more than 65,536.
  EXPECT_EQ(error_of({48, 80}, {.min_pixels = 65'536, .max_pixels = 65'536}),
            ErrorCode::image_too_large);
  EXPECT_EQ(error_of({64, 64}, {.min_pixels = 0, .max_pixels = 1000}),
            ErrorCode::image_too_large);  // not even one block
  EXPECT_EQ(error_of({10, 10}, {.min_pixels = 0, .max_pixels = 100'000}),
            ErrorCode::image_too_large);  // rounds to nothing
}

TEST(SmartResize, ABudgetThatMakesNoSenseIsAnError) {
  EXPECT_EQ(error_of({64, 64}, {.factor = 0}), ErrorCode::bad_config);
  EXPECT_EQ(error_of({64, 64}, {.min_pixels = 2, .max_pixels = 1}), ErrorCode::bad_config);
  EXPECT_EQ(error_of({64, 64}, {.min_pixels = LLONG_MIN, .max_pixels = 0}), ErrorCode::bad_config);
  EXPECT_EQ(error_of({64, 64}, {.min_pixels = 0, .max_pixels = LLONG_MAX}), ErrorCode::bad_config);
}

TEST(SmartResizeVideo, TheBudgetCountsAllFrames) {
  EXPECT_EQ(video_size(16, 720, 1280), (Size{704, 1280}));
  EXPECT_EQ(video_size(120, 720, 1280), (Size{320, 608}));
  EXPECT_EQ(video_size(768, 1080, 1920), (Size{128, 224}));
  EXPECT_EQ(video_size(768, 360, 640), (Size{128, 224}));
  EXPECT_EQ(video_size(4, 1080, 1920), (Size{1088, 1920}));
  EXPECT_EQ(video_size(5, 360, 640), (Size{352, 640}));
}

TEST(SmartResizeVideo, AnOddFrameCountMayExceedTheBudgetAsInTheReference) {
  EXPECT_EQ(video_size(15, 1855, 1985), (Size{1248, 1312}));  // 16 frames of it are too many
  EXPECT_EQ(video_size(5, 2400, 2560), (Size{2400, 2560}));   // 4 of it fit, as 5 / 2 rounds to 2
  EXPECT_EQ(video_size(768, 6400, 32), std::nullopt);         // no whole block is small enough
}

TEST(SmartResizeVideo, FramesBelowOneBlockGrowFirst) {
  EXPECT_EQ(video_size(4, 16, 64), (Size{32, 128}));
}

TEST(SmartResizeVideo, OneFrameIsNoVideo) {
  EXPECT_EQ(smart_resize_video(1, {64, 64}, 2, kVideoBudget).error().code, ErrorCode::bad_video);
  EXPECT_EQ(smart_resize_video(-3, {64, 64}, 2, kVideoBudget).error().code, ErrorCode::bad_video);
}

TEST(SmartResize, AgreesWithTransformersOnRandomSizes) {
  const nlohmann::json samples = read_json(source_path("tests/media/processor_transformers.json"));
  ASSERT_TRUE(samples.is_object());
  ASSERT_GE(samples["image"].size(), 500U);
  for (const nlohmann::json& sample : samples["image"]) {
    std::optional<Size> expected;  // [height, width, null] is an error
    if (!sample[2].is_null()) expected = Size{sample[2], sample[3]};
    EXPECT_EQ(image_size(sample[0], sample[1]), expected) << sample.dump();
  }
  ASSERT_GE(samples["video"].size(), 200U);
  for (const nlohmann::json& sample : samples["video"]) {
    EXPECT_EQ(video_size(sample[0], sample[1], sample[2]), (Size{sample[3], sample[4]}))
        << sample.dump();
  }
}

}  // namespace
}  // namespace qvl

#include "media/video.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "media/media_test_support.h"

namespace qvl {
namespace {

namespace fs = std::filesystem;
using test::read_json;
using test::source_path;

std::vector<std::string> texts(const std::vector<double>& seconds) {
  std::vector<std::string> out;
  out.reserve(seconds.size());
  for (const double value : seconds) out.push_back(timestamp_text(value));
  return out;
}

struct Example {
  int total;
  double fps;
  std::vector<int> indices;          ///< the first ones
  std::vector<std::string> seconds;  ///< the first ones
};

TEST(SampleFrames, AgreesWithTheReferenceOnCommonVideos) {
  const std::vector<Example> examples = {
      {300, 30, {0, 16, 31, 47, 63, 79, 94, 110}, {"0.3", "1.3", "2.4", "3.4"}},
      {60, 30, {0, 20, 39, 59}, {"0.3", "1.6"}},
      {45, 15, {0, 9, 18, 26, 35, 44}, {"0.3", "1.5", "2.6"}},
      {3, 30, {0, 1, 2}, {"0.0", "0.1"}},
      {900, 29.97, {0, 15, 30, 46, 61, 76, 91, 107}, {"0.3", "1.3", "2.3", "3.3"}},
      {100, 25, {0, 14, 28, 42, 57, 71, 85, 99}, {"0.3", "1.4", "2.6", "3.7"}},
      {40, 8, {0, 4, 9, 13, 17, 22, 26, 30, 35, 39}, {"0.2", "1.4", "2.4", "3.5", "4.6"}},
  };
  for (const Example& example : examples) {
    std::vector<int> indices = sample_frames(example.total, example.fps, {});
    std::vector<double> seconds = patch_timestamps(indices, example.fps, 2);
    EXPECT_EQ(indices.back(), example.total - 1);
    ASSERT_GE(indices.size(), example.indices.size());
    ASSERT_GE(seconds.size(), example.seconds.size());
    indices.resize(example.indices.size());
    seconds.resize(example.seconds.size());
    EXPECT_EQ(indices, example.indices) << example.total << " frames";
    for (size_t i = 0; i < seconds.size(); ++i) {
      EXPECT_EQ(timestamp_text(seconds[i]), "<" + example.seconds[i] + " seconds>");
    }
  }
}

TEST(SampleFrames, AgreesWithTransformersOnRandomVideos) {
  const nlohmann::json samples = read_json(source_path("tests/media/processor_transformers.json"));
  ASSERT_TRUE(samples.is_object());
  ASSERT_GE(samples["frames"].size(), 90U);
  for (const nlohmann::json& sample : samples["frames"]) {
    const double fps = sample[1];
    const std::vector<int> indices = sample_frames(sample[0], fps, {});
    EXPECT_EQ(indices, sample[2].get<std::vector<int>>()) << sample[0] << " frames at " << fps;
    EXPECT_EQ(texts(patch_timestamps(indices, fps, 2)), sample[3].get<std::vector<std::string>>());
  }
}

TEST(SampleFrames, TheCountStaysWithinItsBounds) {
  EXPECT_EQ(sample_frames(100'000, 1, {}).size(), 768U);
  EXPECT_EQ(sample_frames(1000, 1000, {}).size(), 4U);
  EXPECT_EQ(sample_frames(2, 1, {}).size(), 2U);
  EXPECT_EQ(sample_frames(1, 1, {}), std::vector{0});
  EXPECT_TRUE(sample_frames(0, 1, {}).empty());
  EXPECT_EQ(sample_frames(1000, 30, {.max_frames = 7}).size(), 7U);
}

TEST(SampleFrames, AFrameRateThatMakesNoSenseIsHarmless) {
  EXPECT_EQ(sample_frames(1000, 0, {}).size(), 768U);  // "infinitely many" frames per second
  EXPECT_EQ(sample_frames(1000, NAN, {}).size(), 4U);
  EXPECT_EQ(sample_frames(1000, -1, {}).size(), 4U);
  EXPECT_EQ(sample_frames(1000, 1e-300, {}).size(), 768U);
}

TEST(PatchTimestamps, AnOddLastFrameIsPairedWithItself) {
  EXPECT_EQ(patch_timestamps({0, 10, 20}, 10, 2), (std::vector{0.5, 2.0}));
  EXPECT_EQ(patch_timestamps({0, 10, 20, 50}, 10, 3), (std::vector{1.0, 5.0}));
  EXPECT_TRUE(patch_timestamps({}, 10, 2).empty());
}

TEST(TimestampText, TiesGoToTheEvenDigit) {
  EXPECT_EQ(timestamp_text(0.25), "<0.2 seconds>");
  EXPECT_EQ(timestamp_text(0.75), "<0.8 seconds>");
  EXPECT_EQ(timestamp_text(1.25), "<1.2 seconds>");
  EXPECT_EQ(timestamp_text(0.35), "<0.3 seconds>");  // the double is just below
  EXPECT_EQ(timestamp_text(0), "<0.0 seconds>");
  EXPECT_EQ(timestamp_text(3599.96), "<3600.0 seconds>");
}

/// A folder of its own for each test, with pictures copied from the samples.
class FrameFolder : public testing::Test {
 protected:
  FrameFolder()
      : folder_(fs::temp_directory_path() /
                ("qvl_video_test_" + std::to_string(getpid()) + "_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(folder_);
  }
  ~FrameFolder() override { fs::remove_all(folder_); }

  void add(const std::string& name, const std::string& sample) {
    fs::copy_file(source_path("tests/media/pictures/" + sample), folder_ / name);
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  Result<Video> load(double fps = 1, const VideoLimits& limits = {}) {
    return load_frame_folder(folder_.string(), fps, {}, limits);
  }

  fs::path folder_;
};

TEST_F(FrameFolder, PicturesComeInBytewiseOrderOfTheirNames) {
  add("b.png", "rgb.png");
  add("a.JPG", "grey.jpg");
  add("B.jpeg", "s420.jpg");
  const Result<Video> video = load();
  ASSERT_TRUE(video) << video.error().message();
  EXPECT_EQ(video->frame_indices, (std::vector{0, 1, 2}));
  EXPECT_EQ(video->source_fps, 1);
  const std::vector<std::string> expected = {"s420.jpg", "grey.jpg", "rgb.png"};
  for (size_t i = 0; i < expected.size(); ++i) {
    const Result<Image> image = load_image(source_path("tests/media/pictures/" + expected[i]));
    ASSERT_TRUE(image);
    EXPECT_EQ(video->frames[i].rgb, image->rgb) << expected[i];
  }
}

TEST_F(FrameFolder, OnlyPicturesAreFrames) {
  add("1.png", "rgb.png");
  add("2.png", "rgb.png");
  add("noextension", "rgb.png");
  write("3.txt", "not a frame");
  fs::create_directory(folder_ / "4.png");
  const Result<Video> video = load();
  ASSERT_TRUE(video) << video.error().message();
  EXPECT_EQ(video->frames.size(), 2U);
}

TEST_F(FrameFolder, OnlySampledFramesAreDecoded) {
  for (const char* name : {"0.png", "2.png", "3.png", "5.png"}) add(name, "rgb.png");
  write("1.png", "damaged");
  write("4.png", "damaged");
  const Result<Video> video = load(/*fps=*/1000);  // the minimum of 4 frames: 0, 2, 3, 5
  ASSERT_TRUE(video) << video.error().message();
  EXPECT_EQ(video->frame_indices, (std::vector{0, 2, 3, 5}));
}

TEST_F(FrameFolder, FramesOfUnequalSizeAreNamed) {
  add("1.png", "rgb.png");
  add("2.jpg", "exif1.jpg");
  const Result<Video> video = load();
  ASSERT_FALSE(video);
  EXPECT_EQ(video.error().code, ErrorCode::bad_video);
  EXPECT_EQ(video.error().detail,
            "found 1.png of 61x43 pixels and 2.jpg of 24x16 pixels, expected frames of equal size");
  EXPECT_EQ(video.error().field, folder_.string());
}

TEST_F(FrameFolder, ADamagedFrameIsNamed) {
  add("1.png", "rgb.png");
  write("2.png", "damaged");
  const Result<Video> video = load();
  ASSERT_FALSE(video);
  EXPECT_EQ(video.error().field, (folder_ / "2.png").string());
}

TEST_F(FrameFolder, LimitsHoldBeforeAllIsDecoded) {
  for (const char* name : {"1.png", "2.png", "3.png"}) add(name, "rgb.png");
  EXPECT_EQ(load(1, {.max_source_frames = 2}).error().code, ErrorCode::bad_video);
  constexpr int64_t kPixels = int64_t{3} * 61 * 43;
  EXPECT_EQ(load(1, {.max_sampled_pixels = kPixels - 1}).error().code, ErrorCode::image_too_large);
  EXPECT_TRUE(load(1, {.max_source_frames = 3, .max_sampled_pixels = kPixels}));
}

TEST_F(FrameFolder, WhatIsNoVideoSaysSo) {
  EXPECT_EQ(load().error().code, ErrorCode::bad_video);  // empty
  add("1.png", "rgb.png");
  EXPECT_EQ(load().error().code, ErrorCode::bad_video);  // one picture
  for (const double fps : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    EXPECT_EQ(load(fps).error().code, ErrorCode::bad_video) << fps;
  }
  const auto load_path = [](const fs::path& path) {
    return load_frame_folder(path.string(), 1, {}).error().code;
  };
  EXPECT_EQ(load_path(folder_ / "1.png"), ErrorCode::bad_video);
  EXPECT_EQ(load_path(folder_ / "missing"), ErrorCode::file_not_found);
}

}  // namespace
}  // namespace qvl

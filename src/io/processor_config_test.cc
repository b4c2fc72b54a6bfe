#include "io/processor_config.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

template <class T>
std::string problem(const Result<T>& config, ErrorCode code = ErrorCode::bad_config) {
  if (config) return "none";
  EXPECT_EQ(config.error().code, code) << config.error().message();
  return config.error().detail;
}

std::string image_problem(std::string_view text, ErrorCode code = ErrorCode::bad_config) {
  return problem(parse_image_processor(text), code);
}

TEST(ImageProcessor, ReadsThePublishedFile) {
  const Result<ProcessorConfig> config = parse_image_processor(
      R"({"size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16,
          "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5, 0.5, 0.5],
          "image_std": [0.5, 0.5, 0.5], "processor_class": "Qwen3VLProcessor",
          "image_processor_type": "Qwen2VLImageProcessorFast"})");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->min_pixels, 65'536);
  EXPECT_EQ(config->max_pixels, 16'777'216);
  EXPECT_EQ(config->patch_size, 16);
  EXPECT_EQ(config->image_mean, (std::array{0.5F, 0.5F, 0.5F}));
  EXPECT_EQ(config->rescale_factor, 1.0F / 255.0F);
}

TEST(ImageProcessor, EveryFieldIsRead) {
  const Result<ProcessorConfig> config = parse_image_processor(
      R"({"size": {"longest_edge": 200, "shortest_edge": 100}, "patch_size": 14,
          "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "rescale_factor": 0.5})");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->min_pixels, 100);
  EXPECT_EQ(config->max_pixels, 200);
  EXPECT_EQ(config->patch_size, 14);
  EXPECT_EQ(config->image_mean, (std::array{0.1F, 0.2F, 0.3F}));
  EXPECT_EQ(config->image_std, (std::array{1.0F, 2.0F, 3.0F}));
  EXPECT_EQ(config->rescale_factor, 0.5F);
}

TEST(ImageProcessor, PixelLimitsAtTheTopLevelOverrideTheSize) {
  const Result<ProcessorConfig> config = parse_image_processor(
      R"({"min_pixels": 10, "max_pixels": 20, "size": {"longest_edge": 200, "shortest_edge": 100}})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->min_pixels, 10);
  EXPECT_EQ(config->max_pixels, 20);
  EXPECT_EQ(image_problem(R"({"min_pixels": 1000, "size": {"longest_edge": 200}})"),
            "size: found an object, expected the smallest area, 1000, not above the largest, 200");
}

TEST(ImageProcessor, WhatIsLeftOutHasTheDefaultOfItsClass) {
  const Result<ProcessorConfig> image = parse_image_processor("{}");
  ASSERT_TRUE(image);
  EXPECT_EQ(image->min_pixels, 65'536);
  EXPECT_EQ(image->max_pixels, 16'777'216);
  EXPECT_EQ(image->patch_size, 16);
  EXPECT_EQ(image->image_std, (std::array{0.5F, 0.5F, 0.5F}));
}

TEST(ImageProcessor, NumbersAreInRange) {
  EXPECT_EQ(image_problem(R"({"patch_size": 0})"),
            "patch_size: found 0, expected a whole number from 1 to 64");
  EXPECT_EQ(image_problem(R"({"size": {"longest_edge": -1}})"),
            "size.longest_edge: found -1, expected a whole number from 1 to 1099511627776");
  EXPECT_EQ(image_problem(R"({"max_pixels": 1e6})"),
            "max_pixels: found 1000000.0, expected a whole number from 1 to 1099511627776");
  EXPECT_EQ(image_problem(R"({"image_mean": [0.5, 0.5]})"),
            "image_mean: found a list of 2, expected a list of 3 numbers");
  EXPECT_EQ(image_problem(R"({"image_std": [0.5, 0, 0.5]})"),
            "image_std: found a list of 3, expected only numbers from 1e-06 to 1000 in it, not 0");
  EXPECT_EQ(image_problem(R"({"rescale_factor": 0})"),
            "rescale_factor: found 0, expected a number from 1e-09 to 1000");
  EXPECT_EQ(image_problem(R"({"size": 3})"), "size: found 3, expected an object");
  EXPECT_EQ(image_problem("3"), "found 3, expected an object");
  EXPECT_EQ(image_problem("{", ErrorCode::bad_json), "syntax error near byte 2");
}

TEST(ImageProcessor, StepsThatTheEngineDoesNotSkipAreUnsupported) {
  const auto unsupported = [](std::string_view text) {
    return image_problem(text, ErrorCode::unsupported_model);
  };
  EXPECT_EQ(unsupported(R"({"do_resize": false})"), "do_resize: found false, expected true");
  EXPECT_EQ(unsupported(R"({"do_rescale": false})"), "do_rescale: found false, expected true");
  EXPECT_EQ(unsupported(R"({"do_normalize": false})"), "do_normalize: found false, expected true");
  EXPECT_EQ(unsupported(R"({"do_convert_rgb": false})"),
            "do_convert_rgb: found false, expected true");
  EXPECT_EQ(unsupported(R"({"resample": 2})"), "resample: found 2, expected 3");
  EXPECT_EQ(unsupported(R"({"merge_size": 1})"), "merge_size: found 1, expected 2");
  EXPECT_EQ(unsupported(R"({"temporal_patch_size": 1})"),
            "temporal_patch_size: found 1, expected 2");
  EXPECT_EQ(image_problem(R"({"do_resize": true, "resample": 3, "do_rescale": null})"), "none");
}

TEST(VideoProcessor, ReadsThePublishedFileAndItsOwnDefaults) {
  const Result<ProcessorConfig> published =
      parse_video_processor(R"({"size": {"longest_edge": 25165824, "shortest_edge": 4096}})");
  ASSERT_TRUE(published);
  EXPECT_EQ(published->min_pixels, 4096);
  EXPECT_EQ(published->max_pixels, 25'165'824);
  EXPECT_EQ(published->fps, 2.0);
  EXPECT_EQ(published->min_frames, 4);
  EXPECT_EQ(published->max_frames, 768);
  const Result<ProcessorConfig> bare = parse_video_processor("{}");
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->min_pixels, 131'072);
  EXPECT_EQ(bare->max_pixels, 786'432);
}

TEST(VideoProcessor, ReadsTheFrameLimits) {
  const Result<ProcessorConfig> config =
      parse_video_processor(R"({"fps": 0.5, "min_frames": 2, "max_frames": 16})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->fps, 0.5);
  EXPECT_EQ(config->min_frames, 2);
  EXPECT_EQ(config->max_frames, 16);
  EXPECT_EQ(problem(parse_video_processor(R"({"fps": 0})")),
            "fps: found 0, expected a number from 0.001 to 1000");
  EXPECT_EQ(problem(parse_video_processor(R"({"min_frames": 0})")),
            "min_frames: found 0, expected a whole number from 1 to 1000000");
  EXPECT_EQ(problem(parse_video_processor(R"({"min_frames": 769})")),
            "min_frames: found 769, expected at most max_frames, 768");
}

TEST(GenerationConfig, ReadsThePublishedFile) {
  const Result<GenerationConfig> config = parse_generation_config(
      R"({"bos_token_id": 151643, "pad_token_id": 151643, "eos_token_id": [151645, 151643],
          "do_sample": true, "top_k": 20, "top_p": 0.8, "temperature": 0.7,
          "repetition_penalty": 1.0, "transformers_version": "4.56.0"})");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->eos_token_ids, (std::vector<int32_t>{151'645, 151'643}));
  EXPECT_TRUE(config->do_sample);
  EXPECT_EQ(config->top_k, 20);
  EXPECT_EQ(config->top_p, 0.8F);
  EXPECT_EQ(config->temperature, 0.7F);
  EXPECT_EQ(config->repetition_penalty, 1.0F);
  EXPECT_EQ(config->min_p, std::nullopt);
  EXPECT_EQ(config->max_new_tokens, std::nullopt);
}

TEST(GenerationConfig, ReadsTheRarerFields) {
  const Result<GenerationConfig> config = parse_generation_config(
      R"({"min_p": 0.05, "presence_penalty": 1.5, "frequency_penalty": -0.5,
          "max_new_tokens": 32768})");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->min_p, 0.05F);
  EXPECT_EQ(config->presence_penalty, 1.5F);
  EXPECT_EQ(config->frequency_penalty, -0.5F);
  EXPECT_EQ(config->max_new_tokens, 32'768);
}

TEST(GenerationConfig, OneEndTokenNeedsNoList) {
  const Result<GenerationConfig> config = parse_generation_config(R"({"eos_token_id": 7})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->eos_token_ids, std::vector<int32_t>{7});
}

TEST(GenerationConfig, AnEmptyFileAsksForNothing) {
  const Result<GenerationConfig> config = parse_generation_config("{}");
  ASSERT_TRUE(config);
  EXPECT_TRUE(config->eos_token_ids.empty());
  EXPECT_FALSE(config->do_sample);
  EXPECT_EQ(config->top_k, std::nullopt);
  EXPECT_EQ(config->top_p, std::nullopt);
  EXPECT_EQ(config->temperature, std::nullopt);
}

TEST(GenerationConfig, NumbersAreInRange) {
  const auto generation = [](std::string_view text) {
    return problem(parse_generation_config(text));
  };
  EXPECT_EQ(generation(R"({"eos_token_id": -1})"),
            "eos_token_id: found -1, expected a whole number from 0 to 2147483647");
  EXPECT_EQ(generation(R"({"eos_token_id": [1, "x"]})"),
            "eos_token_id: found a list of 2, expected only whole numbers from 0 to 2147483647 in "
            "it, not \"x\"");
  EXPECT_EQ(generation(R"({"temperature": -0.1})"),
            "temperature: found -0.1, expected a number from 0 to 100");
  EXPECT_EQ(generation(R"({"top_p": 1.5})"), "top_p: found 1.5, expected a number from 0 to 1");
  EXPECT_EQ(generation(R"({"top_k": -1})"),
            "top_k: found -1, expected a whole number from 0 to 2147483647");
  EXPECT_EQ(generation(R"({"repetition_penalty": 0})"),
            "repetition_penalty: found 0, expected a number from 0.001 to 1000");
  EXPECT_EQ(generation(R"({"max_new_tokens": 0})"),
            "max_new_tokens: found 0, expected a whole number from 1 to 2147483647");
  EXPECT_EQ(generation(R"({"do_sample": 1})"), "do_sample: found 1, expected true or false");
}

}  // namespace
}  // namespace qvl

/// Every published size in every format that is in use is recognised from its headers: nothing is
/// missing, nothing is left over, and the parameters add up to the published numbers.

#include <gtest/gtest.h>

#include <array>
#include <map>

#include "io/checkpoint.h"
#include "io/checkpoint_summary.h"
#include "io/test_folder.h"
#include "model/model_files.h"
#include "model/weights.h"
#include "published_checkpoint.h"

namespace qvl {
namespace {

using published::ConfigStyle;
using published::Format;
using published::Prefix;
using published::Spelling;
using published::Tying;

/// What the engine would load of a checkpoint, and what the checkpoint is.
struct Opened {
  ModelFiles files;
  WeightPlan plan;
  CheckpointSummary summary;  ///< of the tensors as stored

  int64_t quantised_bytes(std::string_view stored, std::string_view held) const {
    int64_t bytes = 0;
    for (const WeightPlan::Quantised& q : plan.quantised) {
      if (q.stored == stored && q.held == held) bytes += q.stored_bytes;
    }
    return bytes;
  }
  int64_t quantised_bytes() const {
    int64_t bytes = 0;
    for (const WeightPlan::Quantised& q : plan.quantised) bytes += q.stored_bytes;
    return bytes;
  }
};

Result<Opened> open(const std::string& folder) {
  Result<ModelFiles> files = open_model(folder, LoadFormat::checkpoint);
  if (!files) return files.error();
  Result<WeightPlan> plan = plan_weights(Ref{}, files->config, *files->weights, ActFormat::bf16);
  if (!plan) return plan.error();
  const auto stored = open_checkpoint(folder);
  if (!stored) return stored.error();
  CheckpointSummary summary = summarize(**stored, files->config.quantization.bits);
  return Opened{*std::move(files), *std::move(plan), std::move(summary)};
}

/// Writes the checkpoint and expects that the engine would load all of it.
void expect_loadable(std::string_view size_name, Format format, const Spelling& spelling = {},
                     std::string_view stored = "", std::string_view held = "") {
  const published::Size& size = published::size(size_name);
  const TestFolder folder;
  const published::Written written = published::write(folder.path(), size, format, spelling);
  const Result<Opened> model = open(folder.path());
  ASSERT_TRUE(model) << model.error().message();
  EXPECT_TRUE(model->plan.unused.empty()) << model->plan.unused[0];
  EXPECT_EQ(model->summary.vision_parameters, size.vision_parameters);
  EXPECT_EQ(model->summary.text_parameters, size.text_parameters);
  EXPECT_EQ(model->summary.tensors, written.tensors);
  EXPECT_EQ(model->summary.tensor_bytes, written.bytes);
  EXPECT_EQ(model->quantised_bytes(stored, held), model->quantised_bytes());
  EXPECT_EQ(model->quantised_bytes() > 0, !stored.empty());

  const ModelConfig& config = model->files.config;
  EXPECT_EQ(config.tie_word_embeddings, size.tied || spelling.tying == Tying::wrong);
  EXPECT_EQ(config.text.rope_theta, 5e6);
  EXPECT_EQ(config.text.mrope_section, (std::array{24, 20, 20}));
  EXPECT_EQ(config.text.num_experts, size.experts);
}

TEST(Published, Bf16HasTheTensorsAndTheBytesOfTheIndex) {
  for (const published::Size& size : published::sizes()) {
    const TestFolder folder;
    const published::Written written = published::write(folder.path(), size, Format::bf16);
    EXPECT_EQ(written.tensors, size.vision_tensors + size.text_tensors) << size.name;
    EXPECT_EQ(written.bytes, 2 * (size.vision_parameters + size.text_parameters)) << size.name;
  }
}

TEST(Published, EverySizeLoadsInBf16) {
  for (const published::Size& size : published::sizes()) {
    SCOPED_TRACE(size.name);
    expect_loadable(size.name, Format::bf16);
  }
}

TEST(Published, ExpertsMayBeTransposedOrOneLinearEach) {
  for (const char* size : {"30B-A3B", "235B-A22B"}) {
    SCOPED_TRACE(size);
    expect_loadable(size, Format::bf16_transposed);
    expect_loadable(size, Format::bf16_unfused);
  }
}

TEST(Published, EverySpellingIsTheSameModel) {
  for (const Prefix prefix : {Prefix::published, Prefix::flat, Prefix::language_model}) {
    for (const ConfigStyle config : {ConfigStyle::transformers4, ConfigStyle::transformers5}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(prefix) << static_cast<int>(config));
      for (const char* size : {"4B", "8B", "30B-A3B"}) {
        expect_loadable(size, Format::bf16, {prefix, config});
      }
      expect_loadable("8B", Format::fp8_block, {prefix, config}, "FP8", "BF16");
      expect_loadable("30B-A3B", Format::fp8_block, {prefix, config}, "FP8", "BF16");
      expect_loadable("8B", Format::awq, {prefix, config}, "INT4", "INT4");
    }
  }
}

TEST(Published, TyingMayStandInTheTextConfigAlone) {
  expect_loadable("2B", Format::bf16, {.tying = Tying::text_only});
  expect_loadable("8B", Format::bf16, {.tying = Tying::text_only});
}

TEST(Published, AStoredHeadWinsOverWhatTheConfigSaysOfTying) {
  expect_loadable("8B", Format::bf16, {.tying = Tying::text_wrong});
  expect_loadable("8B", Format::bf16, {.tying = Tying::wrong});
}

TEST(Published, TheOfficialFp8FilesLoad) {
  for (const published::Size& size : published::sizes()) {
    SCOPED_TRACE(size.name);
    expect_loadable(size.name, Format::fp8_block, {}, "FP8", "BF16");
  }
}

TEST(Published, OtherFp8FilesLoad) {
  for (const Format format : {Format::fp8_block_unfused, Format::fp8_block_compressed,
                              Format::fp8_tensor, Format::fp8_channel}) {
    for (const char* size : {"2B", "8B"}) {
      SCOPED_TRACE(testing::Message() << size << " format " << static_cast<int>(format));
      expect_loadable(size, format, {}, "FP8", "BF16");
    }
  }
  expect_loadable("30B-A3B", Format::fp8_channel, {}, "FP8", "BF16");
}

TEST(Published, FilesOfFourBitsLoadAndStaySo) {
  for (const Format format : {Format::awq, Format::gptq, Format::w4a16_group128,
                              Format::w4a16_group32, Format::w4a16_channel}) {
    for (const char* size : {"4B", "8B", "32B"}) {
      SCOPED_TRACE(testing::Message() << size << " format " << static_cast<int>(format));
      expect_loadable(size, format, {}, "INT4", "INT4");
    }
  }
}

TEST(Published, MixturesOfExpertsOfFourBitsLoadAndStaySo) {
  expect_loadable("30B-A3B", Format::gptq, {}, "INT4", "INT4");
  expect_loadable("30B-A3B", Format::w4a16_group32, {}, "INT4", "INT4");
  expect_loadable("235B-A22B", Format::awq, {}, "INT4", "INT4");
}

TEST(Published, ColumnsOutOfOrderBecomeFloats) {
  expect_loadable("8B", Format::gptq_act_order, {}, "INT4", "BF16");
}

TEST(Published, BitsandbytesIsRefusedWithWhatToUseInstead) {
  const TestFolder folder;
  published::write(folder.path(), published::size("8B"), Format::bnb_int8);
  const Result<Opened> model = open(folder.path());
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::unsupported_model);
  EXPECT_NE(model.error().message().find("BF16 checkpoint that this one was made from"),
            std::string::npos)
      << model.error().message();
}

/// "4-bit 252 6945767424": format, tensors and parameters of a part.
std::multimap<std::string, std::string> parts(const CheckpointSummary& summary) {
  std::multimap<std::string, std::string> out;
  for (const TensorGroup& g : summary.groups) {
    out.emplace(g.part, g.format + " " + std::to_string(g.tensors) + " " +
                            std::to_string(g.parameters) + " " + std::to_string(g.bytes));
  }
  return out;
}

TEST(Summary, PartsOfAnAwqCheckpointHaveTheirScalesInTheirBytes) {
  const TestFolder folder;
  published::write(folder.path(), published::size("8B"), Format::awq);
  const Result<Opened> model = open(folder.path());
  ASSERT_TRUE(model) << model.error().message();
  // Attention of a layer: 4096 × (4096 + 1024 + 1024 + 4096) = 41,943,040 weights; MLP:
  // 3 × 4096 × 12288 = 150,994,944. A group of 128 takes 64 bytes, a scale of 2 and half a byte.
  const std::multimap<std::string, std::string> expected = {
      {"vision", "F16 351 576388336 1152776672"},
      {"embedding", "F16 1 622329856 1244659712"},
      {"attention", "4-bit 144 1509949440 784465920"},
      {"mlp", "4-bit 108 5435817984 2824077312"},
      {"norms", "F16 145 308224 616448"},
      {"head", "F16 1 622329856 1244659712"}};
  EXPECT_EQ(parts(model->summary), expected);
}

TEST(Summary, PartsOfTheOfficialFp8MixtureOfExperts) {
  const TestFolder folder;
  published::write(folder.path(), published::size("30B-A3B"), Format::fp8_block);
  const Result<Opened> model = open(folder.path());
  ASSERT_TRUE(model) << model.error().message();
  // Experts: 48 layers of 128 × 3 × 2048 × 768, one scale of 2 bytes for each 16,384 of them.
  const std::multimap<std::string, std::string> expected = {
      {"vision", "BF16 351 538631408 1077262816"},
      {"embedding", "BF16 1 311164928 622329856"},
      {"attention", "F8_E4M3 192 905969664 906080256"},
      {"experts", "F8_E4M3 96 28991029248 28994568192"},
      {"router", "BF16 48 12582912 25165824"},
      {"norms", "BF16 193 210944 421888"},
      {"head", "BF16 1 311164928 622329856"}};
  EXPECT_EQ(parts(model->summary), expected);
}

}  // namespace
}  // namespace qvl

/// Every published size in every format that is in use is recognised from its headers: nothing is
/// missing, nothing is left over, and the parameters add up to the published numbers.

#include <gtest/gtest.h>

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

Result<WeightPlan> plan(const ModelFiles& files) {
  return plan_weights(Ref{}, files.config, *files.weights, ActFormat::bf16);
}

/// Writes the checkpoint and expects that the engine would load all of it.
void expect_loadable(std::string_view size_name, Format format, const Spelling& spelling = {},
                     const std::vector<std::string>& unused = {}) {
  const published::Size& size = published::size(size_name);
  const TestFolder folder;
  const published::Written written = published::write(folder.path(), size, format, spelling);
  const Result<ModelFiles> files = open_model(folder.path(), LoadFormat::checkpoint);
  ASSERT_TRUE(files) << files.error().message();
  const Result<WeightPlan> weights = plan(*files);
  ASSERT_TRUE(weights) << weights.error().message();
  EXPECT_EQ(weights->unused, unused);
  EXPECT_GT(weights->bytes, 0);

  const CheckpointSummary found = summarize(*files->weights, files->config.quantization.bits);
  EXPECT_EQ(found.vision_parameters, size.vision_parameters);
  EXPECT_EQ(found.text_parameters, size.text_parameters);
  EXPECT_EQ(found.tensors, written.tensors);
  EXPECT_EQ(found.tensor_bytes, written.bytes);
  EXPECT_EQ(files->config.tie_word_embeddings, size.tied || spelling.tying == Tying::wrong);
  EXPECT_EQ(files->config.text.rope_theta, 5e6);
  EXPECT_EQ(files->config.text.mrope_section, (std::array{24, 20, 20}));
}

TEST(Published, Bf16HasTheTensorsAndTheBytesOfTheIndex) {
  for (const published::Size& size : published::sizes()) {
    const TestFolder folder;
    const published::Written written = published::write(folder.path(), size, Format::bf16);
    EXPECT_EQ(written.tensors, size.vision_tensors + size.text_tensors) << size.name;
    EXPECT_EQ(written.bytes, 2 * (size.vision_parameters + size.text_parameters)) << size.name;
  }
}

TEST(Published, Bf16DenseSizesLoad) {
  for (const char* size : {"2B", "4B", "8B", "32B"}) {
    SCOPED_TRACE(size);
    expect_loadable(size, Format::bf16);
  }
}

TEST(Published, EverySpellingIsTheSameModel) {
  for (const Prefix prefix : {Prefix::published, Prefix::flat, Prefix::language_model}) {
    for (const ConfigStyle config : {ConfigStyle::transformers4, ConfigStyle::transformers5}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(prefix) << static_cast<int>(config));
      expect_loadable("4B", Format::bf16, {prefix, config});
      expect_loadable("8B", Format::bf16, {prefix, config});
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

}  // namespace
}  // namespace qvl

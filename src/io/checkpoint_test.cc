#include "io/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "io/dummy.h"
#include "io/mapped_file.h"
#include "io/test_folder.h"

namespace qvl {
namespace {

/// A file with one tensor of bytes, named `name`, that reads `data`.
std::string one_tensor(std::string_view name, std::string_view data) {
  const std::string size = std::to_string(data.size());
  return safetensors_bytes("{\"" + std::string(name) + R"(": {"dtype": "U8", "shape": [)" + size +
                               R"(, 1], "data_offsets": [0, )" + size + "]}}",
                           data);
}

Error failure(const TestFolder& folder) {
  const auto source = open_checkpoint(folder.path());
  EXPECT_FALSE(source);
  return source ? Error{ErrorCode::bad_flag, "none", {}} : source.error();
}

std::string text_of(const TensorSource& source, std::string_view name) {
  const TensorInfo* const tensor = source.find(name);
  if (tensor == nullptr) return "absent";
  const auto bytes = static_cast<size_t>(tensor->elements());
  std::string scratch(bytes, '?');
  const void* const data = source.rows(*tensor, 0, tensor->rows(), scratch.data());
  return {static_cast<const char*>(data), bytes};
}

TEST(Checkpoint, ReadsOneFile) {
  const TestFolder folder;
  folder.write("model.safetensors", one_tensor("x", "hello"));
  const auto source = open_checkpoint(folder.path());
  ASSERT_TRUE(source) << source.error().message();
  EXPECT_EQ(text_of(**source, "x"), "hello");
  EXPECT_EQ((*source)->find("y"), nullptr);
  ASSERT_EQ((*source)->tensors().size(), 1);
  EXPECT_EQ((*source)->tensors()[0], (*source)->find("x"));
}

TEST(Checkpoint, ReadsTheShardsThatTheIndexNames) {
  const TestFolder folder;
  folder.write("b.safetensors", one_tensor("model.norm.weight", "first"));
  folder.write("a.safetensors", one_tensor("lm_head.weight", "second"));
  folder.write("model.safetensors.index.json",
               R"({"metadata": {"total_size": 11}, "weight_map": {
                   "model.norm.weight": "b.safetensors", "lm_head.weight": "a.safetensors"}})");
  const auto source = open_checkpoint(folder.path());
  ASSERT_TRUE(source) << source.error().message();
  EXPECT_EQ(text_of(**source, "model.language_model.norm.weight"), "first");
  EXPECT_EQ(text_of(**source, "lm_head.weight"), "second");
  EXPECT_EQ((*source)->tensors().size(), 2);
}

TEST(Checkpoint, SaysWhatItLookedFor) {
  const TestFolder folder;
  const Error error = failure(folder);
  EXPECT_EQ(error.code, ErrorCode::file_not_found);
  EXPECT_EQ(error.field, folder.path());
  EXPECT_EQ(error.detail, "found neither model.safetensors nor model.safetensors.index.json");
  EXPECT_EQ(open_checkpoint(folder.path("missing")).error().code, ErrorCode::file_not_found);
}

TEST(Checkpoint, NamesTheDamagedFile) {
  const TestFolder folder;
  folder.write("model.safetensors", "short");
  const Error error = failure(folder);
  EXPECT_EQ(error.code, ErrorCode::bad_checkpoint);
  EXPECT_EQ(error.field, folder.path("model.safetensors"));
}

class CheckpointIndex : public testing::Test {
 protected:
  CheckpointIndex() { folder_.write("a.safetensors", one_tensor("x", "hello")); }

  Error error_of(std::string_view index) {
    folder_.write("model.safetensors.index.json", index);
    Error error = failure(folder_);
    return error;
  }
  std::string detail_of(std::string_view index) { return error_of(index).detail; }

  const TestFolder folder_;
};

TEST_F(CheckpointIndex, MustHoldAWeightMap) {
  const std::string expected = "weight_map: expected an object of tensor names and file names";
  EXPECT_EQ(detail_of("[]"), expected);
  EXPECT_EQ(detail_of("{}"), expected);
  EXPECT_EQ(detail_of(R"({"weight_map": []})"), expected);
  EXPECT_EQ(detail_of(R"({"weight_map": {}})"), expected);
  EXPECT_EQ(detail_of("{"), "syntax error near byte 2");
  EXPECT_EQ(error_of("{").code, ErrorCode::bad_checkpoint);
  EXPECT_EQ(error_of("{").field, folder_.path("model.safetensors.index.json"));
}

TEST_F(CheckpointIndex, NamesFilesOfItsOwnFolderOnly) {
  for (const char* file :
       {R"("../a.safetensors")", R"("/etc/a.safetensors")", R"("b/a.safetensors")",
        R"("b\\a.safetensors")", R"("..")", R"("")", R"(".safetensors")", R"("pytorch_model.bin")",
        R"("a.safetensors\u0000.safetensors")", "3", "null"}) {
    const Error error = error_of(R"({"weight_map": {"x": )" + std::string(file) + "}}");
    EXPECT_EQ(error.code, ErrorCode::bad_checkpoint);
    EXPECT_NE(error.detail.find("expected the name of a .safetensors file in the same folder"),
              std::string::npos)
        << file << ": " << error.detail;
  }
  EXPECT_EQ(
      detail_of(R"({"weight_map": {"x": "../a.safetensors"}})"),
      "weight_map: \"x\" is in \"../a.safetensors\", expected the name of a .safetensors file "
      "in the same folder");
}

TEST_F(CheckpointIndex, AMissingShardIsNamed) {
  const Error error = error_of(R"({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}})");
  EXPECT_EQ(error.code, ErrorCode::file_not_found);
  EXPECT_EQ(error.field, folder_.path("b.safetensors"));
}

TEST_F(CheckpointIndex, AShardMustHoldWhatTheIndexPlacesThere) {
  folder_.write("b.safetensors", one_tensor("z", "hello"));
  const Error error = error_of(R"({"weight_map": {"x": "b.safetensors", "z": "b.safetensors"}})");
  EXPECT_EQ(error.code, ErrorCode::missing_tensor);
  EXPECT_EQ(error.detail, "the index places \"x\" in \"b.safetensors\", which does not hold it");
}

TEST_F(CheckpointIndex, TwoShardsCannotHoldTheSameTensor) {
  folder_.write("b.safetensors", one_tensor("x", "other"));
  folder_.write("c.safetensors", one_tensor("y", "third"));
  const Error error = error_of(
      R"({"weight_map": {"x": "a.safetensors", "y": "c.safetensors", "x ": "b.safetensors"}})");
  EXPECT_EQ(error.code, ErrorCode::missing_tensor);
  folder_.write("b.safetensors", one_tensor("_orig_mod.x", "other"));
  EXPECT_EQ(detail_of(R"({"weight_map": {"x": "a.safetensors", "_orig_mod.x": "b.safetensors"}})"),
            "\"_orig_mod.x\" and \"x\" are the same tensor, expected it once");
}

TEST(Checkpoint, TwoNamesOfOneTensorAreRefused) {
  const TestFolder folder;
  folder.write("model.safetensors",
               safetensors_bytes(
                   R"({"visual.x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},)"
                   R"( "model.visual.x": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}})",
                   "ab"));
  const Error error = failure(folder);
  EXPECT_EQ(error.code, ErrorCode::bad_checkpoint);
  EXPECT_EQ(error.detail,
            "\"model.visual.x\" and \"visual.x\" are the same tensor, expected it once");
}

TEST(Checkpoint, QuantisedTensorsAppearWithTheirTypes) {
  const TestFolder folder;
  folder.write(
      "model.safetensors",
      safetensors_bytes(
          R"({"model.layers.0.mlp.up_proj.weight": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [4, 8]},)"
          R"( "model.layers.0.mlp.up_proj.weight_scale_inv": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}})",
          "12345678"));
  const auto source = open_checkpoint(folder.path());
  ASSERT_TRUE(source);
  const auto* weight = (*source)->find("model.language_model.layers.0.mlp.up_proj.weight");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->dtype, DType::f8_e4m3);
  EXPECT_NE((*source)->find("model.language_model.layers.0.mlp.up_proj.weight_scale_inv"), nullptr);
}

class CheckpointRows : public testing::TestWithParam<size_t> {};

TEST_P(CheckpointRows, AreAlignedWhateverTheLengthOfTheHeader) {
  const TestFolder folder;
  std::string header = R"({"w": {"dtype": "I32", "shape": [3, 2], "data_offsets": [0, 24]}})";
  header.resize(header.size() + GetParam(), ' ');
  const std::array<int32_t, 6> values = {10, 11, 20, 21, 30, 31};
  folder.write("model.safetensors",
               safetensors_bytes(header, {reinterpret_cast<const char*>(values.data()), 24}));
  const auto source = open_checkpoint(folder.path());
  ASSERT_TRUE(source);
  const TensorInfo& tensor = *(*source)->find("w");
  std::array<int32_t, 4> scratch{};
  const void* const data = (*source)->rows(tensor, 1, 2, scratch.data());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % sizeof(int32_t), 0);
  EXPECT_EQ(std::memcmp(data, &values[2], 16), 0);
  (*source)->release(tensor, 0, tensor.rows());
  EXPECT_EQ(std::memcmp((*source)->rows(tensor, 2, 1, scratch.data()), &values[4], 8), 0);
}

INSTANTIATE_TEST_SUITE_P(Padding, CheckpointRows, testing::Values(0, 1, 2, 3));

class GoldenCheckpoint : public testing::TestWithParam<const char*> {};

TEST_P(GoldenCheckpoint, HoldsExactlyTheExpectedTensors) {
  const std::string folder = std::string(QVL_SOURCE_DIR "/tests/goldens/") + GetParam();
  const Result<std::string> text = read_file(folder + "/config.json", 1 << 20);
  ASSERT_TRUE(text);
  const Result<ModelConfig> config = parse_model_config(*text);
  ASSERT_TRUE(config) << config.error().message();
  const auto source = open_checkpoint(folder);
  ASSERT_TRUE(source) << source.error().message();

  const std::vector<TensorInfo> expected = expected_tensors(*config);
  EXPECT_EQ((*source)->tensors().size(), expected.size());
  for (const TensorInfo& tensor : expected) {
    const TensorInfo* const found = (*source)->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->dtype, DType::bf16) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, GoldenCheckpoint, testing::Values("tiny-2b"),
                         [](const auto& test) {
                           std::string name = test.param;
                           name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
                           return name;
                         });

TEST(CanonicalTensorName, PublishedAndUnknownNamesStay) {
  for (const char* name :
       {"lm_head.weight", "model.language_model.norm.weight",
        "model.language_model.layers.0.self_attn.q_proj.weight",
        "model.visual.blocks.0.attn.qkv.weight", "model.visual.merger.norm.weight",
        "model.visual.deepstack_merger_list.2.linear_fc1.bias",
        "model.visual.blocks.3.attn.q.weight", "something.else", "visual", "model", "",
        "model.language_model.visual.x", "model.visual.deepstack_merger_list",
        "model.visual.deepstack_merger_list.0"}) {
    EXPECT_EQ(canonical_tensor_name(name), name);
  }
}

TEST(CanonicalTensorName, OtherSpellingsBecomeThePublishedName) {
  const auto same = [](std::string_view stored, std::string_view published) {
    EXPECT_EQ(canonical_tensor_name(stored), published);
    EXPECT_EQ(canonical_tensor_name(published), published);
  };
  same("visual.blocks.0.norm1.weight", "model.visual.blocks.0.norm1.weight");
  same("vision_tower.pos_embed.weight", "model.visual.pos_embed.weight");
  same("model.vision_tower.pos_embed.weight", "model.visual.pos_embed.weight");
  same("model.layers.7.mlp.up_proj.weight", "model.language_model.layers.7.mlp.up_proj.weight");
  same("model.embed_tokens.weight", "model.language_model.embed_tokens.weight");
  same("model.norm.weight", "model.language_model.norm.weight");
  same("language_model.model.norm.weight", "model.language_model.norm.weight");
  same("language_model.lm_head.weight", "lm_head.weight");
  same("model.lm_head.weight", "lm_head.weight");
  same("thinker.model.visual.pos_embed.weight", "model.visual.pos_embed.weight");
  same("thinker.model.layers.0.input_layernorm.weight",
       "model.language_model.layers.0.input_layernorm.weight");
  same("thinker.lm_head.weight", "lm_head.weight");
  same("visual.merger.ln_q.weight", "model.visual.merger.norm.weight");
  same("visual.merger.mlp.0.bias", "model.visual.merger.linear_fc1.bias");
  same("visual.merger.mlp.2.weight", "model.visual.merger.linear_fc2.weight");
  same("visual.merger_list.1.ln_q.bias", "model.visual.deepstack_merger_list.1.norm.bias");
  same("thinker.visual.merger_list.2.mlp.0.weight",
       "model.visual.deepstack_merger_list.2.linear_fc1.weight");
  same("visual.blocks.5.attn.qkv_proj.bias", "model.visual.blocks.5.attn.qkv.bias");
  same("base_model.model.model.visual.pos_embed.weight", "model.visual.pos_embed.weight");
  same("base_model.model.thinker.lm_head.weight", "lm_head.weight");
  same("_orig_mod.model.layers.0.mlp._orig_mod.up_proj.weight",
       "model.language_model.layers.0.mlp.up_proj.weight");
}

TEST(CanonicalTensorName, PartsOfOtherModulesAreNotRenamed) {
  EXPECT_EQ(canonical_tensor_name("model.layers.0.mlp.0.weight"),
            "model.language_model.layers.0.mlp.0.weight");
  EXPECT_EQ(canonical_tensor_name("visual.blocks.0.mlp.2.weight"),
            "model.visual.blocks.0.mlp.2.weight");
  EXPECT_EQ(canonical_tensor_name("model.layers.0.attn.qkv_proj.weight"),
            "model.language_model.layers.0.attn.qkv_proj.weight");
}

}  // namespace
}  // namespace qvl

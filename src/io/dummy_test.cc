#include "io/dummy.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <numeric>

#include "core/int4_row.h"
#include "io/checkpoint.h"
#include "io/mapped_file.h"
#include "io/model_tensors.h"
#include "io/processor_config.h"
#include "io/test_folder.h"

namespace qvl {
namespace {

constexpr const char* kTextFolder = QVL_SOURCE_DIR "/models/qwen3-vl-tokenizer";

/// Small, and odd wherever a shape may be.
ModelConfig tiny_config() {
  ModelConfig config = *preset_config("8b");
  config.text.vocab_size = 151'937;
  config.text.hidden_size = 6;
  config.text.intermediate_size = 7;
  config.text.num_hidden_layers = 3;
  config.text.num_attention_heads = 2;
  config.text.num_key_value_heads = 1;
  config.vision.depth = 5;
  config.vision.hidden_size = 12;
  config.vision.intermediate_size = 13;
  config.vision.num_heads = 3;
  config.vision.out_hidden_size = 6;
  config.vision.num_position_embeddings = 9;
  config.vision.deepstack_visual_indexes = {0, 2, 4};
  return config;
}

std::vector<bf16> values(const TensorSource& source, std::string_view name) {
  const TensorInfo* const tensor = source.find(name);
  if (tensor == nullptr) return {};
  std::vector<bf16> scratch(static_cast<size_t>(tensor->elements()));
  const void* const data = source.rows(*tensor, 0, tensor->rows(), scratch.data());
  if (data != scratch.data()) std::memcpy(scratch.data(), data, scratch.size() * sizeof(bf16));
  return scratch;
}

bool same_bits(const std::vector<bf16>& a, const std::vector<bf16>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](bf16 x, bf16 y) { return x.bits == y.bits; });
}

struct Moments {
  double mean;
  double std;
};

Moments moments(const std::vector<bf16>& sample) {
  double sum = 0;
  double squares = 0;
  for (const bf16 value : sample) {
    const double x{static_cast<float>(value)};
    sum += x;
    squares += x * x;
  }
  const auto n = static_cast<double>(sample.size());
  return {sum / n, std::sqrt(squares / n - sum / n * sum / n)};
}

struct PublishedSize {
  const char* name;
  size_t text_tensors;
  size_t vision_tensors;
  int64_t text_elements;
  int64_t vision_elements;
};

class Preset : public testing::TestWithParam<PublishedSize> {};

TEST_P(Preset, HasTheTensorsAndTheSizeOfThePublishedModel) {
  const PublishedSize& published = GetParam();
  const Result<ModelConfig> config = preset_config(published.name);
  ASSERT_TRUE(config);
  size_t vision_tensors = 0;
  int64_t vision_elements = 0;
  int64_t text_elements = 0;
  const std::vector<TensorInfo> tensors = expected_tensors(*config);
  for (const TensorInfo& tensor : tensors) {
    const bool is_vision = tensor.name.starts_with("model.visual.");
    vision_tensors += is_vision ? 1 : 0;
    (is_vision ? vision_elements : text_elements) += tensor.elements();
  }
  EXPECT_EQ(vision_tensors, published.vision_tensors);
  EXPECT_EQ(tensors.size() - vision_tensors, published.text_tensors);
  EXPECT_EQ(vision_elements, published.vision_elements);
  EXPECT_EQ(text_elements, published.text_elements);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, Preset,
    testing::Values(PublishedSize{"2b", 310, 315, 1'720'574'976, 406'957'056},
                    PublishedSize{"4b", 398, 315, 4'022'468'096, 415'347'712},
                    PublishedSize{"8b", 399, 351, 8'190'735'360, 576'388'336},
                    PublishedSize{"32b", 707, 351, 32'762'123'264, 595'266'800},
                    PublishedSize{"30b-a3b", 531, 351, 30'532'122'624, 538'631'408},
                    PublishedSize{"235b-a22b", 1037, 351, 235'093'634'560, 576'388'336}),
    [](const auto& test) {
      const std::string name = test.param.name;
      return "Of" + name.substr(0, name.find('-'));
    });

TEST(Preset, AnUnknownNameListsTheKnownOnes) {
  const Result<ModelConfig> config = preset_config("3b");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, ErrorCode::bad_flag);
  EXPECT_EQ(config.error().detail,
            "found the preset \"3b\", expected one of 2b, 4b, 8b, 32b, 30b-a3b, 235b-a22b, or one "
            "of them with -thinking, or a dense one with -awq at its end");
}

TEST(Preset, IsAConfigThatTheParserAccepts) {
  for (const std::string& name : preset_names()) {
    EXPECT_TRUE(parse_model_config(model_config_json(*preset_config(name)))) << name;
  }
}

TEST(Preset, OfAThinkingModelHasTheShapeOfTheInstructModel) {
  const Result<ModelConfig> thinking = preset_config("30b-a3b-thinking");
  ASSERT_TRUE(thinking);
  EXPECT_EQ(model_config_json(*thinking), model_config_json(*preset_config("30b-a3b")));
  EXPECT_EQ(preset_variant("30b-a3b-thinking"), Variant::thinking);
  EXPECT_EQ(preset_variant("30b-a3b"), Variant::instruct);
  EXPECT_FALSE(preset_config("-thinking"));
  EXPECT_FALSE(preset_config("2b-thinking-thinking"));
}

TEST(Preset, OfFourBitsIsAConfigAndHasTheTensorsOfAwq) {
  const Result<ModelConfig> awq = preset_config("8b-awq");
  ASSERT_TRUE(awq);
  const Result<ModelConfig> again = parse_model_config(model_config_json(*awq));
  ASSERT_TRUE(again);
  EXPECT_EQ(quantization_text(again->quantization), "AWQ, 4 bits, groups of 128");
  EXPECT_EQ(preset_variant("8b-thinking-awq"), Variant::thinking);
  EXPECT_FALSE(preset_config("8b-awq-thinking"));
  EXPECT_FALSE(preset_config("30b-a3b-awq"));

  const auto stored = make_dummy_source(*awq);
  const std::string stem = "model.language_model.layers.7.mlp.down_proj";
  EXPECT_EQ(stored->find(stem + ".weight"), nullptr);
  EXPECT_EQ(stored->find(stem + ".qweight")->shape, (std::vector<int64_t>{12288, 512}));
  EXPECT_EQ(stored->find(stem + ".qzeros")->shape, (std::vector<int64_t>{96, 512}));
  EXPECT_EQ(stored->find(stem + ".scales")->shape, (std::vector<int64_t>{96, 4096}));
  EXPECT_NE(stored->find("model.visual.blocks.0.attn.proj.weight"), nullptr);
}

/// Through the reader of AWQ, so that what is written is what that format says.
TEST(DummySource, OfFourBitsHasTheSpreadOfTheOthers) {
  const ModelConfig config = *preset_config("2b-awq");
  const auto opened = model_tensors(make_dummy_source(config), config);
  ASSERT_TRUE(opened) << opened.error().message();
  const TensorInfo* const tensor =
      (*opened)->find("model.language_model.layers.3.self_attn.o_proj.weight");
  ASSERT_NE(tensor, nullptr);
  ASSERT_EQ(tensor->dtype, DType::i4);
  const Int4Row layout{.in = tensor->cols(), .group_size = 128};
  std::vector<std::byte> rows(static_cast<size_t>(8 * layout.bytes()));
  (*opened)->rows(*tensor, 16, 8, rows.data());
  std::vector<float> row(static_cast<size_t>(tensor->cols()));
  std::vector<bf16> sample;
  for (int64_t i = 0; i < 8; ++i) {
    dequantise(layout, rows.data() + i * layout.bytes(), row.data());
    for (const float v : row) sample.emplace_back(v);
  }
  const Moments found = moments(sample);
  EXPECT_NEAR(found.std, 1.25 / std::sqrt(2048), 0.001);
  EXPECT_NEAR(found.mean, 0, 0.005);
}

TEST(SizeName, IsThePublishedOneOrNone) {
  EXPECT_EQ(size_name(*preset_config("2b")), "2B");
  EXPECT_EQ(size_name(*preset_config("235b-a22b")), "235B-A22B");
  ModelConfig config = *preset_config("8b");
  config.text.num_hidden_layers = 35;
  EXPECT_EQ(size_name(config), "");
}

TEST(DummySource, ListsTheExpectedTensorsInTheOrderOfTheirNames) {
  const ModelConfig config = tiny_config();
  const auto source = make_dummy_source(config);
  const std::vector<const TensorInfo*> all = source->tensors();
  EXPECT_EQ(all.size(), expected_tensors(config).size());
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(source->find(all[i]->name), all[i]);
    if (i == 0) continue;
    EXPECT_LT(all[i - 1]->name, all[i]->name);
  }
  EXPECT_EQ(source->find("missing"), nullptr);
}

TEST(DummySource, AnElementDoesNotDependOnTheRowsAskedFor) {
  const auto source = make_dummy_source(tiny_config());
  // 13 rows of 12, 12 rows of 13 and 8 single elements: rows begin at every phase of the hash.
  for (const char* name : {"model.visual.blocks.1.mlp.linear_fc1.weight",
                           "model.visual.blocks.1.mlp.linear_fc2.weight",
                           "model.visual.blocks.1.mlp.linear_fc1.bias"}) {
    const TensorInfo& tensor = *source->find(name);
    const std::vector<bf16> whole = values(*source, name);
    const auto cols = static_cast<size_t>(tensor.cols());
    for (int64_t first = 0; first < tensor.rows(); ++first) {
      for (int64_t count = 0; first + count <= tensor.rows(); ++count) {
        std::vector<bf16> part(static_cast<size_t>(count) * cols);
        source->rows(tensor, first, count, part.data());
        const auto at =
            whole.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(first) * cols);
        ASSERT_TRUE(same_bits(part, {at, at + static_cast<std::ptrdiff_t>(part.size())}))
            << name << " rows " << first << " + " << count;
      }
    }
  }
}

TEST(DummySource, IsTheSameModelOnEveryMachine) {
  const auto source = make_dummy_source(tiny_config());
  const std::vector<bf16> sample = values(*source, "model.visual.blocks.0.mlp.linear_fc1.bias");
  std::vector<uint16_t> bits;
  bits.reserve(sample.size());
  for (const bf16 value : sample) bits.push_back(value.bits);
  EXPECT_EQ(bits, (std::vector<uint16_t>{0x3b81, 0x3e08, 0x3d9b, 0x3d3f, 0x3c51, 0x3ccf, 0xbd00,
                                         0x3bfa, 0xbd34, 0x3d80, 0x3bbd, 0xbe11, 0xbd4d}));
}

TEST(DummySource, TensorsAndNeighboursAreIndependent) {
  const auto source = make_dummy_source(*preset_config("2b"));
  const std::vector<bf16> a = values(*source, "model.visual.blocks.0.attn.proj.weight");
  const std::vector<bf16> b = values(*source, "model.visual.blocks.1.attn.proj.weight");
  ASSERT_EQ(a.size(), 1024 * 1024);
  const auto correlation = [](const std::vector<bf16>& x, const std::vector<bf16>& y, size_t lag) {
    double product = 0;
    double power = 0;
    for (size_t i = lag; i < x.size(); ++i) {
      product += double{static_cast<float>(x[i])} * double{static_cast<float>(y[i - lag])};
      power += double{static_cast<float>(x[i])} * double{static_cast<float>(x[i])};
    }
    return std::abs(product / power);
  };
  // One standard deviation of the estimate is 1 / 1024.
  EXPECT_LT(correlation(a, b, 0), 0.005);
  for (const size_t lag : {1, 2, 3, 4, 5, 8, 64, 1024}) EXPECT_LT(correlation(a, a, lag), 0.005);
}

TEST(DummySource, SpreadsKeepActivationsInRange) {
  const auto source = make_dummy_source(*preset_config("8b"));
  const auto expect = [&](const char* name, int64_t rows, double mean, double std) {
    const TensorInfo* const tensor = source->find(name);
    ASSERT_NE(tensor, nullptr) << name;
    const int64_t count = std::min(rows, tensor->rows());
    std::vector<bf16> sample(static_cast<size_t>(count * tensor->cols()));
    source->rows(*tensor, 0, count, sample.data());
    const Moments found = moments(sample);
    const double tolerance = 4 / std::sqrt(static_cast<double>(sample.size())) + 0.003;
    EXPECT_NEAR(found.mean, mean, tolerance * std) << name;
    EXPECT_NEAR(found.std, std, tolerance * std) << name;
  };
  expect("model.language_model.embed_tokens.weight", 64, 0, 0.18);
  expect("lm_head.weight", 64, 0, 2 / std::sqrt(4096));
  expect("model.language_model.layers.3.mlp.down_proj.weight", 64, 0, 1.25 / std::sqrt(12288));
  expect("model.language_model.layers.3.self_attn.q_proj.weight", 64, 0, 1.25 / std::sqrt(4096));
  expect("model.language_model.layers.3.input_layernorm.weight", 4096, 1, 0.15);
  expect("model.language_model.layers.3.self_attn.q_norm.weight", 128, 1, 0.15);
  expect("model.language_model.norm.weight", 4096, 1, 0.15);
  expect("model.visual.blocks.3.norm1.weight", 1152, 1, 0.15);
  expect("model.visual.blocks.3.norm1.bias", 1152, 0, 0.1);
  expect("model.visual.blocks.3.attn.qkv.bias", 3456, 0, 0.1);
  expect("model.visual.pos_embed.weight", 64, 0, 0.3);
  expect("model.visual.patch_embed.proj.weight", 64, 0, 1.6 / std::sqrt(1536));
}

TEST(DummySource, AnExpertsSpreadFollowsItsInputs) {
  const auto source = make_dummy_source(*preset_config("30b-a3b"));
  const TensorInfo* const experts =
      source->find("model.language_model.layers.1.mlp.experts.down_proj");
  ASSERT_NE(experts, nullptr);
  EXPECT_EQ(experts->shape, (std::vector<int64_t>{128, 768, 2048}));
  std::vector<bf16> sample(size_t{768} * 2048);
  source->rows(*experts, 77, 1, sample.data());
  EXPECT_NEAR(moments(sample).std, 1.25 / std::sqrt(768), 0.001);
}

TEST(DummyCheckpoint, IsTheModelThatTheSourceGenerates) {
  const TestFolder folder;
  const ModelConfig config = tiny_config();
  const std::string out = folder.path("new/model");
  const Status status = write_dummy_checkpoint(config, kTextFolder, out);
  ASSERT_TRUE(status) << status.error().message();

  const auto written = open_checkpoint(out);
  ASSERT_TRUE(written) << written.error().message();
  const auto source = make_dummy_source(config);
  ASSERT_EQ((*written)->tensors().size(), source->tensors().size());
  for (const TensorInfo* tensor : source->tensors()) {
    ASSERT_EQ((*written)->find(tensor->name)->shape, tensor->shape) << tensor->name;
    EXPECT_TRUE(same_bits(values(**written, tensor->name), values(*source, tensor->name)))
        << tensor->name;
  }
}

TEST(DummyCheckpoint, IsAlignedAndCompletelyDescribed) {
  const TestFolder folder;
  const ModelConfig config = tiny_config();
  ASSERT_TRUE(write_dummy_checkpoint(config, kTextFolder, folder.path()));
  const auto file = [&](const char* name) { return *read_file(folder.path(name), 64 << 20); };
  EXPECT_EQ(static_cast<unsigned char>(file("model.safetensors")[0]) % 8, 0);
  EXPECT_EQ(file("config.json"), model_config_json(config));
  EXPECT_EQ(parse_image_processor(file("preprocessor_config.json"))->max_pixels, 16'777'216);
  EXPECT_EQ(parse_video_processor(file("video_preprocessor_config.json"))->max_pixels, 25'165'824);
  const Result<GenerationConfig> generation =
      parse_generation_config(file("generation_config.json"));
  ASSERT_TRUE(generation);
  EXPECT_EQ(generation->eos_token_ids, (std::vector<int32_t>{151'645, 151'643}));
  EXPECT_EQ(generation->temperature, 0.7F);
  for (const char* name : {"tokenizer.json", "chat_template.jinja"}) {
    EXPECT_EQ(file(name), *read_file(std::string(kTextFolder) + "/" + name, 64 << 20)) << name;
  }
  EXPECT_EQ(folder.file_count(), 8);
}

TEST(DummyCheckpoint, OfAThinkingModelRecommendsItsSampling) {
  const TestFolder folder;
  ASSERT_TRUE(write_dummy_checkpoint(tiny_config(), kTextFolder, folder.path(), Variant::thinking));
  const Result<GenerationConfig> generation =
      parse_generation_config(*read_file(folder.path("generation_config.json"), 1 << 20));
  ASSERT_TRUE(generation);
  EXPECT_EQ(generation->temperature, 1.0F);
  EXPECT_EQ(generation->top_p, 0.95F);
}

TEST(DummyCheckpoint, NeverReplacesAModel) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    const TestFolder folder;
    folder.write(name, "precious");
    const Status status = write_dummy_checkpoint(tiny_config(), kTextFolder, folder.path());
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::write_failed);
    EXPECT_EQ(status.error().detail,
              std::string("found ") + name + " there, expected a folder without a model");
    EXPECT_EQ(folder.file_count(), 1);
  }
}

TEST(DummyCheckpoint, AFullDiskIsAnErrorAndLeavesNoWeights) {
  const TestFolder folder;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit{size_t{12} << 20, before.rlim_max};
  ModelConfig config = tiny_config();
  config.text.hidden_size = config.vision.out_hidden_size = 60;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const Status status = write_dummy_checkpoint(config, kTextFolder, folder.path());
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::write_failed);
  EXPECT_EQ(status.error().field, folder.path("model.safetensors"));
  EXPECT_EQ(folder.file_count(), 7);
}

TEST(DummyCheckpoint, PathsThatCannotBeUsedAreErrors) {
  const TestFolder folder;
  folder.write("file", "x");
  const Status no_folder =
      write_dummy_checkpoint(tiny_config(), kTextFolder, folder.path("file/below"));
  ASSERT_FALSE(no_folder);
  EXPECT_EQ(no_folder.error().code, ErrorCode::write_failed);
  const Status no_text = write_dummy_checkpoint(tiny_config(), folder.path(), folder.path("new"));
  ASSERT_FALSE(no_text);
  EXPECT_EQ(no_text.error().code, ErrorCode::file_not_found);
  EXPECT_EQ(no_text.error().field, folder.path("tokenizer.json"));
  EXPECT_EQ(folder.file_count(), 1);
}

}  // namespace
}  // namespace qvl

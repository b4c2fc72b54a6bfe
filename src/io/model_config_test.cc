#include "io/model_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/dummy.h"

namespace qvl {
namespace {

using nlohmann::json;

/// config.json of the 2B model, as published.
constexpr std::string_view kPublished =
    R"({"architectures":["Qwen3VLForConditionalGeneration"],"image_token_id":151655,"model_type":"qwen3_vl",
 "text_config":{"attention_bias":false,"attention_dropout":0.0,"bos_token_id":151643,"dtype":"bfloat16","eos_token_id":151645,
  "head_dim":128,"hidden_act":"silu","hidden_size":2048,"initializer_range":0.02,"intermediate_size":6144,
  "max_position_embeddings":262144,"model_type":"qwen3_vl_text","num_attention_heads":16,"num_hidden_layers":28,
  "num_key_value_heads":8,"rms_norm_eps":1e-06,"rope_scaling":{"mrope_interleaved":true,"mrope_section":[24,20,20],"rope_type":"default"},
  "rope_theta":5000000,"tie_word_embeddings":true,"use_cache":true,"vocab_size":151936},
 "tie_word_embeddings":true,"transformers_version":"4.57.0.dev0","video_token_id":151656,
 "vision_config":{"deepstack_visual_indexes":[5,11,17],"depth":24,"hidden_act":"gelu_pytorch_tanh","hidden_size":1024,"in_channels":3,
  "initializer_range":0.02,"intermediate_size":4096,"model_type":"qwen3_vl","num_heads":16,"num_position_embeddings":2304,
  "out_hidden_size":2048,"patch_size":16,"spatial_merge_size":2,"temporal_patch_size":2},
 "vision_end_token_id":151653,"vision_start_token_id":151652})";

/// The published file with the field at `pointer` set to `value`, or taken away.
std::string with(const char* pointer, const json& value) {
  json document = json::parse(kPublished);
  document[json::json_pointer(pointer)] = value;
  return document.dump();
}

std::string without(const std::string& pointer) {
  json document = json::parse(kPublished);
  const json::json_pointer at(pointer);
  document[at.parent_pointer()].erase(at.back());
  return document.dump();
}

std::string problem(std::string_view text, ErrorCode code = ErrorCode::bad_config) {
  const Result<ModelConfig> config = parse_model_config(text);
  if (config) return "none";
  EXPECT_EQ(config.error().code, code) << config.error().message();
  EXPECT_EQ(config.error().field, "config.json");
  return config.error().detail;
}

std::string unsupported(std::string_view text) {
  return problem(text, ErrorCode::unsupported_model);
}

TEST(ModelConfig, ReadsThePublishedFile) {
  const Result<ModelConfig> config = parse_model_config(kPublished);
  ASSERT_TRUE(config) << config.error().message();
  const TextConfig& text = config->text;
  EXPECT_EQ(text.vocab_size, 151'936);
  EXPECT_EQ(text.hidden_size, 2048);
  EXPECT_EQ(text.intermediate_size, 6144);
  EXPECT_EQ(text.num_hidden_layers, 28);
  EXPECT_EQ(text.num_attention_heads, 16);
  EXPECT_EQ(text.num_key_value_heads, 8);
  EXPECT_EQ(text.head_dim, 128);
  EXPECT_EQ(text.max_position_embeddings, 262'144);
  EXPECT_EQ(text.rms_norm_eps, 1e-6F);
  EXPECT_EQ(text.rope_theta, 5e6);
  EXPECT_EQ(text.mrope_section, (std::array{24, 20, 20}));
  EXPECT_EQ(text.q_size(), 2048);
  EXPECT_EQ(text.kv_size(), 1024);
  const VisionConfig& vision = config->vision;
  EXPECT_EQ(vision.depth, 24);
  EXPECT_EQ(vision.hidden_size, 1024);
  EXPECT_EQ(vision.intermediate_size, 4096);
  EXPECT_EQ(vision.num_heads, 16);
  EXPECT_EQ(vision.out_hidden_size, 2048);
  EXPECT_EQ(vision.num_position_embeddings, 2304);
  EXPECT_EQ(vision.patch_size, 16);
  EXPECT_EQ(vision.deepstack_visual_indexes, (std::vector{5, 11, 17}));
  EXPECT_EQ(vision.head_dim(), 64);
  EXPECT_EQ(vision.patch_dim(), 1536);
  EXPECT_EQ(vision.merge_unit(), 4);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_EQ(config->image_token_id, 151'655);
  EXPECT_EQ(config->video_token_id, 151'656);
  EXPECT_EQ(config->vision_start_token_id, 151'652);
  EXPECT_EQ(config->vision_end_token_id, 151'653);
}

TEST(ModelConfig, ThePresetWritesThePublishedFile) {
  const Result<ModelConfig> preset = preset_config("2b");
  ASSERT_TRUE(preset);
  EXPECT_EQ(json::parse(model_config_json(*preset)), json::parse(kPublished));
}

TEST(ModelConfig, WhatIsWrittenReadsBackTheSame) {
  ModelConfig config = *preset_config("8b");
  config.text.rms_norm_eps = 1.1e-5F;
  config.text.rope_theta = 1234567.25;
  config.text.mrope_section = {30, 20, 14};
  config.vision.patch_size = 14;
  config.vision.num_position_embeddings = 9;
  config.vision.deepstack_visual_indexes = {0, 26};
  config.image_token_id = 7;
  const std::string written = model_config_json(config);
  const Result<ModelConfig> again = parse_model_config(written);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->text.rms_norm_eps, 1.1e-5F);
  EXPECT_EQ(again->text.rope_theta, 1234567.25);
  EXPECT_EQ(again->text.mrope_section, (std::array{30, 20, 14}));
  EXPECT_EQ(again->text.num_attention_heads, 32);
  EXPECT_EQ(again->vision.hidden_size, 1152);
  EXPECT_EQ(again->vision.patch_size, 14);
  EXPECT_EQ(again->vision.deepstack_visual_indexes, (std::vector{0, 26}));
  EXPECT_FALSE(again->tie_word_embeddings);
  EXPECT_EQ(again->image_token_id, 7);
  EXPECT_EQ(model_config_json(*again), written);
}

TEST(ModelConfig, BothRopeSpellingsAreRead) {
  json document = json::parse(kPublished);
  json& text = document["text_config"];
  text.erase("rope_theta");
  text.erase("rope_scaling");
  text["rope_parameters"] = {{"rope_theta", 1e6},
                             {"rope_type", "default"},
                             {"mrope_section", {32, 16, 16}},
                             {"mrope_interleaved", true}};
  const Result<ModelConfig> config = parse_model_config(document.dump());
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->text.rope_theta, 1e6);
  EXPECT_EQ(config->text.mrope_section, (std::array{32, 16, 16}));
}

TEST(ModelConfig, RopeThetaIsNeverGuessed) {
  EXPECT_EQ(problem(without("/text_config/rope_theta")),
            "text_config.rope_theta: found nothing, expected a number from 1 to 1000000000000");
  EXPECT_EQ(problem(with("/text_config/rope_theta", 0)),
            "text_config.rope_theta: found 0, expected a number from 1 to 1000000000000");
}

TEST(ModelConfig, TheRopeTypeMayBeLeftOutOrBeCalledType) {
  EXPECT_EQ(problem(without("/text_config/rope_scaling/rope_type")), "none");
  EXPECT_EQ(problem(with("/text_config/rope_scaling", {{"type", "default"}})), "none");
  EXPECT_EQ(problem(with("/text_config/rope_scaling", nullptr)), "none");
  EXPECT_EQ(unsupported(with("/text_config/rope_scaling/rope_type", "yarn")),
            "text_config.rope_scaling.rope_type: found \"yarn\", expected \"default\"");
  EXPECT_EQ(unsupported(with("/text_config/rope_scaling", {{"type", "linear"}})),
            "text_config.rope_scaling.type: found \"linear\", expected \"default\"");
  EXPECT_EQ(unsupported(with("/text_config/rope_scaling/mrope_interleaved", false)),
            "text_config.rope_scaling.mrope_interleaved: found false, expected true");
}

TEST(ModelConfig, TheMropeSectionCoversHalfAHead) {
  EXPECT_EQ(problem(with("/text_config/rope_scaling/mrope_section", {24, 20, 21})),
            "text_config.head_dim: found 128, expected twice the sum of mrope_section, 24 + 20 + "
            "21");
  EXPECT_EQ(problem(with("/text_config/rope_scaling/mrope_section", {44, 20})),
            "text_config.rope_scaling.mrope_section: found a list of 2, expected a list of 3 whole "
            "numbers");
  EXPECT_EQ(problem(with("/text_config/rope_scaling/mrope_section", {24, 20, 20, 0})),
            "text_config.rope_scaling.mrope_section: found a list of 4, expected a list of at most "
            "3 whole numbers");
  EXPECT_EQ(problem(with("/text_config/rope_scaling/mrope_section", {94, -10, -20})),
            "text_config.rope_scaling.mrope_section: found a list of 3, expected only whole "
            "numbers from 0 to 4096 in it, not -10");
}

TEST(ModelConfig, TheTopLevelDecidesAboutTying) {
  const auto tied = [](const json& top, const json& text) {
    json document = json::parse(kPublished);
    document["tie_word_embeddings"] = top;
    document["text_config"]["tie_word_embeddings"] = text;
    const Result<ModelConfig> config = parse_model_config(document.dump());
    return config ? config->tie_word_embeddings : throw std::runtime_error("not parsed");
  };
  EXPECT_TRUE(tied(true, false));
  EXPECT_FALSE(tied(false, true));
  EXPECT_TRUE(tied(nullptr, true));
  EXPECT_FALSE(tied(nullptr, false));
  EXPECT_FALSE(tied(nullptr, nullptr));
  EXPECT_EQ(problem(with("/tie_word_embeddings", 1)),
            "tie_word_embeddings: found 1, expected true or false");
}

TEST(ModelConfig, OtherModelsAreUnsupported) {
  EXPECT_EQ(unsupported(R"({"model_type": "llama"})"),
            "model_type: found \"llama\", expected \"qwen3_vl\" or \"qwen3_vl_moe\"");
  EXPECT_EQ(problem("{}"), "model_type: found nothing, expected \"qwen3_vl\" or \"qwen3_vl_moe\"");
  EXPECT_EQ(unsupported(with("/text_config/model_type", "qwen3_vl_moe_text")),
            "text_config.model_type: found \"qwen3_vl_moe_text\", expected \"qwen3_vl_text\"");
  EXPECT_EQ(unsupported(with("/text_config/num_experts", 128)),
            "text_config.num_experts: found 128, expected none with the model_type \"qwen3_vl\"");
  EXPECT_EQ(problem(with("/text_config/num_experts", 0)), "none");
  EXPECT_EQ(unsupported(with("/text_config/num_local_experts", 8)),
            "text_config.num_local_experts: found 8, expected none with the model_type "
            "\"qwen3_vl\"");
  EXPECT_EQ(problem(with("/quantization_config", nullptr)), "none");
  EXPECT_EQ(unsupported(with("/text_config/attention_bias", true)),
            "text_config.attention_bias: found true, expected false");
  EXPECT_EQ(unsupported(with("/text_config/hidden_act", "gelu")),
            "text_config.hidden_act: found \"gelu\", expected \"silu\"");
  EXPECT_EQ(unsupported(with("/vision_config/hidden_act", "silu")),
            "vision_config.hidden_act: found \"silu\", expected \"gelu_pytorch_tanh\"");
  EXPECT_EQ(unsupported(with("/vision_config/in_channels", 4)),
            "vision_config.in_channels: found 4, expected 3");
  EXPECT_EQ(unsupported(with("/vision_config/temporal_patch_size", 1)),
            "vision_config.temporal_patch_size: found 1, expected 2");
  EXPECT_EQ(unsupported(with("/vision_config/spatial_merge_size", 3)),
            "vision_config.spatial_merge_size: found 3, expected 2");
}

struct NumberField {
  const char* pointer;
  const char* name;
  int64_t max;
};

class ModelConfigNumber : public testing::TestWithParam<NumberField> {};

TEST_P(ModelConfigNumber, IsThereAndInRange) {
  const auto [pointer, name, max] = GetParam();
  EXPECT_NE(problem(without(pointer)).find(std::string(name) + ": found nothing"),
            std::string::npos);
  for (const json& value : {json(0), json(-1), json(max + 1), json(INT64_MAX), json(2.5), json("8"),
                            json::array({8}), json(nullptr), json(true)}) {
    EXPECT_EQ(problem(with(pointer, value)).find(std::string(name) + ": found "), 0)
        << pointer << " " << value;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Fields, ModelConfigNumber,
    testing::Values(
        NumberField{"/text_config/vocab_size", "text_config.vocab_size", 1 << 22},
        NumberField{"/text_config/hidden_size", "text_config.hidden_size", 65'536},
        NumberField{"/text_config/intermediate_size", "text_config.intermediate_size", 1 << 20},
        NumberField{"/text_config/num_hidden_layers", "text_config.num_hidden_layers", 1024},
        NumberField{"/text_config/num_attention_heads", "text_config.num_attention_heads", 4096},
        NumberField{"/text_config/num_key_value_heads", "text_config.num_key_value_heads", 4096},
        NumberField{"/text_config/head_dim", "text_config.head_dim", 4096},
        NumberField{"/text_config/max_position_embeddings", "text_config.max_position_embeddings",
                    1 << 27},
        NumberField{"/vision_config/depth", "vision_config.depth", 1024},
        NumberField{"/vision_config/hidden_size", "vision_config.hidden_size", 65'536},
        NumberField{"/vision_config/intermediate_size", "vision_config.intermediate_size", 1 << 20},
        NumberField{"/vision_config/num_heads", "vision_config.num_heads", 4096},
        NumberField{"/vision_config/out_hidden_size", "vision_config.out_hidden_size", 65'536},
        NumberField{"/vision_config/num_position_embeddings",
                    "vision_config.num_position_embeddings", 1 << 20}),
    [](const auto& test) {
      std::string name = test.param.name;
      std::replace(name.begin(), name.end(), '.', '_');
      return name;
    });

TEST(ModelConfig, OptionalNumbersAreInRangeToo) {
  EXPECT_EQ(problem(without("/vision_config/patch_size")), "none");
  EXPECT_EQ(problem(with("/vision_config/patch_size", 64)), "none");
  EXPECT_EQ(problem(with("/vision_config/patch_size", 65)),
            "vision_config.patch_size: found 65, expected a whole number from 1 to 64");
  EXPECT_EQ(problem(without("/text_config/rms_norm_eps")), "none");
  EXPECT_EQ(problem(with("/text_config/rms_norm_eps", 0)),
            "text_config.rms_norm_eps: found 0, expected a number from 1e-12 to 1");
}

TEST(ModelConfig, NumbersFitEachOther) {
  EXPECT_EQ(problem(with("/text_config/num_key_value_heads", 3)),
            "text_config.num_attention_heads: found 16, expected a multiple of "
            "num_key_value_heads, 3");
  EXPECT_EQ(problem(with("/text_config/num_key_value_heads", 32)),
            "text_config.num_attention_heads: found 16, expected a multiple of "
            "num_key_value_heads, 32");
  EXPECT_EQ(problem(with("/text_config/head_dim", 129)),
            "text_config.head_dim: found 129, expected an even number");
  EXPECT_EQ(problem(with("/text_config/head_dim", 130)),
            "text_config.head_dim: found 130, expected twice the sum of mrope_section, 24 + 20 + "
            "20");
  json wide = json::parse(kPublished);
  wide["text_config"]["num_attention_heads"] = 4096;
  wide["text_config"]["head_dim"] = 258;
  EXPECT_EQ(problem(wide.dump()),
            "text_config.num_attention_heads: found 4096, expected num_attention_heads × head_dim "
            "of at most 1048576");
  EXPECT_EQ(problem(with("/vision_config/num_heads", 24)),
            "vision_config.hidden_size: found 1024, expected a multiple of 4 × num_heads, 96");
  EXPECT_EQ(problem(with("/vision_config/num_heads", 512)),
            "vision_config.hidden_size: found 1024, expected a multiple of 4 × num_heads, 2048");
  EXPECT_EQ(problem(with("/vision_config/out_hidden_size", 2560)),
            "vision_config.out_hidden_size: found 2560, expected the hidden_size of text_config, "
            "2048");
  EXPECT_EQ(problem(with("/vision_config/num_position_embeddings", 2303)),
            "vision_config.num_position_embeddings: found 2303, expected a square number");
}

TEST(ModelConfig, DeepstackIndexesAscendBelowTheDepth) {
  const auto indexes = [](const json& value) {
    return problem(with("/vision_config/deepstack_visual_indexes", value));
  };
  const std::string field = "vision_config.deepstack_visual_indexes: found ";
  EXPECT_EQ(indexes({0, 1, 23}), "none");
  EXPECT_EQ(indexes(json::array()), "none");
  EXPECT_EQ(indexes({5, 11, 24}), field +
                                      "a list of 3, expected ascending numbers below depth, 24,"
                                      " but found 24 after 11");
  EXPECT_EQ(indexes({5, 5}), field +
                                 "a list of 2, expected ascending numbers below depth, 24, but "
                                 "found 5 after 5");
  EXPECT_EQ(indexes({-1}),
            field + "a list of 1, expected only whole numbers from 0 to 1024 in it, not -1");
  EXPECT_EQ(indexes(5), field + "5, expected a list of at most 1024 whole numbers");
  EXPECT_EQ(problem(without("/vision_config/deepstack_visual_indexes")),
            field + "nothing, expected a list of at most 1024 whole numbers");
  json shallow = json::parse(kPublished);
  shallow["text_config"]["num_hidden_layers"] = 2;
  EXPECT_EQ(problem(shallow.dump()),
            field + "a list of 3, expected at most one per layer of the text model, 2");
}

TEST(ModelConfig, SpecialTokensAreInTheVocabularyAndDiffer) {
  EXPECT_EQ(problem(with("/image_token_id", 151'936)),
            "image_token_id: found 151936, expected a whole number from 0 to 151935");
  EXPECT_EQ(problem(without("/vision_end_token_id")),
            "vision_end_token_id: found nothing, expected a whole number from 0 to 151935");
  EXPECT_EQ(problem(with("/video_token_id", 151'655)),
            "video_token_id: found 151655, expected a different id for each special token");
}

TEST(ModelConfig, MustBeAnObjectOfObjects) {
  EXPECT_EQ(problem("[]"), "found a list of 0, expected an object");
  EXPECT_EQ(problem(with("/text_config", 3)), "text_config: found 3, expected an object");
  EXPECT_EQ(problem(without("/text_config")), "text_config: found nothing, expected an object");
  EXPECT_EQ(problem(without("/vision_config")), "vision_config: found nothing, expected an object");
  EXPECT_EQ(problem("{", ErrorCode::bad_json), "syntax error near byte 2");
}

/// The published file as one of a mixture of experts.
json moe_document() {
  json document = json::parse(kPublished);
  document["model_type"] = "qwen3_vl_moe";
  json& text = document["text_config"];
  text["model_type"] = "qwen3_vl_moe_text";
  text["num_experts"] = 128;
  text["num_experts_per_tok"] = 8;
  text["moe_intermediate_size"] = 768;
  text["decoder_sparse_step"] = 1;
  text["mlp_only_layers"] = json::array();
  return document;
}

TEST(ModelConfig, ReadsAMixtureOfExperts) {
  json document = moe_document();
  document["text_config"].erase("intermediate_size");
  const Result<ModelConfig> config = parse_model_config(document.dump());
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_TRUE(config->text.is_moe());
  EXPECT_EQ(config->text.num_experts, 128);
  EXPECT_EQ(config->text.num_experts_per_tok, 8);
  EXPECT_EQ(config->text.moe_intermediate_size, 768);

  const Result<ModelConfig> again = parse_model_config(model_config_json(*config));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->text.num_experts_per_tok, 8);
  EXPECT_EQ(again->text.moe_intermediate_size, 768);
}

TEST(ModelConfig, RefusesExpertsThatThisEngineCannotPlace) {
  const auto with_text = [](const char* field, const json& value) {
    json document = moe_document();
    document["text_config"][field] = value;
    return document.dump();
  };
  EXPECT_EQ(unsupported(with_text("decoder_sparse_step", 2)),
            "text_config.decoder_sparse_step: found 2, expected 1");
  EXPECT_EQ(unsupported(with_text("mlp_only_layers", {0})),
            "text_config.mlp_only_layers: found a list of 1, expected an empty list");
  EXPECT_EQ(problem(with_text("num_experts_per_tok", 129)),
            "text_config.num_experts_per_tok: found 129, expected at most num_experts, 128");
  EXPECT_EQ(unsupported(with_text("model_type", "qwen3_vl_text")),
            "text_config.model_type: found \"qwen3_vl_text\", expected \"qwen3_vl_moe_text\"");
}

QuantizationConfig quantization(const json& config) {
  const Result<ModelConfig> parsed = parse_model_config(with("/quantization_config", config));
  if (parsed) return parsed->quantization;
  ADD_FAILURE() << parsed.error().message();
  return {};
}

TEST(ModelConfig, ReadsHowWeightsAreQuantised) {
  EXPECT_EQ(quantization_text(quantization({{"quant_method", "awq"},
                                            {"bits", 4},
                                            {"group_size", 128},
                                            {"version", "gemm"},
                                            {"zero_point", true}})),
            "AWQ, 4 bits, groups of 128");
  const QuantizationConfig gptq = quantization({{"quant_method", "gptq"},
                                                {"bits", 4},
                                                {"group_size", -1},
                                                {"desc_act", true},
                                                {"checkpoint_format", "gptq_v2"}});
  EXPECT_EQ(gptq.method, QuantMethod::gptq);
  EXPECT_EQ(gptq.group_size, -1);
  EXPECT_TRUE(gptq.gptq_v2);
  const QuantizationConfig fp8 =
      quantization({{"quant_method", "fp8"}, {"weight_block_size", {128, 64}}});
  EXPECT_EQ(fp8.block_rows, 128);
  EXPECT_EQ(fp8.block_cols, 64);
  const json group = {{"targets", {"Linear"}},
                      {"weights",
                       {{"num_bits", 4},
                        {"type", "int"},
                        {"symmetric", true},
                        {"strategy", "group"},
                        {"group_size", 32}}}};
  EXPECT_EQ(quantization_text(quantization({{"quant_method", "compressed-tensors"},
                                            {"format", "pack-quantized"},
                                            {"config_groups", {{"group_0", group}}}})),
            "compressed-tensors, 4 bits, groups of 32");
  EXPECT_EQ(problem(with("/compression_config", {{"format", "pack-quantized"}})), "none");
  EXPECT_EQ(problem(with("/text_config/quantization_config", {{"quant_method", "fp8"}})), "none");
}

TEST(ModelConfig, RefusesQuantisationThatItCannotRead) {
  const auto refusal = [](const json& config) {
    return unsupported(with("/quantization_config", config));
  };
  EXPECT_EQ(
      refusal({{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}}),
      "quantization_config.quant_method: found \"bitsandbytes\", expected the BF16 checkpoint "
      "that this one was made from, or its AWQ, GPTQ or FP8 version");
  EXPECT_EQ(refusal({{"quant_method", "hqq"}}),
            "quantization_config.quant_method: found \"hqq\", expected \"awq\", \"gptq\", "
            "\"compressed-tensors\" or \"fp8\"");
  EXPECT_EQ(refusal({{"quant_method", "awq"}, {"bits", 4}, {"version", "gemv"}}),
            "quantization_config.version: found \"gemv\", expected \"gemm\"");
  EXPECT_EQ(refusal({{"quant_method", "gptq"}, {"bits", 3}, {"group_size", 128}}),
            "quantization_config.bits: found 3, expected 4 or 8");
  EXPECT_EQ(
      refusal({{"quant_method", "compressed-tensors"}, {"format", "nvfp4-pack-quantized"}}),
      "quantization_config.format: found \"nvfp4-pack-quantized\", expected \"pack-quantized\", "
      "\"float-quantized\" or \"int-quantized\"");
  EXPECT_EQ(refusal({{"quant_method", "compressed-tensors"},
                     {"sparsity_config", {{"format", "sparse-24-bitmask"}}}}),
            "quantization_config.sparsity_config.format: found \"sparse-24-bitmask\", expected "
            "\"dense\"");
}

}  // namespace
}  // namespace qvl

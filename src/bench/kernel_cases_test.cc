#include "bench/kernel_cases.h"

#include <gtest/gtest.h>

#include <set>

#include "io/dummy.h"

namespace qvl {
namespace {

KernelCase find(const std::vector<KernelCase>& cases, Op op, std::string_view part, int64_t rows,
                int64_t context = 0) {
  for (const KernelCase& c : cases) {
    if (c.op == op && c.part == part && c.rows == rows && c.context == context) return c;
  }
  ADD_FAILURE() << "no case " << op_name(op) << " " << part << " of " << rows << " rows";
  return {};
}

std::vector<KernelCase> cases_of_2b(ActFormat activation = ActFormat::bf16) {
  const std::vector<int64_t> rows = {1, 8, 512};
  return kernel_cases(*preset_config("2b"), activation, rows);
}

TEST(KernelCases, OneRowOfQkvMovesItsWeightsAndLittleElse) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase qkv = find(cases, Op::rms_norm_linear, "qkv", 1);
  // 16 q, 8 k and 8 v heads of 128 from 2048; x and the norm in float32, y in bfloat16
  EXPECT_EQ(qkv.weight.out, 4096);
  EXPECT_EQ(qkv.bytes, 4096 * 2048 * 2 + 2048 * 4 + 2048 * 4 + 4096 * 2);
  EXPECT_EQ(qkv.flops, 2 * 4096 * 2048);
}

TEST(KernelCases, MoreRowsReadTheWeightsOnce) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase qkv = find(cases, Op::rms_norm_linear, "qkv", 512);
  EXPECT_EQ(qkv.bytes, 4096 * 2048 * 2 + 2048 * 4 + 512 * (2048 * 4 + 4096 * 2));
  EXPECT_EQ(qkv.flops, int64_t{512} * 2 * 4096 * 2048);
}

TEST(KernelCases, GateAndUpMakeHalfAsManyResultsAsTheyHaveRows) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase c = find(cases, Op::rms_norm_gate_up_silu, "gate_up", 8);
  EXPECT_EQ(c.bytes, 2 * 6144 * 2048 * 2 + 2048 * 4 + 8 * (2048 * 4 + 6144 * 2));
  EXPECT_EQ(c.flops, int64_t{8} * 2 * 2 * 6144 * 2048);
}

TEST(KernelCases, TheResidualIsReadAndWritten) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase down = find(cases, Op::linear_residual, "down", 8);
  EXPECT_EQ(down.bytes, 2048 * 6144 * 2 + 8 * (6144 * 2 + 2048 * 8));
}

/// The text shape of the published 30B-A3B.
ModelConfig config_of_30b_a3b() {
  ModelConfig config = *preset_config("8b");
  config.text.hidden_size = 2048;
  config.text.intermediate_size = 0;
  config.text.num_key_value_heads = 4;
  config.text.num_experts = 128;
  config.text.num_experts_per_tok = 8;
  config.text.moe_intermediate_size = 768;
  return config;
}

constexpr int64_t kHidden = 2048;
constexpr int64_t kRouter = kHidden * 128;
constexpr int64_t kExpert = kHidden * 768 * 3;

TEST(KernelCases, OneRowReadsTheRouterAndEightExperts) {
  const std::vector<int64_t> rows = {1, 512};
  const std::vector<KernelCase> cases = kernel_cases(config_of_30b_a3b(), ActFormat::bf16, rows);
  const KernelCase c = find(cases, Op::rms_norm_moe, "experts", 1);
  EXPECT_EQ(c.bytes, (kRouter + 8 * kExpert) * 2 + kHidden * 4 + kHidden * 8);
  EXPECT_EQ(c.flops, 2 * (kRouter + 8 * kExpert));
  // 512 rows leave no expert out, and each of them goes through eight
  const KernelCase prompt = find(cases, Op::rms_norm_moe, "experts", 512);
  EXPECT_EQ(prompt.bytes, (kRouter + 128 * kExpert) * 2 + kHidden * 4 + 512 * kHidden * 8);
  EXPECT_EQ(prompt.flops, 512 * c.flops);
}

TEST(KernelCases, ExpertsInFourBitsAreCountedAsSuch) {
  const std::vector<int64_t> rows = {1};
  const std::vector<KernelCase> cases =
      kernel_cases(config_of_30b_a3b(), ActFormat::bf16, rows, WeightFormat::int4);
  // half a byte per weight, 5 bytes per group of 128; the router stays bfloat16
  const int64_t expert = kExpert / 2 + kExpert / 128 * 5;
  EXPECT_EQ(find(cases, Op::rms_norm_moe, "experts", 1).bytes,
            kRouter * 2 + 8 * expert + kHidden * 4 + kHidden * 8);
}

TEST(KernelCases, AFewRowsShareSomeOfTheirExperts) {
  const std::vector<int64_t> rows = {8};
  const std::vector<KernelCase> cases = kernel_cases(config_of_30b_a3b(), ActFormat::bf16, rows);
  // 128 · (1 - (15/16)^8) = 51.6 of 64
  EXPECT_EQ(find(cases, Op::rms_norm_moe, "experts", 8).bytes,
            (kRouter + 52 * kExpert) * 2 + kHidden * 4 + 8 * kHidden * 8);
}

TEST(KernelCases, DecodeAttentionReadsTheCacheOfAllTokens) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase decode = find(cases, Op::attention, "decode", 1, 512);
  // keys and values of 8 heads of 128; 32 heads of qkv in, 16 out; 64 angles; two norms
  EXPECT_EQ(decode.bytes, 512 * 2 * 8 * 128 * 2 + (32 + 16) * 128 * 2 + 64 * 2 * 4 + 2 * 128 * 4);
  EXPECT_EQ(decode.flops, 4 * 512 * 16 * 128);
}

TEST(KernelCases, AFloat32CacheHasTwiceTheBytes) {
  const std::vector<KernelCase> cases = cases_of_2b(ActFormat::f32);
  const KernelCase decode = find(cases, Op::attention, "decode", 1, 4096);
  EXPECT_EQ(decode.bytes, 4096 * 2 * 8 * 128 * 4 + (32 + 16) * 128 * 4 + 64 * 2 * 4 + 2 * 128 * 4);
}

TEST(KernelCases, APromptSeesATriangleOfKeys) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase prefill = find(cases, Op::attention, "prefill", 512, 512);
  EXPECT_EQ(prefill.flops, int64_t{4} * (512 * 513 / 2) * 16 * 128);
}

TEST(KernelCases, PatchesSeeEachOther) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase vision = find(cases, Op::vision_attention, "vision", 3072, 3072);
  EXPECT_EQ(vision.flops, int64_t{4} * 3072 * 3072 * 1024);
  EXPECT_EQ(vision.bytes, int64_t{3072} * ((3 + 1) * 1024 * 2 + 64 * 4));
}

TEST(KernelCases, FourPatchesMakeOneRowOfTheMerger) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase fc1 = find(cases, Op::layer_norm_linear_gelu, "merger fc1", 768);
  // the norm is as wide as a patch, weight and bias; x is float32
  EXPECT_EQ(fc1.bytes, 4096 * 4096 * 2 + 4096 * 4 + 2 * 1024 * 4 + 768 * (4096 * 4 + 4096 * 2));
  EXPECT_EQ(fc1.flops, int64_t{768} * 2 * 4096 * 4096);
}

TEST(KernelCases, EmbeddingsOnlyMoveTheRowsTheyTake) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase gather = find(cases, Op::gather_rows, "embedding", 8);
  EXPECT_EQ(gather.bytes, 8 * (4 + 2048 * 2 + 2048 * 4));
  EXPECT_EQ(gather.flops, 0);
}

TEST(KernelCases, PatchesComeInAsBytes) {
  const std::vector<KernelCase> cases = cases_of_2b();
  const KernelCase patches = find(cases, Op::patch_embed, "patches", 3072);
  EXPECT_EQ(patches.bytes, 1024 * 1536 * 2 + 1024 * 4 + 3072 * (1536 + 1024 * 4));
}

TEST(KernelCases, TheHeadSeesNoWholePrompt) {
  for (const KernelCase& c : cases_of_2b()) {
    if (c.op == Op::rms_norm_head) {
      EXPECT_LE(c.rows, 64);
    }
  }
}

TEST(KernelCases, EveryOperatorOfAModelHasACase) {
  const auto expect_all_but = [](Op missing, const ModelConfig& config, const char* name) {
    std::set<Op> ops;
    const std::vector<int64_t> rows = {1};
    for (const KernelCase& c : kernel_cases(config, ActFormat::bf16, rows)) {
      ops.insert(c.op);
      EXPECT_GT(c.bytes, 0) << name << " " << op_name(c.op);
    }
    EXPECT_EQ(ops.size(), kOpCount - 1) << name;
    EXPECT_FALSE(ops.contains(missing)) << name;
  };
  for (const char* preset : {"2b", "4b", "8b"}) {
    expect_all_but(Op::rms_norm_moe, *preset_config(preset), preset);
  }
  expect_all_but(Op::rms_norm_gate_up_silu, config_of_30b_a3b(), "30b-a3b");
}

TEST(KernelCases, OperatorsAreFoundByTheirNames) {
  EXPECT_EQ(*find_op("rms_norm_gate_up_silu"), Op::rms_norm_gate_up_silu);
  EXPECT_EQ(op_name(Op::linear), "linear");
  EXPECT_EQ(find_op("softmax").error().code, ErrorCode::bad_flag);
}

}  // namespace
}  // namespace qvl

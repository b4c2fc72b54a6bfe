#include "io/model_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "io/memory_tensors.h"

namespace qvl {
namespace {

/// A word of eight 4-bit values, the first in the lowest bits.
uint32_t word(const std::vector<int>& values) {
  uint32_t out = 0;
  for (size_t i = 0; i < values.size(); ++i) out |= static_cast<uint32_t>(values[i]) << (4 * i);
  return out;
}

uint16_t half(float value) {  // exact for the powers of two and small fractions used here
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto exponent = static_cast<int>(bits >> 23 & 255U) - 112;
  return static_cast<uint16_t>((bits >> 16 & 0x8000U) | static_cast<uint32_t>(exponent) << 10 |
                               (bits >> 13 & 0x3ffU));
}

ModelConfig config_of(QuantMethod method, int bits = 4) {
  ModelConfig config;
  config.quantization.method = method;
  config.quantization.bits = bits;
  return config;
}

std::unique_ptr<TensorSource> opened(const MemoryTensors& stored, const ModelConfig& config) {
  auto result = model_tensors(std::make_unique<MemoryTensors>(stored), config);
  if (!result) {
    ADD_FAILURE() << result.error().message();
    return nullptr;
  }
  return std::move(*result);
}

std::string failure(const MemoryTensors& stored, const ModelConfig& config,
                    ErrorCode code = ErrorCode::bad_tensor) {
  const auto result = model_tensors(std::make_unique<MemoryTensors>(stored), config);
  if (result) return "none";
  EXPECT_EQ(result.error().code, code) << result.error().message();
  return result.error().detail;
}

/// All rows of a tensor as floats, read `at_once` rows at a time.
std::vector<float> weights(const TensorSource& source, const std::string& name, int64_t at_once) {
  const TensorInfo* const tensor = source.find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << name << " is absent";
    return {};
  }
  std::vector<float> out(static_cast<size_t>(tensor->elements()));
  std::vector<float> scratch(static_cast<size_t>(at_once * tensor->row_bytes()) / 4 + 1);
  for (int64_t first = 0; first < tensor->rows(); first += at_once) {
    const int64_t count = std::min(at_once, tensor->rows() - first);
    const auto* rows =
        static_cast<const std::byte*>(source.rows(*tensor, first, count, scratch.data()));
    for (int64_t r = 0; r < count; ++r) {
      float* const to = out.data() + (first + r) * tensor->cols();
      const std::byte* const row = rows + r * tensor->row_bytes();
      if (tensor->dtype == DType::i4) {
        dequantise({tensor->cols(), tensor->group_size}, row, to);
      } else {
        std::memcpy(to, row, static_cast<size_t>(tensor->row_bytes()));
      }
    }
  }
  return out;
}

/// Random 4-bit values, zero points and scales of W [out, in], and W itself.
struct Example {
  int64_t out, in, group;
  std::vector<int> q, z;  // [out, in], [out, groups]
  std::vector<float> s;   // [out, groups], exact in F16 and BF16

  Example(int64_t out_rows, int64_t in_cols, int64_t group_size, int smallest_zero)
      : out(out_rows), in(in_cols), group(group_size) {
    std::mt19937 random(7);
    for (int64_t i = 0; i < out * in; ++i) q.push_back(static_cast<int>(random() % 16));
    for (int64_t i = 0; i < out * groups(); ++i) {
      z.push_back(smallest_zero +
                  static_cast<int>(random() % (16 - static_cast<unsigned>(smallest_zero))));
      s.push_back(std::ldexp(static_cast<float>(64 + random() % 64), -12));
    }
  }

  int64_t groups() const { return in / group; }
  int q_at(int64_t n, int64_t k) const { return q[static_cast<size_t>(n * in + k)]; }
  size_t cell(int64_t n, int64_t g) const { return static_cast<size_t>(n * groups() + g); }

  std::vector<float> weights() const {
    std::vector<float> w;
    for (int64_t n = 0; n < out; ++n) {
      for (int64_t k = 0; k < in; ++k) {
        w.push_back(static_cast<float>(q_at(n, k) - z[cell(n, k / group)]) * s[cell(n, k / group)]);
      }
    }
    return w;
  }

  /// [groups, out]
  std::vector<uint16_t> column_scales() const {
    std::vector<uint16_t> scales;
    for (int64_t g = 0; g < groups(); ++g) {
      for (int64_t n = 0; n < out; ++n) scales.push_back(half(s[cell(n, g)]));
    }
    return scales;
  }
};

MemoryTensors awq_file(const Example& e) {
  constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<uint32_t> qweight;
  std::vector<uint32_t> qzeros;
  for (int64_t k = 0; k < e.in; ++k) {
    for (int64_t c = 0; c < e.out; c += 8) {
      std::vector<int> values;
      for (const int j : kOrder) values.push_back(e.q_at(c + j, k));
      qweight.push_back(word(values));
    }
  }
  for (int64_t g = 0; g < e.groups(); ++g) {
    for (int64_t c = 0; c < e.out; c += 8) {
      std::vector<int> values;
      for (const int j : kOrder) values.push_back(e.z[e.cell(c + j, g)]);
      qzeros.push_back(word(values));
    }
  }
  MemoryTensors file;
  file.add("m.qweight", DType::i32, {e.in, e.out / 8}, qweight);
  file.add("m.qzeros", DType::i32, {e.groups(), e.out / 8}, qzeros);
  file.add("m.scales", DType::f16, {e.groups(), e.out}, e.column_scales());
  return file;
}

/// `zero_offset`: what is taken from zero points before they are stored.
MemoryTensors gptq_file(const Example& e, int zero_offset) {
  std::vector<uint32_t> qweight;
  std::vector<uint32_t> qzeros;
  for (int64_t k = 0; k < e.in; k += 8) {
    for (int64_t n = 0; n < e.out; ++n) {
      std::vector<int> values;
      for (int64_t j = 0; j < 8; ++j) values.push_back(e.q_at(n, k + j));
      qweight.push_back(word(values));
    }
  }
  for (int64_t g = 0; g < e.groups(); ++g) {
    for (int64_t c = 0; c < e.out; c += 8) {
      std::vector<int> values;
      for (int64_t j = 0; j < 8; ++j) values.push_back(e.z[e.cell(c + j, g)] - zero_offset);
      qzeros.push_back(word(values));
    }
  }
  MemoryTensors file;
  file.add("m.qweight", DType::i32, {e.in / 8, e.out}, qweight);
  file.add("m.qzeros", DType::i32, {e.groups(), e.out / 8}, qzeros);
  file.add("m.scales", DType::f16, {e.groups(), e.out}, e.column_scales());
  return file;
}

std::vector<int32_t> groups_in_order(const Example& e) {
  std::vector<int32_t> index;
  for (int64_t k = 0; k < e.in; ++k) index.push_back(static_cast<int32_t>(k / e.group));
  return index;
}

TEST(ModelTensors, AwqUnpacksTheOrderOfItsKernel) {
  // One input column, eight outputs with the values 0 to 7: the word of the published layout.
  MemoryTensors file;
  file.add<uint32_t>("m.qweight", DType::i32, {2, 1}, {0x75316420U, 0});
  file.add<uint32_t>("m.qzeros", DType::i32, {1, 1}, {0});
  file.add<uint16_t>("m.scales", DType::f16, {1, 8}, std::vector<uint16_t>(8, half(1.0F)));
  const auto source = opened(file, config_of(QuantMethod::awq));
  const std::vector<float> w = weights(*source, "m.weight", 8);
  for (size_t n = 0; n < 8; ++n) EXPECT_EQ(w[2 * n], static_cast<float>(n));
}

TEST(ModelTensors, AwqIsExact) {
  const Example e(24, 96, 32, 0);
  const auto source = opened(awq_file(e), config_of(QuantMethod::awq));
  const TensorInfo* const w = source->find("m.weight");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->dtype, DType::i4);
  EXPECT_EQ(w->group_size, 32);
  EXPECT_EQ(w->shape, (std::vector<int64_t>{24, 96}));
  EXPECT_EQ(w->quantised, "INT4");
  for (const int64_t at_once : {1, 5, 24})
    EXPECT_EQ(weights(*source, "m.weight", at_once), e.weights());
  EXPECT_EQ(source->tensors().size(), 1);
}

TEST(ModelTensors, GptqStoresZeroPointsLessOneUnlessItIsVersionTwo) {
  const Example e(16, 64, 16, 1);
  ModelConfig v1 = config_of(QuantMethod::gptq);
  EXPECT_EQ(weights(*opened(gptq_file(e, 1), v1), "m.weight", 3), e.weights());
  ModelConfig v2 = v1;
  v2.quantization.gptq_v2 = true;
  EXPECT_EQ(weights(*opened(gptq_file(e, 0), v2), "m.weight", 16), e.weights());
}

TEST(ModelTensors, AGptqZeroPointOfFifteenMeansSixteen) {
  Example e(8, 8, 8, 1);
  std::fill(e.z.begin(), e.z.end(), 16);
  EXPECT_EQ(weights(*opened(gptq_file(e, 1), config_of(QuantMethod::gptq)), "m.weight", 8),
            e.weights());
}

TEST(ModelTensors, GptqColumnsInOrderStayInFourBits) {
  const Example e(16, 64, 16, 1);
  MemoryTensors file = gptq_file(e, 1);
  file.add("m.g_idx", DType::i32, {64}, groups_in_order(e));
  const auto source = opened(file, config_of(QuantMethod::gptq));
  EXPECT_EQ(source->find("m.weight")->dtype, DType::i4);
  EXPECT_EQ(source->find("m.g_idx"), nullptr);
}

TEST(ModelTensors, GptqColumnsOutOfOrderTakeTheirOwnGroup) {
  const Example e(16, 64, 16, 1);
  std::vector<int32_t> index = groups_in_order(e);
  std::shuffle(index.begin(), index.end(), std::mt19937(3));
  MemoryTensors file = gptq_file(e, 1);
  file.add("m.g_idx", DType::i32, {64}, index);
  std::vector<float> expected;
  for (int64_t n = 0; n < e.out; ++n) {
    for (int64_t k = 0; k < e.in; ++k) {
      const size_t cell = e.cell(n, index[static_cast<size_t>(k)]);
      expected.push_back(static_cast<float>(e.q_at(n, k) - e.z[cell]) * e.s[cell]);
    }
  }
  const auto source = opened(file, config_of(QuantMethod::gptq));
  EXPECT_EQ(source->find("m.weight")->dtype, DType::f32);
  EXPECT_EQ(source->find("m.weight")->quantised, "INT4");
  EXPECT_EQ(weights(*source, "m.weight", 7), expected);

  index[9] = 4;
  file.add("m.g_idx", DType::i32, {64}, index);
  EXPECT_EQ(failure(file, config_of(QuantMethod::gptq)),
            "m.g_idx places column 9 in group 4, expected 0 to 3");
}

TEST(ModelTensors, GptqOfEightBits) {
  // q = 200, 3, 128, 255 along `in`; zero point stored as 127; scale 0.5.
  MemoryTensors file;
  std::vector<uint32_t> qweight(4, 200U | 3U << 8 | 128U << 16 | 255U << 24);
  file.add("m.qweight", DType::i32, {1, 4}, qweight);
  file.add<uint32_t>("m.qzeros", DType::i32, {1, 1}, {0x7f7f7f7fU});
  file.add("m.scales", DType::f16, {1, 4}, std::vector<uint16_t>(4, half(0.5F)));
  const auto source = opened(file, config_of(QuantMethod::gptq, 8));
  const std::vector<float> w = weights(*source, "m.weight", 4);
  EXPECT_EQ(std::vector<float>(w.begin() + 4, w.begin() + 8),
            (std::vector<float>{36.0F, -62.5F, 0.0F, 63.5F}));
  EXPECT_EQ(source->find("m.weight")->quantised, "INT8");
}

/// compressed-tensors; zero points are stored if `symmetric` is not set.
MemoryTensors packed_file(const Example& e, bool symmetric) {
  MemoryTensors file;
  std::vector<uint32_t> packed;
  for (int64_t n = 0; n < e.out; ++n) {
    for (int64_t k = 0; k < e.in; k += 8) {
      std::vector<int> values;
      for (int64_t j = 0; j < 8; ++j) values.push_back(e.q_at(n, k + j));
      packed.push_back(word(values));
    }
  }
  file.add("m.weight_packed", DType::i32, {e.out, e.in / 8}, packed);
  file.add("m.weight_scale", DType::f32, {e.out, e.groups()}, e.s);
  file.add<int64_t>("m.weight_shape", DType::i64, {2}, {e.out, e.in});
  if (symmetric) return file;
  std::vector<uint32_t> zeros;
  for (int64_t n = 0; n < e.out; n += 8) {
    for (int64_t g = 0; g < e.groups(); ++g) {
      std::vector<int> values;
      for (int64_t j = n; j < std::min(n + 8, e.out); ++j) values.push_back(e.z[e.cell(j, g)]);
      zeros.push_back(word(values));
    }
  }
  file.add("m.weight_zero_point", DType::i32, {(e.out + 7) / 8, e.groups()}, zeros);
  return file;
}

TEST(ModelTensors, PackedWeightsSymmetricAndNot) {
  Example e(11, 64, 32, 0);  // 11 rows: the last word of zero points is not full
  EXPECT_EQ(weights(*opened(packed_file(e, false), config_of(QuantMethod::compressed_tensors)),
                    "m.weight", 4),
            e.weights());
  std::fill(e.z.begin(), e.z.end(), 8);
  const auto source = opened(packed_file(e, true), config_of(QuantMethod::compressed_tensors));
  EXPECT_EQ(weights(*source, "m.weight", 4), e.weights());
  EXPECT_EQ(source->tensors().size(), 1);
}

TEST(ModelTensors, OneScalePerRowIsOneGroup) {
  const Example e(5, 64, 64, 0);
  const auto source = opened(packed_file(e, false), config_of(QuantMethod::compressed_tensors));
  EXPECT_EQ(source->find("m.weight")->group_size, 64);
  EXPECT_EQ(weights(*source, "m.weight", 2), e.weights());
}

TEST(ModelTensors, MixedFilesTellTheirBitsByTheStoredShape) {
  MemoryTensors file;
  file.add<uint32_t>("m.weight_packed", DType::i32, {1, 1},
                     {0U | 128U << 8 | 129U << 16 | 255U << 24});
  file.add<float>("m.weight_scale", DType::f32, {1, 1}, {2.0F});
  file.add<int64_t>("m.weight_shape", DType::i64, {2}, {1, 4});
  const auto source = opened(file, config_of(QuantMethod::compressed_tensors, 0));
  EXPECT_EQ(weights(*source, "m.weight", 1), (std::vector<float>{-256.0F, 0.0F, 2.0F, 254.0F}));
}

TEST(ModelTensors, AShapeAndAnOrderOfColumnsMustBeVectors) {
  MemoryTensors packed = packed_file(Example(8, 64, 32, 0), true);
  packed.add<int64_t>("m.weight_shape", DType::i64, {1, 2}, {8, 64});
  EXPECT_EQ(failure(packed, config_of(QuantMethod::compressed_tensors, 0)),
            "m.weight_shape is I64 of shape [1, 2], expected I64 of shape [2]");

  const Example e(16, 64, 16, 1);
  MemoryTensors gptq = gptq_file(e, 1);
  gptq.add("m.g_idx", DType::i32, {2, 32}, groups_in_order(e));
  EXPECT_EQ(failure(gptq, config_of(QuantMethod::gptq)),
            "m.g_idx has shape [2, 32], expected [64]");
}

TEST(ModelTensors, Fp8ScalesPerBlockPerRowAndPerTensor) {
  // 1.0, 448, the smallest subnormal, -2 and zeros.
  std::vector<uint8_t> values(std::size_t{3} * 5, 0);
  values[0] = 0x38;
  values[4] = 0x7e;
  values[5] = 0x01;
  values[14] = 0xc0;
  ModelConfig config = config_of(QuantMethod::fp8, 8);
  config.quantization.block_rows = 2;
  config.quantization.block_cols = 4;
  MemoryTensors file;
  file.add("m.weight", DType::f8_e4m3, {3, 5}, values);
  file.add<float>("m.weight_scale_inv", DType::f32, {2, 2}, {0.5F, 2.0F, 3.0F, 4.0F});
  std::vector<float> expected(15, 0.0F);
  expected[0] = 0.5F;
  expected[4] = 896.0F;
  expected[5] = std::ldexp(1.0F, -10);
  expected[14] = -8.0F;
  const auto source = opened(file, config);
  EXPECT_EQ(weights(*source, "m.weight", 2), expected);
  EXPECT_EQ(source->find("m.weight")->quantised, "FP8");

  file.remove("m.weight_scale_inv");
  file.add<float>("m.weight_scale", DType::f32, {3, 1}, {2.0F, 4.0F, 8.0F});
  file.add<float>("m.input_scale", DType::f32, {1}, {1.0F});
  expected[0] = 2.0F;
  expected[4] = 896.0F;
  expected[5] = std::ldexp(1.0F, -7);
  expected[14] = -16.0F;
  EXPECT_EQ(weights(*opened(file, config), "m.weight", 3), expected);
  EXPECT_EQ(opened(file, config)->tensors().size(), 1);

  file.add<float>("m.weight_scale", DType::f32, {}, {10.0F});
  EXPECT_EQ(weights(*opened(file, config), "m.weight", 3)[14], -20.0F);

  file.add<float>("m.weight_scale", DType::f32, {2}, {1.0F, 1.0F});
  EXPECT_EQ(failure(file, config),
            "m.weight_scale is F32 of shape [2], expected one element, [3, 1] or [2, 2]");
  file.remove("m.weight_scale");
  EXPECT_EQ(failure(file, config, ErrorCode::missing_tensor), "m.weight_scale was not found");
}

TEST(ModelTensors, Int8WithOneScalePerRow) {
  MemoryTensors file;
  file.add<int8_t>("m.weight", DType::i8, {2, 2}, {-128, 127, 1, -1});
  file.add<float>("m.weight_scale", DType::f32, {2, 1}, {0.5F, 4.0F});
  const auto source = opened(file, config_of(QuantMethod::compressed_tensors, 8));
  EXPECT_EQ(weights(*source, "m.weight", 2), (std::vector<float>{-64.0F, 63.5F, 4.0F, -4.0F}));
}

TEST(ModelTensors, WeightsOfBitsandbytesAreRefusedByName) {
  MemoryTensors file;
  file.add<int8_t>("m.weight", DType::i8, {1, 1}, {1});
  file.add<float>("m.SCB", DType::f32, {1}, {1.0F});
  EXPECT_EQ(failure(file, config_of(QuantMethod::none), ErrorCode::unsupported_model),
            "m.weight is a weight of bitsandbytes, expected the BF16 checkpoint that this one was "
            "made from, or its AWQ, GPTQ or FP8 version");
}

ModelConfig moe_config(int64_t hidden, int64_t width, int64_t experts) {
  ModelConfig config;
  config.text.hidden_size = hidden;
  config.text.moe_intermediate_size = width;
  config.text.num_experts = experts;
  config.text.num_experts_per_tok = 1;
  return config;
}

/// W of expert e, projection p (gate 0, up 1, down 2): numbers that tell all of it.
float expert_weight(int64_t e, int64_t p, int64_t n, int64_t k) {
  return static_cast<float>(e * 40'000 + p * 10'000 + n * 100 + k);
}

/// Both fused tensors, [experts, in, out] or [experts, out, in].
MemoryTensors fused_experts(const ModelConfig& config, bool in_first) {
  const int64_t h = config.text.hidden_size;
  const int64_t m = config.text.moe_intermediate_size;
  std::vector<float> gate_up;
  std::vector<float> down;
  for (int64_t e = 0; e < config.text.num_experts; ++e) {
    for (int64_t a = 0; a < (in_first ? h : 2 * m); ++a) {
      for (int64_t b = 0; b < (in_first ? 2 * m : h); ++b) {
        const int64_t n = in_first ? b : a;
        gate_up.push_back(expert_weight(e, n / m, n % m, in_first ? a : b));
      }
    }
    for (int64_t a = 0; a < (in_first ? m : h); ++a) {
      for (int64_t b = 0; b < (in_first ? h : m); ++b) {
        down.push_back(expert_weight(e, 2, in_first ? b : a, in_first ? a : b));
      }
    }
  }
  const int64_t count = config.text.num_experts;
  MemoryTensors file;
  file.add("l.mlp.experts.gate_up_proj", DType::f32,
           in_first ? std::vector<int64_t>{count, h, 2 * m} : std::vector<int64_t>{count, 2 * m, h},
           gate_up);
  file.add("l.mlp.experts.down_proj", DType::f32,
           in_first ? std::vector<int64_t>{count, m, h} : std::vector<int64_t>{count, h, m}, down);
  return file;
}

TEST(ModelTensors, FusedExpertsComeApartWhicheverAxisIsFirst) {
  struct Shape {
    int64_t hidden;
    int64_t intermediate;
  };
  for (const Shape shape : {Shape{6, 5}, {70, 45}}) {
    const ModelConfig config = moe_config(shape.hidden, shape.intermediate, 3);
    for (const bool in_first : {true, false}) {
      const auto source = opened(fused_experts(config, in_first), config);
      EXPECT_EQ(source->tensors().size(), 9);
      const char* const names[] = {"gate_proj", "up_proj", "down_proj"};
      for (int64_t e = 0; e < 3; ++e) {
        for (int64_t p = 0; p < 3; ++p) {
          std::vector<float> expected;
          for (int64_t n = 0; n < (p == 2 ? shape.hidden : shape.intermediate); ++n) {
            for (int64_t k = 0; k < (p == 2 ? shape.intermediate : shape.hidden); ++k) {
              expected.push_back(expert_weight(e, p, n, k));
            }
          }
          const std::string name =
              "l.mlp.experts." + std::to_string(e) + "." + names[p] + ".weight";
          EXPECT_EQ(weights(*source, name, 2), expected) << name << " in first: " << in_first;
        }
      }
    }
  }
}

TEST(ModelTensors, FusedExpertsOfAnotherShapeAreRefused) {
  const MemoryTensors file = fused_experts(moe_config(6, 5, 3), true);
  EXPECT_EQ(failure(file, moe_config(6, 4, 3)),
            "l.mlp.experts.down_proj is F32 of shape [3, 5, 6], expected [3, 4, 6] or [3, 6, 4]");
}

TEST(ModelTensors, FusedFp8ExpertsTakeTheScaleOfTheirBlock) {
  ModelConfig config = moe_config(4, 2, 2);
  config.quantization.block_rows = 2;
  config.quantization.block_cols = 2;
  MemoryTensors file;
  file.add("l.mlp.experts.gate_up_proj", DType::f8_e4m3, {2, 4, 4}, std::vector<uint8_t>(32, 0x38));
  const std::vector<float> scales{1, 2, 3, 4, 5, 6, 7, 8};
  file.add("l.mlp.experts.gate_up_proj_scale_inv", DType::f32, {2, 2, 2}, scales);
  const auto source = opened(file, config);
  // Scales [expert, block of in, block of out]: gates are the first block of out.
  EXPECT_EQ(weights(*source, "l.mlp.experts.0.gate_proj.weight", 1),
            (std::vector<float>{1, 1, 3, 3, 1, 1, 3, 3}));
  EXPECT_EQ(weights(*source, "l.mlp.experts.1.up_proj.weight", 2),
            (std::vector<float>{6, 6, 8, 8, 6, 6, 8, 8}));
  EXPECT_EQ(source->tensors().size(), 4);
}

TEST(ModelTensors, WhatIsMissingOrMisshapenIsNamed) {
  const Example e(16, 64, 16, 1);
  const ModelConfig awq = config_of(QuantMethod::awq);
  MemoryTensors file = awq_file(e);
  file.remove("m.qzeros");
  EXPECT_EQ(failure(file, awq, ErrorCode::missing_tensor), "m.qzeros was not found");
  file = awq_file(e);
  file.add("m.scales", DType::f16, {4, 15}, std::vector<uint16_t>(60, 0));
  EXPECT_EQ(failure(file, awq), "m.scales has shape [4, 15], expected [groups, 16]");
  file = awq_file(e);
  file.add("m.qweight", DType::u8, {64, 2}, std::vector<uint8_t>(128, 0));
  EXPECT_EQ(failure(file, awq), "m.qweight is U8, expected I32");
  file = awq_file(e);
  file.add("m.weight", DType::f32, {1}, std::vector<float>(1));
  EXPECT_EQ(failure(file, awq, ErrorCode::bad_checkpoint),
            "m.weight is there twice, as it is and as m.qweight");
}

TEST(ModelTensors, OtherTensorsComeThroughAndScalesOfCachesDoNot) {
  MemoryTensors file;
  file.add<float>("a.weight", DType::f32, {1}, {1.0F});
  file.add<float>("l.self_attn.k_scale", DType::f32, {1}, {1.0F});
  file.add<float>("strange", DType::f32, {1}, {1.0F});
  const auto source = opened(file, config_of(QuantMethod::none));
  ASSERT_EQ(source->tensors().size(), 2);
  EXPECT_NE(source->find("a.weight"), nullptr);
  EXPECT_NE(source->find("strange"), nullptr);
}

}  // namespace
}  // namespace qvl

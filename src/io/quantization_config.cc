#include "io/quantization_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "io/json.h"

namespace qvl {
namespace {

constexpr IntRange kBits = {1, 16};
constexpr IntRange kGroupSize = {-1, 65'536};
constexpr IntRange kBlock = {1, 65'536};
constexpr size_t kMaxConfigGroups = 256;

void refuse(JsonReader& reader, std::string_view field, std::string_view expected) {
  reader.fail(field, expected, ErrorCode::unsupported_model);
}

int read_bits(JsonReader& reader, std::string_view field, std::initializer_list<int> supported,
              std::string_view expected) {
  const auto bits = static_cast<int>(reader.integer(field, kBits));
  if (std::find(supported.begin(), supported.end(), bits) == supported.end()) {
    refuse(reader, field, expected);
  }
  return bits;
}

/// A GPTQ file of -1 means one group per row, as null does in compressed-tensors.
int64_t read_group_size(JsonReader& reader) {
  const int64_t size = reader.integer("group_size", kGroupSize, -1);
  if (size == 0) reader.fail("group_size", "-1 or a positive number");
  return size;
}

void read_awq(JsonReader& reader, QuantizationConfig& config) {
  const std::string version = reader.text("version", "gemm");
  if (version != "gemm" && version != "GEMM") refuse(reader, "version", "\"gemm\"");
  config.bits = read_bits(reader, reader.has("bits") ? "bits" : "w_bit", {4}, "4");
  config.group_size = reader.has("q_group_size") ? reader.integer("q_group_size", kGroupSize)
                                                 : read_group_size(reader);
}

void read_gptq(JsonReader& reader, QuantizationConfig& config) {
  config.bits = read_bits(reader, "bits", {4, 8}, "4 or 8");
  config.group_size = read_group_size(reader);
  const std::string format = reader.text("checkpoint_format", "gptq");
  config.gptq_v2 = format == "gptq_v2";
  if (format != "gptq" && !config.gptq_v2) {
    refuse(reader, "checkpoint_format", "\"gptq\" or \"gptq_v2\"");
  }
}

void read_fp8(JsonReader& reader, QuantizationConfig& config) {
  config.bits = 8;
  const std::string format = reader.text("fmt", "e4m3");
  if (format != "e4m3" && format != "float8_e4m3fn") refuse(reader, "fmt", "\"e4m3\"");
  if (!reader.has("weight_block_size")) return;
  const auto block = reader.integers("weight_block_size", kBlock, 2);
  if (block.size() != 2) {
    reader.fail("weight_block_size", "a list of 2 whole numbers");
    return;
  }
  config.block_rows = block[0];
  config.block_cols = block[1];
}

void read_compressed_tensors(JsonReader& reader, QuantizationConfig& config) {
  constexpr std::array<std::string_view, 6> kFormats = {"dense",           "pack-quantized",
                                                        "float-quantized", "int-quantized",
                                                        "naive-quantized", "mixed-precision"};
  const std::string format = reader.text("format", "dense");
  if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end()) {
    refuse(reader, "format", "\"pack-quantized\", \"float-quantized\" or \"int-quantized\"");
  }
  JsonReader sparsity = reader.optional_object("sparsity_config");
  if (sparsity.text("format", "dense") != "dense") refuse(sparsity, "format", "\"dense\"");

  JsonReader groups = reader.optional_object("config_groups");
  const std::vector<std::string> names = groups.names(kMaxConfigGroups);
  for (const std::string& name : names) {
    JsonReader group = groups.object(name);
    JsonReader weights = group.optional_object("weights");
    if (!weights.has("num_bits")) continue;
    const int bits = read_bits(weights, "num_bits", {4, 8}, "4 or 8");
    const std::string type = weights.text("type", "int");
    if (type != "int" && !(type == "float" && bits == 8)) {
      refuse(weights, "type", "\"int\", or \"float\" of 8 bits");
    }
    if (weights.has("block_structure")) {
      const auto size = weights.integers("block_structure", kBlock, 2);
      if (size.size() == 2) {
        config.block_rows = size[0];
        config.block_cols = size[1];
      }
    }
    const bool is_only = names.size() == 1;
    config.bits = is_only ? bits : 0;
    config.group_size = is_only ? read_group_size(weights) : 0;
  }
}

}  // namespace

QuantizationConfig read_quantization(JsonReader& parent) {
  QuantizationConfig config;
  const bool is_old = !parent.has("quantization_config");
  const char* const field = is_old ? "compression_config" : "quantization_config";
  if (!parent.has(field)) return config;
  JsonReader reader = parent.object(field);
  const std::string method = reader.text("quant_method", is_old ? "compressed-tensors" : "");
  if (method == "awq") {
    config.method = QuantMethod::awq;
    read_awq(reader, config);
  } else if (method == "gptq") {
    config.method = QuantMethod::gptq;
    read_gptq(reader, config);
  } else if (method == "fp8") {
    config.method = QuantMethod::fp8;
    read_fp8(reader, config);
  } else if (method == "compressed-tensors") {
    config.method = QuantMethod::compressed_tensors;
    read_compressed_tensors(reader, config);
  } else if (method == "bitsandbytes") {
    refuse(reader, "quant_method",
           "the BF16 checkpoint that this one was made from, or its AWQ, GPTQ or FP8 version");
  } else {
    refuse(reader, "quant_method", "\"awq\", \"gptq\", \"compressed-tensors\" or \"fp8\"");
  }
  return config;
}

std::string quantization_text(const QuantizationConfig& config) {
  std::string text;
  switch (config.method) {
    case QuantMethod::none:
      return {};
    case QuantMethod::awq:
      text = "AWQ";
      break;
    case QuantMethod::gptq:
      text = "GPTQ";
      break;
    case QuantMethod::compressed_tensors:
      text = "compressed-tensors";
      break;
    case QuantMethod::fp8:
      return fmt::format("FP8, scales of {} × {} weights", config.block_rows, config.block_cols);
  }
  if (config.bits > 0) text += fmt::format(", {} bits", config.bits);
  if (config.group_size > 0) text += fmt::format(", groups of {}", config.group_size);
  return text;
}

}  // namespace qvl

/// Tensors of hostile shapes and contents under the names that formats use: whatever comes through
/// can be read to its last row, and an i4 row is a row.

#include <array>
#include <string>

#include "core/check.h"
#include "io/memory_tensors.h"
#include "io/model_tensors.h"

namespace {

constexpr std::array kNames = {"m.weight",
                               "m.qweight",
                               "m.qzeros",
                               "m.scales",
                               "m.g_idx",
                               "m.weight_packed",
                               "m.weight_scale",
                               "m.weight_zero_point",
                               "m.weight_shape",
                               "m.weight_g_idx",
                               "m.weight_scale_inv",
                               "m.SCB",
                               "l.mlp.experts.gate_up_proj",
                               "l.mlp.experts.gate_up_proj_scale_inv",
                               "l.mlp.experts.down_proj",
                               "l.mlp.experts.down_proj_scale_inv"};
constexpr std::array kTypes = {qvl::DType::i32,     qvl::DType::f16, qvl::DType::bf16,
                               qvl::DType::f8_e4m3, qvl::DType::i8,  qvl::DType::u8,
                               qvl::DType::i64,     qvl::DType::f32};

/// Takes the input byte by byte; zeros after its end.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ >= size_; }
  uint8_t next() { return empty() ? 0 : data_[at_++]; }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

qvl::ModelConfig read_config(Bytes& in) {
  qvl::ModelConfig config;
  config.quantization.method = static_cast<qvl::QuantMethod>(in.next() % 5);
  config.quantization.bits = std::array{0, 4, 8}[in.next() % 3];
  config.quantization.gptq_v2 = in.next() % 2 != 0;
  config.quantization.block_rows = 1 + in.next() % 8;
  config.quantization.block_cols = 1 + in.next() % 8;
  config.text.hidden_size = 1 + in.next() % 16;
  config.text.num_experts = in.next() % 4;
  config.text.moe_intermediate_size = 1 + in.next() % 16;
  return config;
}

void add_tensor(Bytes& in, qvl::MemoryTensors& tensors) {
  const std::string name = kNames[in.next() % kNames.size()];
  const qvl::DType dtype = kTypes[in.next() % kTypes.size()];
  std::vector<int64_t> shape(in.next() % 4);
  int64_t elements = 1;
  for (int64_t& dim : shape) {
    dim = in.next() % 20;
    elements *= dim;
  }
  std::vector<uint8_t> data(static_cast<size_t>(elements * dtype_bytes(dtype)));
  const uint8_t fill = in.next();
  for (size_t i = 0; i < data.size(); ++i) data[i] = i < 64 ? in.next() : fill;
  tensors.add(name, dtype, std::move(shape), data);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes in(data, size);
  const qvl::ModelConfig config = read_config(in);
  auto tensors = std::make_unique<qvl::MemoryTensors>();
  for (int i = 0; i < 8 && !in.empty(); ++i) add_tensor(in, *tensors);
  const auto source = qvl::model_tensors(std::move(tensors), config);
  if (!source) {
    qvl::require(!source.error().message().empty(), "an error without a message");
    return 0;
  }
  for (const qvl::TensorInfo* tensor : (*source)->tensors()) {
    if (tensor->elements() == 0) continue;
    std::vector<std::byte> row(static_cast<size_t>(tensor->row_bytes()));
    for (int64_t r = 0; r < tensor->rows(); ++r) {
      const void* const read = (*source)->rows(*tensor, r, 1, row.data());
      if (tensor->dtype != qvl::DType::i4) continue;
      std::vector<float> wide(static_cast<size_t>(tensor->cols()));
      qvl::dequantise({tensor->cols(), tensor->group_size}, read, wide.data());
    }
    (*source)->release(*tensor, 0, tensor->rows());
  }
  return 0;
}

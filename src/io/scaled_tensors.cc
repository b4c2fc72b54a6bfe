#include "io/scaled_tensors.h"

#include <fmt/format.h>

#include <algorithm>

namespace qvl {
namespace {

/// How many rows and columns of W share a scale.
struct Blocks {
  int64_t rows = 1;
  int64_t cols = 1;
};

class ScaledTensor final : public DerivedTensor {
 public:
  ScaledTensor(TensorInfo info, const TensorSource& source, const TensorInfo& values,
               const TensorInfo& scales, Blocks blocks,
               const std::vector<const TensorInfo*>& extras)
      : DerivedTensor(std::move(info), source, with(values, scales, extras)),
        values_(values),
        scales_(scales),
        blocks_(blocks) {}

  void read(int64_t first, int64_t count, void* to) const override {
    const int64_t in = cols();
    const int64_t per_row = (in + blocks_.cols - 1) / blocks_.cols;
    std::vector<float> row_scales(static_cast<size_t>(per_row));
    Reader values = reader(values_);
    Reader scales = reader(scales_);
    auto* out = static_cast<float*>(to);
    for (int64_t n = first; n < first + count; ++n, out += in) {
      scales.floats(n / blocks_.rows, 0, per_row, row_scales.data());
      if (values_.dtype == DType::i8) {
        std::copy_n(values.row<int8_t>(n), in, out);
      } else {
        values.floats(n, 0, in, out);
      }
      for (int64_t b = 0; b < per_row; ++b) {
        const int64_t end = std::min(in, (b + 1) * blocks_.cols);
        for (int64_t k = b * blocks_.cols; k < end; ++k) out[k] *= row_scales[size_t(b)];
      }
    }
  }

 private:
  static std::vector<const TensorInfo*> with(const TensorInfo& values, const TensorInfo& scales,
                                             const std::vector<const TensorInfo*>& extras) {
    std::vector<const TensorInfo*> all = {&values, &scales};
    all.insert(all.end(), extras.begin(), extras.end());
    return all;
  }

  const TensorInfo& values_;
  const TensorInfo& scales_;
  const Blocks blocks_;
};

}  // namespace

Result<std::unique_ptr<DerivedTensor>> scaled_tensor(const TensorSource& source, std::string name,
                                                     const TensorInfo& values,
                                                     const TensorInfo& scales,
                                                     const QuantizationConfig& config,
                                                     const std::vector<const TensorInfo*>& extras) {
  const auto bad = [](const TensorInfo& tensor, const std::string& expected) {
    return Error{ErrorCode::bad_tensor,
                 fmt::format("{} is {} of shape [{}], expected {}", tensor.name,
                             dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "), expected),
                 ""};
  };
  if (values.shape.size() != 2 || values.elements() == 0) return bad(values, "a matrix");
  if (scales.dtype != DType::f32 && scales.dtype != DType::f16 && scales.dtype != DType::bf16) {
    return bad(scales, "F32, BF16 or F16");
  }
  const int64_t out = values.shape[0];
  const int64_t in = values.shape[1];
  const int64_t block_rows = (out + config.block_rows - 1) / config.block_rows;
  const int64_t block_cols = (in + config.block_cols - 1) / config.block_cols;
  const auto& shape = scales.shape;
  Blocks blocks;
  if (scales.elements() == 1) {
    blocks = {out, in};
  } else if (scales.elements() == out && shape[0] == out) {
    blocks = {1, in};
  } else if (shape.size() == 2 && shape[0] == block_rows && shape[1] == block_cols) {
    blocks = {config.block_rows, config.block_cols};
  } else {
    return bad(scales,
               fmt::format("one element, [{}, 1] or [{}, {}]", out, block_rows, block_cols));
  }
  TensorInfo info;
  info.name = std::move(name);
  info.dtype = DType::f32;
  info.shape = values.shape;
  info.quantised = values.dtype == DType::i8 ? "INT8" : "FP8";
  return std::unique_ptr<DerivedTensor>(
      std::make_unique<ScaledTensor>(std::move(info), source, values, scales, blocks, extras));
}

}  // namespace qvl

#include "io/expert_tensors.h"

#include <fmt/format.h>

#include <cstring>
#include <optional>

#include "io/transpose.h"

namespace qvl {
namespace {

/// Where W[n, k] of one projection of one expert lies in the fused tensor's row of that expert.
struct Slice {
  int64_t expert = 0;
  int64_t offset = 0;    ///< element of W[0, 0]
  int64_t n_stride = 0;  ///< elements from one row of W to the next
  int64_t k_stride = 0;
  /// Of the scales, in blocks.
  int64_t scale_offset = 0;
  int64_t scale_n_stride = 0;
  int64_t scale_k_stride = 0;
  int64_t block_rows = 1;  ///< rows of W that share a scale
  int64_t block_cols = 1;
};

class ExpertTensor final : public DerivedTensor {
 public:
  ExpertTensor(TensorInfo info, const TensorSource& source, const TensorInfo& fused,
               const TensorInfo* scales, const Slice& slice)
      : DerivedTensor(std::move(info), source, {&fused, scales}),
        fused_(fused),
        scales_(scales),
        slice_(slice) {
    if (!quantised.empty()) stored_bytes = rows() * cols();
  }

  void read(int64_t first, int64_t count, void* to) const override {
    Reader reader = this->reader(fused_);
    switch (fused_.dtype) {
      case DType::f8_e4m3:
        copy<f8_e4m3>(reader, first, count, static_cast<float*>(to));
        return scale(first, count, static_cast<float*>(to));
      case DType::f32:
        return copy<uint32_t>(reader, first, count, static_cast<uint32_t*>(to));
      default:
        return copy<uint16_t>(reader, first, count, static_cast<uint16_t*>(to));
    }
  }

  void release() const override { source().release(fused_, slice_.expert, 1); }

 private:
  template <class From, class To>
  void copy(Reader& reader, int64_t first, int64_t count, To* to) const {
    const From* const from =
        reader.row<From>(slice_.expert) + slice_.offset + first * slice_.n_stride;
    const int64_t in = cols();
    if (slice_.k_stride == 1) {
      for (int64_t n = 0; n < count; ++n) {
        for (int64_t k = 0; k < in; ++k) to[n * in + k] = To(from[n * slice_.n_stride + k]);
      }
    } else {
      // Threads that read other rows of W meet the same pages of the file: each begins elsewhere.
      const int64_t begin = in * first / rows() / 32 * 32;
      transpose(from + begin * slice_.k_stride, slice_.k_stride, in - begin, count, to + begin, in);
      transpose(from, slice_.k_stride, begin, count, to, in);
    }
  }

  void scale(int64_t first, int64_t count, float* to) const {
    Reader reader = this->reader(*scales_);
    std::vector<float> all(static_cast<size_t>(scales_->cols()));
    reader.floats(slice_.expert, 0, scales_->cols(), all.data());
    const int64_t in = cols();
    for (int64_t n = 0; n < count; ++n) {
      const int64_t row =
          slice_.scale_offset + (first + n) / slice_.block_rows * slice_.scale_n_stride;
      for (int64_t k = 0; k < in; ++k) {
        to[n * in + k] *= all[size_t(row + k / slice_.block_cols * slice_.scale_k_stride)];
      }
    }
  }

  const TensorInfo& fused_;
  const TensorInfo* const scales_;
  const Slice slice_;
};

Error bad(const TensorInfo& tensor, const std::string& expected) {
  return {ErrorCode::bad_tensor,
          fmt::format("{} is {} of shape [{}], expected {}", tensor.name, dtype_name(tensor.dtype),
                      fmt::join(tensor.shape, ", "), expected),
          ""};
}

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

}  // namespace

Result<std::vector<std::unique_ptr<DerivedTensor>>> expert_tensors(const TensorSource& source,
                                                                   const TensorInfo& fused,
                                                                   const TensorInfo* scales,
                                                                   const ModelConfig& config) {
  const TextConfig& t = config.text;
  const bool is_down = fused.name.ends_with("down_proj");
  const int64_t parts = is_down ? 1 : 2;
  const int64_t out = is_down ? t.hidden_size : 2 * t.moe_intermediate_size;  // of all parts
  const int64_t in = is_down ? t.moe_intermediate_size : t.hidden_size;
  const std::vector<int64_t> published = {t.num_experts, in, out};
  const std::vector<int64_t> transposed = {t.num_experts, out, in};
  const bool in_first = fused.shape == published;
  if (!in_first && fused.shape != transposed) {
    return bad(fused, fmt::format("[{}] or [{}]", fmt::join(published, ", "),
                                  fmt::join(transposed, ", ")));
  }
  const bool is_fp8 = fused.dtype == DType::f8_e4m3;
  if (!is_fp8 && fused.dtype != DType::bf16 && fused.dtype != DType::f16 &&
      fused.dtype != DType::f32) {
    return bad(fused, "BF16, F16, F32 or F8_E4M3");
  }

  Slice slice;
  slice.n_stride = in_first ? 1 : in;
  slice.k_stride = in_first ? out : 1;
  const int64_t part_rows = out / parts;
  if (is_fp8) {
    if (scales == nullptr) {
      return Error{ErrorCode::missing_tensor, fmt::format("{}_scale_inv was not found", fused.name),
                   ""};
    }
    const QuantizationConfig& q = config.quantization;
    // The file's blocks lie over its own axes.
    slice.block_rows = in_first ? q.block_cols : q.block_rows;
    slice.block_cols = in_first ? q.block_rows : q.block_cols;
    const int64_t block_out = blocks(out, slice.block_rows);
    const int64_t block_in = blocks(in, slice.block_cols);
    const std::vector<int64_t> expected = {t.num_experts, in_first ? block_in : block_out,
                                           in_first ? block_out : block_in};
    const bool is_float = scales->dtype == DType::f32 || scales->dtype == DType::bf16;
    if (scales->shape != expected || !is_float) {
      return bad(*scales, fmt::format("F32 or BF16 of shape [{}]", fmt::join(expected, ", ")));
    }
    if (parts > 1 && part_rows % slice.block_rows != 0) {
      return bad(fused, fmt::format("gates in whole blocks of {}", slice.block_rows));
    }
    slice.scale_n_stride = in_first ? 1 : block_in;
    slice.scale_k_stride = in_first ? block_out : 1;
  }

  const std::string stem = fused.name.substr(0, fused.name.rfind('.') + 1);  // "….experts."
  std::vector<std::unique_ptr<DerivedTensor>> all;
  for (int64_t e = 0; e < t.num_experts; ++e) {
    for (int64_t p = 0; p < parts; ++p) {
      slice.expert = e;
      slice.offset = p * part_rows * slice.n_stride;
      slice.scale_offset = is_fp8 ? p * (part_rows / slice.block_rows) * slice.scale_n_stride : 0;
      TensorInfo info;
      info.name = fmt::format("{}{}.{}.weight", stem, e,
                              is_down  ? "down_proj"
                              : p == 0 ? "gate_proj"
                                       : "up_proj");
      info.dtype = is_fp8 ? DType::f32 : fused.dtype;
      info.shape = {part_rows, in};
      if (is_fp8) info.quantised = "FP8";
      all.push_back(std::make_unique<ExpertTensor>(std::move(info), source, fused, scales, slice));
    }
  }
  return all;
}

}  // namespace qvl

#pragma once

/// Where weights come from: a checkpoint's files, or a generator of random weights of the same
/// shape.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/int4_row.h"
#include "qvl/result.h"

namespace qvl {

struct TensorInfo {
  std::string
      name;  ///< canonical, as published: "model.language_model.layers.0.mlp.up_proj.weight"
  DType dtype = DType::bf16;
  std::vector<int64_t> shape;
  int64_t group_size = 0;      ///< of an i4 tensor: weights along a row that share a scale
  std::string_view quantised;  ///< "INT4", "INT8" or "FP8" if the file holds it so, else empty
  int64_t stored_bytes = 0;    ///< of a quantised tensor, in the file, with its scales

  int64_t elements() const {
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    return n;
  }
  /// The tensor as a matrix: the first dimension by all others.
  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  int64_t cols() const { return shape.empty() || rows() == 0 ? 1 : elements() / rows(); }
  int64_t row_bytes() const {
    return dtype == DType::i4 ? Int4Row{cols(), group_size}.bytes() : cols() * dtype_bytes(dtype);
  }
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  /// Null if there is no such tensor.
  virtual const TensorInfo* find(std::string_view name) const = 0;
  /// All tensors, in the order of their names.
  virtual std::vector<const TensorInfo*> tensors() const = 0;
  /// Rows [first, first + count) of a tensor that find() gave, row-major in its dtype. `scratch`
  /// must hold count·row_bytes() bytes; the result may point to it or, for all rows of a
  /// tensor alike, to where the tensor lies; it is valid until the next call with the same scratch.
  /// Thread-safe.
  virtual const void* rows(const TensorInfo& tensor, int64_t first, int64_t count,
                           void* scratch) const = 0;
  /// The caller will not read these rows again soon; their pages may leave memory.
  virtual void release(const TensorInfo& tensor, int64_t first, int64_t count) const = 0;
};

}  // namespace qvl

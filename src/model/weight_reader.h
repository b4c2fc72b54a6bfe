#pragma once

/// Reads the weights of one matrix after the other from a checkpoint, in the format in which a
/// backend holds them.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/function_ref.h"
#include "core/threads.h"
#include "io/tensor_source.h"
#include "kernels/linear.h"

namespace qvl {

/// Called after each tensor with the bytes of the source read so far.
using LoadProgress = FunctionRef<void(int64_t source_bytes)>;

/// Tensors whose rows follow each other in one matrix.
using WeightParts = std::vector<const TensorInfo*>;

/// The format that can hold all parts: their own if they agree; what is quantised and not kept so
/// becomes the activations' type, as the reference's weights do.
/// `keeps_int4`: the backend has products for this matrix.
WeightFormat held_format(const WeightParts& parts, ActFormat activation, bool keeps_int4);
/// True if all parts are i4 in groups of one size.
bool all_int4(const WeightParts& parts);

class WeightReader {
 public:
  /// `threads` share the work; or null.
  WeightReader(const TensorSource& source, LoadProgress progress, Threads* threads = nullptr)
      : source_(source), progress_(progress), threads_(threads) {}

  /// Rows [first, first + count) of the concatenated parts in `format`, valid until the next call.
  /// To be read in ascending order, one matrix after the other; pages of the file that are done
  /// with leave memory on the way.
  const void* rows(const WeightParts& parts, WeightFormat format, int64_t first, int64_t count);
  /// After the last matrix.
  void finish() { release_before(nullptr, 0); }

  /// The first weight that was NaN or infinite.
  const std::optional<Error>& error() const { return error_; }

 private:
  void read_part(const TensorInfo& part, WeightFormat format, int64_t first, int64_t count,
                 std::byte* to);
  const void* rows_as_they_are(const TensorInfo& part, int64_t first, int64_t count);
  void in_pieces(const TensorInfo& part, int64_t first, int64_t count,
                 FunctionRef<bool(int64_t from, int64_t to)> is_finite);
  void release_before(const TensorInfo* tensor, int64_t first);

  const TensorSource& source_;
  LoadProgress progress_;
  Threads* threads_;
  std::optional<Error> error_;
  const TensorInfo* reading_ = nullptr;
  int64_t released_ = 0;  ///< rows of reading_
  int64_t source_bytes_ = 0;
  std::vector<std::byte> scratch_;
  std::vector<std::byte> joined_;
};

}  // namespace qvl

#pragma once

/// Tensors that a checkpoint does not hold as such: computed, row by row, from those it holds.

#include <memory>
#include <utility>
#include <vector>

#include "io/tensor_source.h"

namespace qvl {

class DerivedTensor : public TensorInfo {
 public:
  /// `source` and `inputs` must outlive this. Nulls among the inputs are left out.
  DerivedTensor(TensorInfo info, const TensorSource& source,
                const std::vector<const TensorInfo*>& inputs);
  virtual ~DerivedTensor() = default;
  DerivedTensor(const DerivedTensor&) = delete;
  DerivedTensor& operator=(const DerivedTensor&) = delete;

  /// Writes rows [first, first + count), row-major in this tensor's dtype. Thread-safe.
  virtual void read(int64_t first, int64_t count, void* to) const = 0;
  /// Nothing of this tensor will be read again soon.
  virtual void release() const;

  const std::vector<const TensorInfo*>& inputs() const { return inputs_; }

 protected:
  /// Reads rows of one stored tensor, one at a time.
  class Reader {
   public:
    Reader(const TensorSource& source, const TensorInfo& tensor)
        : source_(source),
          tensor_(tensor),
          scratch_(std::make_unique_for_overwrite<std::byte[]>(
              static_cast<size_t>(tensor.row_bytes()))) {}

    /// The elements of a row; valid until the next call.
    template <class T>
    const T* row(int64_t index) {
      return static_cast<const T*>(source_.rows(tensor_, index, 1, scratch_.get()));
    }
    /// Elements [first, first + count) of a row of F32, F16, BF16 or FP8, widened.
    void floats(int64_t index, int64_t first, int64_t count, float* to);

   private:
    const TensorSource& source_;
    const TensorInfo& tensor_;
    std::unique_ptr<std::byte[]> scratch_;
  };

  Reader reader(const TensorInfo& tensor) const { return {source_, tensor}; }
  const TensorSource& source() const { return source_; }

 private:
  const TensorSource& source_;
  std::vector<const TensorInfo*> inputs_;
};

}  // namespace qvl

#pragma once

/// Host memory that a device copies from: an upload is written here and is on its way when the call
/// returns, whatever memory it came from.

#include <vector>

#include "core/cuda.h"

namespace qvl {

/// A ring of parts, filled in turn: the host writes one while the device reads the others, and
/// waits where it comes round to a part that has not been read yet. Of one stream.
class Staging {
 public:
  explicit Staging(int64_t part_bytes = 512 << 10, size_t parts = 8);

  /// Queues a copy of `bytes` to device memory; `from` may change when it returns.
  void copy(void* to, const void* from, int64_t bytes, cudaStream_t stream);

  /// Room for `bytes`, at most part_bytes(), to be filled and then copied from by what the caller
  /// queues on `stream` before it asks again.
  std::byte* take(int64_t bytes, cudaStream_t stream);
  int64_t part_bytes() const { return part_bytes_; }

 private:
  int64_t part_bytes_;
  PinnedMemory memory_;
  std::vector<CudaEvent> read_;  ///< the last copy out of a part
  size_t part_ = 0;              ///< being filled
  int64_t used_ = 0;             ///< bytes of it
};

}  // namespace qvl

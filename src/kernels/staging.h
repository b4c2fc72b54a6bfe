#pragma once

/// Host memory that a device copies from: an upload is written here and is on its way when the call
/// returns, whatever memory it came from.

#include <array>

#include "core/cuda.h"

namespace qvl {

/// A ring of parts, filled in turn: the host writes one while the device reads the others, and
/// waits where it comes round to a part that has not been read yet. Of one stream.
class Staging {
 public:
  Staging();

  /// Queues a copy of `bytes` to device memory; `from` may change when it returns.
  void copy(void* to, const void* from, int64_t bytes, cudaStream_t stream);

 private:
  static constexpr int64_t kPartBytes = 512 << 10;
  static constexpr size_t kParts = 8;

  PinnedMemory memory_;
  std::array<CudaEvent, kParts> read_;  ///< the last copy out of a part
  size_t part_ = 0;                     ///< being filled
  int64_t used_ = 0;                    ///< bytes of it
};

}  // namespace qvl

#pragma once

/// Between the memory of the host and the memory that a backend's operators read.

#include <cstring>

#include "kernels/backend.h"

namespace qvl {

/// Copies `bytes` from host memory; `from` may change when it returns.
inline void upload(Ref&, void* to, const void* from, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}
inline void upload(Cpu&, void* to, const void* from, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}
void upload(Cuda&, void* to, const void* from, int64_t bytes);

/// The matrix as the host can read it, once all that was queued before is done: itself, or a copy
/// that is valid until the next call.
inline ActMat read_back(Ref&, ActMat x) { return x; }
inline ActMat read_back(Cpu&, ActMat x) { return x; }
ActMat read_back(Cuda&, ActMat x);

template <class Backend>
Mat<const float> read_back(Backend& backend, Mat<const float> x) {
  const ActMat seen =
      read_back(backend, ActMat{const_cast<float*>(x.data), DType::f32, x.rows, x.cols, x.stride});
  return seen.as<const float>();
}

}  // namespace qvl

#pragma once

/// x·Wᵀ by role: prompt rows through tiles of tensor cores, generated rows through the skinny
/// kernel. Rows [0, prompt) are prompt rows.

#include "core/check.h"
#include "kernels/device/epilogues.cuh"
#include "kernels/device/gemm.cuh"
#include "kernels/device/skinny.cuh"
#include "kernels/linear.h"

namespace qvl::device {

inline cudaStream_t stream_of(const Cuda& cuda) { return cuda.stream; }
inline bool overlaps(const Cuda& cuda) { return cuda.compute_capability >= 90; }

inline Launch blocks_of(const Cuda& cuda, dim3 grid, dim3 block) {
  return {.grid = grid, .block = block, .stream = cuda.stream, .overlaps = overlaps(cuda)};
}

inline const bf16x1* half(const void* data) { return static_cast<const bf16x1*>(data); }
inline bf16x1* half(void* data) { return static_cast<bf16x1*>(data); }

inline void require_product(const ActMat& x, const Linear& w) {
  require(x.dtype == DType::bf16, "device products take bfloat16 rows");
  require_equal(x.cols, w.desc.in, "product: width of x");
  require(x.cols % 8 == 0 && x.stride % 8 == 0 && w.desc.out % 2 == 0,
          "device products take rows of 16-byte pieces and even outputs");
}

/// Memory of the backend's scratch arena until the end of a scope.
class ScratchScope {
 public:
  explicit ScratchScope(const Cuda& cuda) : arena_(*cuda.scratch), mark_(arena_.used()) {}
  ~ScratchScope() { arena_.rewind(mark_); }
  ScratchScope(const ScratchScope&) = delete;
  ScratchScope& operator=(const ScratchScope&) = delete;

  ActMat half_rows(int64_t rows, int64_t cols) { return arena_.take_act(DType::bf16, rows, cols); }
  template <class T>
  T* take(int64_t count) {
    return arena_.take<T>(count);
  }

 private:
  Arena& arena_;
  int64_t mark_;
};

/// Generated rows, or rows whose role the caller knows to make no difference.
template <class Epilogue>
void skinny_product(const Cuda& cuda, const ActMat& x, const Linear& w, const Epilogue& epilogue) {
  require_product(x, w);
  if (x.rows == 0) return;
  launch_skinny({.w = half(w.data),
                 .n = static_cast<int>(w.desc.out),
                 .k = static_cast<int>(w.desc.in),
                 .rows = static_cast<int>(x.rows)},
                HalfRows{half(x.data), x.stride}, epilogue, cuda.stream, overlaps(cuda));
}

template <class Epilogue>
void product(const Cuda& cuda, RowRoles roles, const ActMat& x, const Linear& w,
             const Epilogue& epilogue) {
  require_product(x, w);
  require_equal(roles.rows(), x.rows, "product: rows by role");
  if (roles.prompt > 0) {
    launch_gemm({.a = half(x.data),
                 .lda = x.stride,
                 .b = half(w.data),
                 .m = static_cast<int>(roles.prompt),
                 .n = static_cast<int>(w.desc.out),
                 .k = static_cast<int>(w.desc.in),
                 .compute_capability_major = cuda.compute_capability / 10,
                 .sm_count = cuda.sm_count,
                 .stream = cuda.stream},
                epilogue);
  }
  if (roles.generated > 0) {
    skinny_product(cuda, x.slice_rows(roles.prompt, roles.generated), w,
                   Shifted<Epilogue>{epilogue, static_cast<int>(roles.prompt)});
  }
}

}  // namespace qvl::device

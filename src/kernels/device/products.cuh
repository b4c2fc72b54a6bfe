#pragma once

/// x·Wᵀ by role: prompt rows through tiles of tensor cores, generated rows through the skinny
/// kernels. Rows [0, prompt) are prompt rows. A W of 4 bits is widened for prompt rows; generated
/// rows have kernels that take it as it is.

#include "core/check.h"
#include "kernels/device/epilogues.cuh"
#include "kernels/device/gemm.cuh"
#include "kernels/device/int4_rows.cuh"
#include "kernels/device/int4_skinny.cuh"
#include "kernels/device/int4_wgmma.cuh"
#include "kernels/device/norm.cuh"
#include "kernels/device/skinny.cuh"
#include "kernels/device/skinny_wgmma.cuh"
#include "kernels/linear.h"

namespace qvl::device {

inline cudaStream_t stream_of(const Cuda& cuda) { return cuda.stream; }

inline Launch blocks_of(const Cuda& cuda, dim3 grid, dim3 block) {
  return {.grid = grid, .block = block, .stream = cuda.stream, .overlaps = overlaps(cuda)};
}

inline const bf16x1* half(const void* data) { return static_cast<const bf16x1*>(data); }
inline bf16x1* half(void* data) { return static_cast<bf16x1*>(data); }

/// Columns of a W of bfloat16 in device memory: whole pieces of 16 bytes, zero beyond the last of
/// W.
inline int64_t device_cols(const LinearDesc& desc) { return (desc.in + 7) / 8 * 8; }

/// What x has between its last column and that of W is multiplied with zero.
inline void require_product(const ActMat& x, const Linear& w) {
  require(x.dtype == DType::bf16, "device products take bfloat16 rows");
  require_equal(x.cols, w.desc.in, "product: width of x");
  require(x.stride >= device_cols(w.desc) && x.stride % 8 == 0 && w.desc.out % 2 == 0,
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

/// Whether wgmma is the faster way for few rows too: much of W for each block to read.
inline bool is_long(const SkinnyArgs& args) { return args.k > 4096 || args.n > 65536; }
/// Rows from which it is for every W.
constexpr int kWgmmaRows = 5;

/// Whether a product goes to wgmma, where there is that.
inline bool takes_wgmma(const Cuda& cuda, const SkinnyArgs& args) {
  return (args.rows >= kWgmmaRows || is_long(args)) && has_wgmma(cuda);
}

/// Calls use.operator()<kAhead, kWarps>() with the tile for up to eight rows a block.
template <class Use>
auto with_narrow_tile(const Cuda& cuda, const SkinnyArgs& args, const Use& use) {
  if (cuda.shared_bytes < 128 * 1024) return use.template operator()<2, 8>();
  const bool fits_twelve = skinny_fits<1, 4, 12, false>(args, cuda.shared_bytes);
  if (fits_twelve && suits_twelve_warps(args, cuda.sm_count)) {
    return use.template operator()<4, 12>();
  }
  return use.template operator()<4, 8>();
}

/// Up to eight rows a block.
template <class Rows, class Epilogue>
void launch_narrow_skinny(const Cuda& cuda, const SkinnyArgs& args, const Rows& x,
                          const Epilogue& epilogue) {
  with_narrow_tile(cuda, args, [&]<int kAhead, int kWarps>() {
    launch_skinny_tile<1, kAhead, kWarps>(cuda, args, x, epilogue);
  });
}

/// With the kernel and tile that suit the number of rows; the bits are the same.
template <class Epilogue>
void launch_skinny(const Cuda& cuda, const SkinnyArgs& args, const HalfRows& x,
                   const Epilogue& epilogue) {
  if (takes_wgmma(cuda, args)) {
    if (args.rows <= 16) {
      launch_skinny_wgmma<16>(args, x, epilogue, cuda.stream);
    } else if (args.rows <= 32) {
      launch_skinny_wgmma<32>(args, x, epilogue, cuda.stream);
    } else if (args.rows <= 64) {
      launch_skinny_wgmma<64>(args, x, epilogue, cuda.stream);
    } else {
      launch_skinny_wgmma<128>(args, x, epilogue, cuda.stream);
    }
  } else if (args.rows <= 8) {
    launch_narrow_skinny(cuda, args, x, epilogue);
  } else if (skinny_fits<2, 2, 8, false>(args, cuda.shared_bytes)) {
    launch_skinny_tile<2, 2, 8>(cuda, args, x, epilogue);
  } else {
    launch_skinny_tile<2, 1, 8>(cuda, args, x, epilogue);
  }
}

/// Whether the few rows that a block stages leave it room for its ring.
inline bool normed_rows_fit(const Cuda& cuda, const SkinnyArgs& args) {
  return args.rows <= 8 && args.chunks() <= kMaxNormedChunks &&
         int64_t{args.rows} * args.k * 2 <= kMostStagedBytes &&
         with_narrow_tile(cuda, args, [&]<int kAhead, int kWarps>() {
           return skinny_fits<1, kAhead, kWarps, true>(args, cuda.shared_bytes);
         });
}

inline bool is_int4(const Linear& w) { return w.desc.weight == WeightFormat::int4; }

inline Int4SkinnyArgs int4_args(const Linear& w, int64_t rows) {
  return {{.n = static_cast<int>(w.desc.out),
           .k = static_cast<int>(w.desc.in),
           .rows = static_cast<int>(rows)},
          static_cast<const uint8_t*>(w.data),
          int4_parts(w.desc.group_size)};
}

/// Whether W of 4 bits goes to wgmma, where there is that: with many outputs a block of the other
/// kernel has too much to unpack for few rows too.
inline bool takes_wgmma(const Cuda& cuda, const Int4SkinnyArgs& args) {
  constexpr int kManyOutputs = 16384;
  return (args.rows >= kWgmmaRows || args.n > kManyOutputs) && has_wgmma(cuda);
}

/// With the kernel and tile that suit the number of rows; the bits are the same.
template <class Epilogue>
void launch_skinny(const Cuda& cuda, const Int4SkinnyArgs& args, const HalfRows& x,
                   const Epilogue& epilogue) {
  if (takes_wgmma(cuda, args)) {
    launch_int4_wgmma(args, x, epilogue, cuda.stream);
  } else {
    launch_int4_skinny(cuda, args, x, epilogue);
  }
}
template <class Epilogue>
void launch_narrow_skinny(const Cuda& cuda, const Int4SkinnyArgs& args, const NormedRows& x,
                          const Epilogue& epilogue) {
  launch_int4_skinny(cuda, args, x, epilogue);
}
inline bool normed_rows_fit(const Cuda& cuda, const Int4SkinnyArgs& args) {
  return int4_normed_rows_fit(cuda, args);
}

/// Generated rows that are normalised first.
template <class Args, class Epilogue>
void launch_normed_skinny(const Cuda& cuda, const Args& args, const NormedRows& x,
                          const Epilogue& epilogue) {
  // w ⊙ x grows with the residual stream, and float16 does not reach as far.
  const bool takes_unscaled = multiplies_bfloat16(cuda);
  if (takes_unscaled && normed_rows_fit(cuda, args) && !takes_wgmma(cuda, args)) {
    launch_narrow_skinny(cuda, args, x, epilogue);
    return;
  }
  ScratchScope scratch(cuda);
  bf16x1* const normed = half(scratch.half_rows(args.rows, args.k).data);
  auto* const scales = scratch.take<float>(args.rows);
  launch({.grid = static_cast<unsigned>(args.rows),
          .block = kNormedThreads,
          .shared_bytes = args.chunks() * 4,
          .stream = cuda.stream,
          .overlaps = overlaps(cuda)},
         takes_unscaled ? normed_rows_kernel<false> : normed_rows_kernel<true>, args, x, normed,
         scales);
  const HalfRows rows{normed, args.k};
  if (takes_unscaled) {
    launch_skinny(cuda, args, rows, Scaled<Epilogue>{epilogue, scales});
  } else {
    launch_skinny(cuda, args, rows, epilogue);
  }
}

/// Generated rows, or rows whose role the caller knows to make no difference.
template <class Epilogue>
void skinny_product(const Cuda& cuda, const ActMat& x, const Linear& w, const Epilogue& epilogue) {
  require_product(x, w);
  if (x.rows == 0) return;
  if (is_int4(w)) {
    launch_skinny(cuda, int4_args(w, x.rows), HalfRows{half(x.data), x.stride}, epilogue);
    return;
  }
  launch_skinny(cuda,
                {.w = half(w.data),
                 .n = static_cast<int>(w.desc.out),
                 .k = static_cast<int>(device_cols(w.desc)),
                 .rows = static_cast<int>(x.rows)},
                HalfRows{half(x.data), x.stride}, epilogue);
}

template <class Epilogue>
void product(const Cuda& cuda, RowRoles roles, const ActMat& x, const Linear& w,
             const Epilogue& epilogue) {
  require_product(x, w);
  require_equal(roles.rows(), x.rows, "product: rows by role");
  if (roles.prompt > 0) {
    ScratchScope scratch(cuda);
    GemmArgs args{.a = half(x.data),
                  .lda = x.stride,
                  .b = half(w.data),
                  .m = static_cast<int>(roles.prompt),
                  .n = static_cast<int>(w.desc.out),
                  .k = static_cast<int>(device_cols(w.desc)),
                  .compute_capability_major = cuda.compute_capability / 10,
                  .sm_count = cuda.sm_count,
                  .stream = cuda.stream};
    if (is_int4(w)) {
      auto* const wide = scratch.take<bf16x1>(w.desc.out * w.desc.in);
      launch_widen_int4(cuda, int4_args(w, roles.prompt), wide);
      args.b = wide;
      args.b_is_new = true;
    }
    launch_gemm(args, epilogue);
  }
  if (roles.generated > 0) {
    skinny_product(cuda, x.slice_rows(roles.prompt, roles.generated), w,
                   Shifted<Epilogue>{epilogue, static_cast<int>(roles.prompt)});
  }
}

/// rms(x)·Wᵀ of generated rows, or rows whose role the caller knows to make no difference; `rows`
/// is device memory, or null for the first `count` in order.
template <class Epilogue>
void normed_skinny_product(const Cuda& cuda, Mat<const float> x, const int32_t* rows, int64_t count,
                           const RmsNorm& norm, const Linear& w, const Epilogue& epilogue) {
  require(x.cols % 8 == 0 && x.stride % 4 == 0 && w.desc.out % 2 == 0,
          "device products take rows of 16-byte pieces and even outputs");
  require_equal(x.cols, w.desc.in, "product: width of x");
  if (count == 0) return;
  const NormedRows normed{
      .x = x.data, .ldx = x.stride, .rows = rows, .weight = norm.weight.data, .eps = norm.eps};
  if (is_int4(w)) return launch_normed_skinny(cuda, int4_args(w, count), normed, epilogue);
  const SkinnyArgs args{.w = half(w.data),
                        .n = static_cast<int>(w.desc.out),
                        .k = static_cast<int>(w.desc.in),
                        .rows = static_cast<int>(count)};
  launch_normed_skinny(cuda, args, normed, epilogue);
}

/// rms(x)·Wᵀ by role.
template <class Epilogue>
void normed_product(const Cuda& cuda, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                    const Linear& w, const Epilogue& epilogue) {
  require_equal(roles.rows(), x.rows, "product: rows by role");
  if (roles.prompt > 0) {
    ScratchScope scratch(cuda);
    const ActMat normed = scratch.half_rows(roles.prompt, x.cols);
    launch_rms_norm(cuda, x, norm, normed);
    product(cuda, {.prompt = roles.prompt}, normed, w, epilogue);
  }
  normed_skinny_product(cuda, x.slice_rows(roles.prompt, roles.generated), nullptr, roles.generated,
                        norm, w, Shifted<Epilogue>{epilogue, static_cast<int>(roles.prompt)});
}

}  // namespace qvl::device

#pragma once

/// The instructions that the portable kernels are made of: the product of small matrices by a warp,
/// matrices out of shared memory, and copies into it. In fragments, lane l of the warp has g = l /
/// 4 and t = l % 4; a register of two bfloat16 has the lower column (or key) in its lower half.
///
/// Where instructions differ between compute capability 7.5 and 8.0, that lies here and nowhere
/// else. The tensor cores of 7.5 take float16: fragments are bfloat16 as everywhere, and are
/// converted in registers. Copies go through registers and have arrived when they are asked for;
/// who waits for them does not know.

#include <cstddef>
#include <cstdint>

namespace qvl::device {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kCopiesInBackground = false;
constexpr bool kMultipliesBfloat16 = false;
#else
constexpr bool kCopiesInBackground = true;
constexpr bool kMultipliesBfloat16 = true;
#endif

/// Shared memory as instructions name it.
__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

/// Two bfloat16 as two float16: exact from 2^-14 to 65,504, above that 65,504, below it multiples
/// of 2^-24, rounded toward zero as the larger ones are.
__device__ inline uint32_t to_float16(uint32_t both) {
  const float low = __uint_as_float(both << 16);
  const float high = __uint_as_float(both & 0xffff0000U);
  uint32_t out;
  asm("{\n"
      ".reg .b16 low, high;\n"
      "cvt.rz.f16.f32 low, %1;\n"
      "cvt.rz.f16.f32 high, %2;\n"
      "mov.b32 %0, {low, high};\n"
      "}"
      : "=r"(out)
      : "f"(low), "f"(high));
  return out;
}

/// c += a · b for a depth of 8: a [16, 8], b [8, 8], c [16, 8] in float32.
__device__ inline void multiply_add(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  if constexpr (kMultipliesBfloat16) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
  } else {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(to_float16(a0)), "r"(to_float16(a1)), "r"(to_float16(b)));
  }
}

/// The same for a depth of 16. a: (row g, k 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8);
/// b: (k 2t, column g), (2t + 8, g); c: row g in c[0], c[1], row g + 8 in c[2], c[3], columns 2t,
/// 2t + 1.
__device__ inline void multiply_add(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                    uint32_t a3, uint32_t b0, uint32_t b1) {
  if constexpr (kMultipliesBfloat16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    multiply_add(c, a0, a1, b0);
    multiply_add(c, a2, a3, b1);
  }
}
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
  multiply_add(c, a[0], a[1], a[2], a[3], b0, b1);
}

/// Four 8 × 8 matrices of 16-bit elements: lane i gives the address of row i % 8 of matrix i / 8,
/// and gets columns 2t, 2t + 1 of row g of matrix i in x[i]; of the transposed matrices, rows 2t,
/// 2t + 1 of column g.
template <bool kTransposed = false>
__device__ inline void load_matrices(uint32_t (&x)[4], uint32_t row) {
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(row)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(row)
                 : "memory");
  }
}
template <bool kTransposed = false>
__device__ inline uint4 load_matrices(const std::byte* row) {
  uint32_t x[4];
  load_matrices<kTransposed>(x, shared_address(row));
  return {x[0], x[1], x[2], x[3]};
}

/// What the second-level cache reads for a copy: its 16 bytes, or the 128 around them too.
enum class Fetch { piece, line };

/// Begins to copy 16 bytes to shared memory, both sides aligned to 16; zeros when not `present`:
/// `from` is then not read. See wait_copies.
template <Fetch kFetch = Fetch::piece>
__device__ inline void copy_piece(uint32_t to, const void* from, bool present) {
  if constexpr (!kCopiesInBackground) {
    uint4 v{};
    if (present) v = __ldcg(static_cast<const uint4*>(from));
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
  } else if constexpr (kFetch == Fetch::line) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(present ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(present ? 16 : 0)
                 : "memory");
  }
}
__device__ inline void copy_piece(uint4* to, const void* from) {
  if constexpr (kCopiesInBackground) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
  } else {
    *to = __ldcg(static_cast<const uint4*>(from));
  }
}

/// Makes a group of this thread's copies since the last one.
__device__ inline void commit_copies() {
  if constexpr (kCopiesInBackground) asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits for this thread's copies but those of the `kNewer` last groups; other threads may read
/// them once both have passed a barrier after it.
template <int kNewer>
__device__ inline void wait_copies() {
  if constexpr (kCopiesInBackground) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kNewer) : "memory");
  }
}
/// Waits for all of them, those of no group too.
__device__ inline void wait_all_copies() {
  if constexpr (kCopiesInBackground) asm volatile("cp.async.wait_all;" ::: "memory");
}

}  // namespace qvl::device

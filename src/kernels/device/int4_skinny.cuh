#pragma once

/// Chunks of 4-bit weights for the kernel of skinny.cuh. Not bound by memory on an H200, which
/// reads W at 1 to 1.6 TB/s: warps wait for their own instructions, of which unpacking has some
/// twelve for the 128 bytes of a k16 product.
///
/// Bits: chunks of 128 k go round the lanes. Of a part of a record the products q − zero by x,
/// exact factors, are added in order from zero by the tensor cores; then sum = fmaf(part, scale,
/// sum). The lanes are added in order. int4_wgmma.cuh has the same bits.

#include "kernels/device/int4_weights.h"
#include "kernels/device/skinny.cuh"

namespace qvl::device {

struct Int4SkinnyArgs : SkinnyArgs {
  const uint8_t* packed = nullptr;  ///< in place of w
  int parts = 1;                    ///< of a record

  __host__ __device__ Int4Layout layout() const { return {n, k, parts}; }
  /// Of long lanes twice as many as of bfloat16: with a quarter of the bytes, warps wait for their
  /// own instructions rather than for memory.
  __host__ __device__ int lanes() const {
    constexpr int kLong = 16;  // chunks
    const int lanes = skinny_lanes(n);
    return layout().chunks() >= kLong * lanes ? skinny_lanes(n, 400) : lanes;
  }
};

/// What int4_biased gives less what int4_biased_zero gives: two weights less their zero point, as
/// bfloat16.
__device__ inline uint32_t int4_difference(uint32_t biased, uint32_t zero) {
  __nv_bfloat162 a;
  __nv_bfloat162 b;
  memcpy(&a, &biased, sizeof a);
  memcpy(&b, &zero, sizeof b);
  const __nv_bfloat162 difference = __hsub2(a, b);
  uint32_t out;
  memcpy(&out, &difference, sizeof out);
  return out;
}

/// The left operand of a product of depth 16. zeros: of output g and of g + 8.
__device__ inline void unpack_int4(uint32_t word, const uint32_t (&zeros)[2], uint32_t (&a)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] = int4_difference(int4_biased(word, i), zeros[i % 2]);
}

/// Zero points and scales of this lane's outputs g and g + 8 of a part of a record.
__device__ inline void load_int4_zeros(const std::byte* record, int part, uint32_t (&zeros)[2]) {
  const int g = threadIdx.x % 32 / 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    zeros[h] = int4_biased_zero(static_cast<uint32_t>(record[int4_zero_place(part, g + 8 * h)]));
  }
}
__device__ inline float2 load_int4_scales(const std::byte* record, int part) {
  const int g = threadIdx.x % 32 / 4;
  return {*reinterpret_cast<const float*>(record + int4_scale_place(part, g)),
          *reinterpret_cast<const float*>(record + int4_scale_place(part, g + 8))};
}

/// A record of so many parts in shared memory.
template <int kPartsOfRecord>
struct Int4Chunk {
  using Args = Int4SkinnyArgs;
  static constexpr int kParts = kPartsOfRecord;
  static constexpr int kDepth = kInt4Chunk;
  static constexpr int kBytes = int4_record_bytes(kParts);
  static constexpr int kBlocks = 2;
  std::byte* data;

  static __host__ __device__ int lanes(const Int4SkinnyArgs& args) { return args.lanes(); }

  __device__ void copy(const Int4SkinnyArgs& args, int first_n, int chunk) const {
    const uint8_t* const from =
        args.packed + Int4Layout{args.n, args.k, kParts}.record(first_n / kInt4Tile, chunk);
    for (int i = static_cast<int>(threadIdx.x) % 32; i < kBytes / 16; i += 32) {
      copy_piece(reinterpret_cast<uint4*>(data + i * 16), from + i * 16);
    }
  }

  template <int kColumns, class Load>
  __device__ void multiply_loaded(const Load& load, float (&sums)[kColumns][4]) const {
    constexpr int kPartSteps = kInt4Chunk / 16 / kParts;
    ChunkRows rows[2][kColumns];
    uint4 words[2];
    uint32_t zeros[kParts][2];
    float2 scales[kParts];
    // All of it before the first product: loads keep their order.
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      load(half, rows[half]);
      const int place = int4_word_place(half, static_cast<int>(threadIdx.x) % 32, 0);
      words[half] = *reinterpret_cast<const uint4*>(data + place);
    }
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      load_int4_zeros(data, part, zeros[part]);
      scales[part] = load_int4_scales(data, part);
    }
    float part_sums[kColumns][4];
#pragma unroll
    for (int step = 0; step < kInt4Chunk / 16; ++step) {
      const int part = step / kPartSteps;
      if (step % kPartSteps == 0) {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
#pragma unroll
          for (float& sum : part_sums[j]) sum = 0.0F;
        }
      }
      const uint4& v = words[step / 4];
      const uint32_t of_half[4] = {v.x, v.y, v.z, v.w};
      uint32_t a[4];
      unpack_int4(of_half[step % 4], zeros[part], a);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const uint2& row = rows[step / 4][j][step % 4];
        multiply_add(part_sums[j], a, row.x, row.y);
      }
      if (step % kPartSteps != kPartSteps - 1) continue;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums[j][i] = fmaf(part_sums[j][i], i < 2 ? scales[part].x : scales[part].y, sums[j][i]);
        }
      }
    }
  }
};

/// Calls use.operator()<Chunk>() for records of so many parts.
template <class Use>
void with_int4_chunk(int parts, const Use& use) {
  if (parts == 1) {
    use.template operator()<Int4Chunk<1>>();
  } else {
    use.template operator()<Int4Chunk<kInt4FineParts>>();
  }
}

/// Any number of rows; normalised ones if int4_normed_rows_fit. A chunk is half as large as one of
/// bfloat16: more of them are on their way.
template <class Rows, class Epilogue>
void launch_int4_skinny(const Cuda& cuda, const Int4SkinnyArgs& args, const Rows& x,
                        const Epilogue& epilogue) {
  constexpr bool kNormed = Rows::kNormed;
  const int of_two_blocks = (cuda.shared_bytes - 1024) / 2;  // the system takes 1 KiB of each
  with_int4_chunk(args.parts, [&]<class Chunk>() {
    if (args.rows <= 8 && skinny_fits<1, 6, 8, kNormed, Chunk>(args, of_two_blocks)) {
      launch_skinny_tile<1, 6, 8, Chunk>(cuda, args, x, epilogue);
    } else if (kNormed ||
               (args.rows <= 8 && skinny_fits<1, 3, 8, kNormed, Chunk>(args, cuda.shared_bytes))) {
      launch_skinny_tile<1, 3, 8, Chunk>(cuda, args, x, epilogue);
    } else if constexpr (!kNormed) {
      if (skinny_fits<2, 3, 8, false, Chunk>(args, cuda.shared_bytes)) {
        launch_skinny_tile<2, 3, 8, Chunk>(cuda, args, x, epilogue);
      } else {
        launch_skinny_tile<2, 1, 8, Chunk>(cuda, args, x, epilogue);
      }
    }
  });
}

/// Whether the few rows that a block stages leave it room for its ring.
inline bool int4_normed_rows_fit(const Cuda& cuda, const Int4SkinnyArgs& args) {
  bool fits = args.rows <= 8 && args.chunks() <= kMaxNormedChunks &&
              int64_t{args.rows} * args.k * 2 <= kMostStagedBytes;
  with_int4_chunk(args.parts, [&]<class Chunk>() {
    fits = fits && skinny_fits<1, 3, 8, true, Chunk>(args, cuda.shared_bytes);
  });
  return fits;
}

}  // namespace qvl::device

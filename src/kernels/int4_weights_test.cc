// The layout of 4-bit weights in device memory, on the host: what each lane's registers hold, by
// the fragments that the PTX ISA gives for mma.m16n8k16, and what widening reads.

#include "kernels/device/int4_weights.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "kernels/kernel_testing.h"

namespace qvl::device {
namespace {

/// A W as a file has it, and packed; rows of a gate_up one alternate.
class Packed {
 public:
  Packed(int64_t out, int64_t in, int64_t group_size, LinearKind kind = LinearKind::plain)
      : desc{.out = out,
             .in = in,
             .weight = WeightFormat::int4,
             .kind = kind,
             .group_size = group_size},
        layout{static_cast<int>(out), static_cast<int>(in), int4_parts(group_size)},
        data(static_cast<size_t>(layout.bytes()), 0),
        weight_(desc, 3) {
    const int halves = kind == LinearKind::gate_up ? 2 : 1;
    const auto part_rows = static_cast<int>(out / halves);
    constexpr int kTilesAtOnce = 3;
    for (int half = 0; half < halves; ++half) {
      const int step = kTilesAtOnce * kInt4Tile / halves;
      for (int first = 0; first < part_rows; first += step) {
        Int4Rows rows(weight_.rows(half * part_rows + first), row_layout());
        rows.first = first;
        rows.count = std::min(step, part_rows - first);
        rows.output_step = halves;
        rows.first_output = half;
        for (int64_t unit = 0; unit < int4_units(layout, rows); ++unit) {
          pack_int4_unit(layout, rows, unit, data.data());
        }
      }
    }
  }

  Int4Row row_layout() const { return {desc.in, desc.group_size}; }
  /// The row of the file that output `n` is.
  int64_t source(int n) const {
    return desc.kind == LinearKind::gate_up ? n % 2 * desc.out / 2 + n / 2 : n;
  }
  int q(int n, int k) const {
    const int both = row_layout().values(weight_.rows(source(n)))[k / 2];
    return both >> (k % 2 * 4) & 15;
  }
  int zero(int n, int k) const {
    return row_layout().zeros(weight_.rows(source(n)))[k / desc.group_size];
  }
  float scale(int n, int k) const {
    return row_layout().scales(weight_.rows(source(n)))[k / desc.group_size];
  }

  LinearDesc desc;
  Int4Layout layout;
  std::vector<uint8_t> data;

 private:
  TestWeight weight_;
};

float half_of(uint32_t both, int which) {
  return std::bit_cast<float>(which == 0 ? both << 16 : both & 0xffff0000U);
}

TEST(Int4Weights, RegistersHoldTheFragmentsOfTheProductOfDepth16) {
  for (const int64_t group : {32, 64, 128, 256}) {
    for (const LinearKind kind : {LinearKind::plain, LinearKind::gate_up}) {
      const Packed w(48, 264, group, kind);
      for (int tile = 0; tile < 3; ++tile) {
        for (int chunk = 0; chunk < 3; ++chunk) {
          const uint8_t* const record = w.data.data() + w.layout.record(tile, chunk);
          for (int depth = 0; depth < 8; ++depth) {
            for (int lane = 0; lane < 32; ++lane) {
              uint32_t word = 0;
              std::memcpy(&word, record + int4_word_place(depth / 4, lane, depth % 4), 4);
              const int part = depth / (8 / w.layout.parts);
              for (int e = 0; e < 8; ++e) {  // elements a0 to a7 of the PTX ISA
                const bool is_upper = e < 2 || (e >= 4 && e < 6);
                const int row = lane / 4 + (is_upper ? 0 : 8);
                const int column = lane % 4 * 2 + (e & 1) + (e < 4 ? 0 : 8);
                const int n = tile * 16 + row;
                const int k = chunk * 128 + depth * 16 + column;
                const uint32_t zero = record[int4_zero_place(part, row)];
                const float v = half_of(int4_biased(word, e / 2), e % 2) -
                                half_of(int4_biased_zero(zero), e % 2);
                if (k >= 264) continue;
                ASSERT_EQ(v, static_cast<float>(w.q(n, k) - w.zero(n, k)))
                    << "output " << n << ", column " << k;
                float scale = 0.0F;
                std::memcpy(&scale, record + int4_scale_place(part, row), 4);
                ASSERT_EQ(scale, w.scale(n, k)) << "output " << n << ", column " << k;
              }
            }
          }
        }
      }
    }
  }
}

TEST(Int4Weights, WideningReadsEveryWeight) {
  struct Shape {
    int64_t out;
    int64_t in;
  };
  for (const Shape& s : {Shape{2, 64}, {48, 136}, {130, 200}, {300, 392}}) {
    for (const int64_t group : {32, 64, 96, 128, 384}) {
      for (const LinearKind kind : {LinearKind::plain, LinearKind::gate_up}) {
        const Packed w(s.out, s.in, group, kind);
        for (int n = 0; n < s.out; ++n) {
          for (int k = 0; k < s.in; k += 8) {
            const Int4Values eight = int4_values(w.layout, w.data.data(), n, k);
            for (int i = 0; i < 8; ++i) {
              ASSERT_EQ(half_of(eight.pairs[i / 2], i % 2) - 128.0F, w.q(n, k + i))
                  << n << ", " << k + i << " of " << group;
            }
            ASSERT_EQ(half_of(eight.zero, 1) - 128.0F, w.zero(n, k));
            ASSERT_EQ(eight.scale, w.scale(n, k));
          }
        }
      }
    }
  }
}

TEST(Int4Weights, BeyondTheLastOutputAndTheLastColumnAreZeros) {
  const Packed w(20, 136, 32);
  for (int n = 0; n < 128; ++n) {
    for (int k = 0; k < 256; k += 8) {
      if (n < 20 && k < 136) continue;
      const Int4Values eight = int4_values(w.layout, w.data.data(), n, k);
      for (const uint32_t both : eight.pairs) ASSERT_EQ(both, 0x43004300U) << n << ", " << k;
      if (n < 20 && k < 160) continue;  // the rest of the last part
      ASSERT_EQ(eight.zero, 0x43004300U) << n << ", " << k;
      ASSERT_EQ(eight.scale, 0.0F) << n << ", " << k;
    }
  }
}

TEST(Int4Weights, RecordsFollowEachOtherByPanelChunkAndTile) {
  const Int4Layout coarse{4096, 4096, int4_parts(128)};
  EXPECT_EQ(int4_record_bytes(1), 1104);
  EXPECT_EQ(int4_record_bytes(4), 1344);
  EXPECT_EQ(coarse.bytes(), int64_t{32} * 32 * 8 * 1104);
  EXPECT_EQ(coarse.record(7, 0), 7 * 1104);
  EXPECT_EQ(coarse.record(0, 1), 8 * 1104);
  EXPECT_EQ(coarse.record(8, 0), 32 * 8 * 1104);
  const Int4Layout fine{130, 136, int4_parts(96)};
  EXPECT_EQ(fine.bytes(), 2 * 2 * 8 * 1344);
  EXPECT_EQ(int4_parts(64), 4);
  EXPECT_EQ(int4_parts(256), 1);
  EXPECT_TRUE(int4_groups_fit(96));
  EXPECT_FALSE(int4_groups_fit(48));
  EXPECT_FALSE(int4_groups_fit(0));
}

}  // namespace
}  // namespace qvl::device

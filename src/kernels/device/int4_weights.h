#pragma once

/// Where 4-bit weights lie in device memory, for the kernels that pack, multiply and widen them.
///
/// W is cut into records: 16 outputs (a tile) by 128 k (a chunk), each contiguous. A record has
/// 1,024 bytes of values as the registers of mma.m16n8k16 take them, so that nothing is moved when
/// they are unpacked, and then for each of its parts 16 float32 scales and 16 zero points of a
/// byte. A record is one part, or four of 32 k where a group of columns is not a multiple of 128; a
/// group that is larger than a part is repeated. Eight tiles (a panel) lie side by side in each
/// chunk: 128 outputs by 128 k are one contiguous piece.
///
/// Tiles beyond the last output and parts beyond the last k have zeros everywhere: they add nothing
/// as long as x is zero there.

#include <cstdint>
#include <cstring>

#include "core/int4_row.h"

#ifdef __CUDACC__
#define QVL_HOST_AND_DEVICE __host__ __device__
#else
#define QVL_HOST_AND_DEVICE
#endif

namespace qvl::device {

constexpr int kInt4Chunk = 128;  ///< k of a record
constexpr int kInt4Tile = 16;    ///< outputs of a record
constexpr int kInt4PanelTiles = 8;
constexpr int kInt4ValueBytes = kInt4Tile * kInt4Chunk / 2;
constexpr int kInt4HalfBytes = kInt4ValueBytes / 2;  ///< of 64 k: 16 for each lane of a warp
constexpr int kInt4PartBytes = kInt4Tile * 5;
/// Parts of a record where groups are not multiples of 128.
constexpr int kInt4FineParts = 4;

constexpr int int4_record_bytes(int parts) { return kInt4ValueBytes + parts * kInt4PartBytes; }

// Places in a record, in bytes.

/// A lane's word for columns [16 · depth, 16 · depth + 16) of half `half`.
constexpr int int4_word_place(int half, int lane, int depth) {
  return half * kInt4HalfBytes + lane * 16 + depth * 4;
}
constexpr int int4_scale_place(int part, int output) {
  return kInt4ValueBytes + part * kInt4PartBytes + output * 4;
}
constexpr int int4_zero_place(int part, int output) {
  return kInt4ValueBytes + part * kInt4PartBytes + kInt4Tile * 4 + output;
}

// A word holds the lane's four registers of a product of depth 16, g = lane / 4 and t = lane % 4.
// Register i is that of output g + i % 2 · 8 and columns 2t + i / 2 · 8 and the next; they are bits
// [4i, 4i + 4) and [16 + 4i, 20 + 4i): one shift and one mask give both halves of the register.

constexpr int int4_column(int lane, int i) { return lane % 4 * 2 + i / 2 * 8; }
constexpr int int4_shift(int i, bool is_next) { return 4 * i + (is_next ? 16 : 0); }

/// A W of `n` outputs, even, by `k` columns, a multiple of 8.
struct Int4Layout {
  int n = 0;
  int k = 0;
  int parts = 1;  ///< of a record

  QVL_HOST_AND_DEVICE int chunks() const { return (k + kInt4Chunk - 1) / kInt4Chunk; }
  QVL_HOST_AND_DEVICE int panels() const {
    constexpr int kOutputs = kInt4Tile * kInt4PanelTiles;
    return (n + kOutputs - 1) / kOutputs;
  }
  QVL_HOST_AND_DEVICE int64_t record(int tile, int chunk) const {
    const int64_t panel = int64_t{tile / kInt4PanelTiles} * chunks() + chunk;
    return (panel * kInt4PanelTiles + tile % kInt4PanelTiles) * int4_record_bytes(parts);
  }
  int64_t bytes() const {
    return int64_t{panels()} * chunks() * kInt4PanelTiles * int4_record_bytes(parts);
  }
};

/// Words and scales lie at multiples of four bytes, in records and in the rows of a file.
template <class T>
QVL_HOST_AND_DEVICE T load_four_bytes(const uint8_t* from) {
  T out;
  memcpy(&out, __builtin_assume_aligned(from, 4), 4);
  return out;
}
template <class T>
QVL_HOST_AND_DEVICE void store_four_bytes(uint8_t* to, T v) {
  memcpy(__builtin_assume_aligned(to, 4), &v, 4);
}

/// Whether groups of so many columns consist of whole parts.
constexpr bool int4_groups_fit(int64_t group_size) {
  return group_size > 0 && group_size % (kInt4Chunk / kInt4FineParts) == 0;
}
constexpr int int4_parts(int64_t group_size) {
  return group_size % kInt4Chunk == 0 ? 1 : kInt4FineParts;
}

/// Rows of core/int4_row.h to pack: `count` from row `first` on, whose outputs are `output_step`
/// apart, 1 or 2, and begin at `first_output`, less than that. Whole tiles, or the last rows.
struct Int4Rows {
  const uint8_t* rows = nullptr;
  int64_t row_bytes = 0;
  int zeros_place = 0;   ///< bytes into a row; its scales come first
  int values_place = 0;  ///< likewise
  int group_size = 0;
  int first = 0;
  int count = 0;
  int output_step = 1;
  int first_output = 0;

  Int4Rows(const void* data, const Int4Row& row)
      : rows(static_cast<const uint8_t*>(data)),
        row_bytes(row.bytes()),
        zeros_place(static_cast<int>(row.groups() * 4)),
        values_place(static_cast<int>(row.groups() * 5)),
        group_size(static_cast<int>(row.group_size)) {}

  QVL_HOST_AND_DEVICE int tile_rows() const { return kInt4Tile / output_step; }
  QVL_HOST_AND_DEVICE const uint8_t* row(int i) const { return rows + int64_t{i} * row_bytes; }
};

/// Units of work: words, and scales with their zero points.
QVL_HOST_AND_DEVICE inline int64_t int4_units(const Int4Layout& w, const Int4Rows& in) {
  const int tiles = (in.count + in.tile_rows() - 1) / in.tile_rows();
  return int64_t{tiles} * w.chunks() * in.tile_rows() * (16 + w.parts);
}

/// One of them. Neighbouring units read neighbouring bytes.
QVL_HOST_AND_DEVICE inline void pack_int4_unit(const Int4Layout& w, const Int4Rows& in,
                                               int64_t unit, uint8_t* packed) {
  const int tile_rows = in.tile_rows();
  const int words = tile_rows * 16;
  const int of_record = tile_rows * (16 + w.parts);
  const int i = static_cast<int>(unit % of_record);
  const int chunk = static_cast<int>(unit / of_record % w.chunks());
  const int tile = static_cast<int>(unit / of_record / w.chunks());
  uint8_t* const record = packed + w.record(in.first / tile_rows + tile, chunk);
  const int first_row = tile * tile_rows;  // in `in`
  if (i < words) {
    // Two rows of a tile lie eight outputs apart: half a tile's rows.
    const int t = i % 4;
    const int depth = i / 4 % 4;
    const int half = i / 16 % 2;
    const int row = i / 32;
    const int lane = (row * in.output_step + in.first_output) * 4 + t;
    uint32_t word = 0;
    for (int r = 0; r < 4; ++r) {
      const int from = first_row + row + r % 2 * (tile_rows / 2);
      const int column = chunk * kInt4Chunk + half * 64 + depth * 16 + int4_column(lane, r);
      if (from >= in.count || column >= w.k) continue;
      const uint32_t both = in.row(from)[in.values_place + column / 2];
      word |= ((both & 15) << int4_shift(r, false)) | ((both >> 4) << int4_shift(r, true));
    }
    store_four_bytes(record + int4_word_place(half, lane, depth), word);
    return;
  }
  const int part = (i - words) % w.parts;
  const int row = (i - words) / w.parts;
  const int column = chunk * kInt4Chunk + part * (kInt4Chunk / w.parts);
  const int output = row * in.output_step + in.first_output;
  float scale = 0.0F;
  uint8_t zero = 0;
  if (first_row + row < in.count && column < w.k) {
    const uint8_t* const from = in.row(first_row + row);
    const int64_t group = column / in.group_size;
    scale = load_four_bytes<float>(from + group * 4);
    zero = from[in.zeros_place + group];
  }
  store_four_bytes(record + int4_scale_place(part, output), scale);
  record[int4_zero_place(part, output)] = zero;
}

/// What register `i` of a lane holds of a word: 128 + q of both columns as bfloat16, for 128 has
/// the bits 0x4300 and a last place of one.
QVL_HOST_AND_DEVICE inline uint32_t int4_biased(uint32_t word, int i) {
  return ((word >> (4 * i)) & 0x000f000fU) | 0x43004300U;
}
/// 128 + a zero point, twice, to be taken from that: the difference is exact.
QVL_HOST_AND_DEVICE inline uint32_t int4_biased_zero(uint32_t zero) {
  return (zero * 0x00010001U) | 0x43004300U;
}

/// Eight neighbouring columns of an output: (q − zero) · scale.
struct Int4Values {
  uint32_t pairs[4] = {};  ///< columns 2t and 2t + 1, as int4_biased gives them
  uint32_t zero = 0;       ///< as int4_biased_zero gives it
  float scale = 0.0F;
};

/// Those from `column` on, a multiple of 8.
QVL_HOST_AND_DEVICE inline Int4Values int4_values(const Int4Layout& w, const uint8_t* packed,
                                                  int output, int column) {
  const int within = column % kInt4Chunk;
  const uint8_t* const record = packed + w.record(output / kInt4Tile, column / kInt4Chunk);
  const int part = within / (kInt4Chunk / w.parts);
  const int row = output % kInt4Tile;
  const int i = row / 8 + within / 8 % 2 * 2;  // the register
  Int4Values out;
  out.scale = load_four_bytes<float>(record + int4_scale_place(part, row));
  out.zero = int4_biased_zero(record[int4_zero_place(part, row)]);
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int t = 0; t < 4; ++t) {
    const int place = int4_word_place(within / 64, row % 8 * 4 + t, within / 16 % 4);
    out.pairs[t] = int4_biased(load_four_bytes<uint32_t>(record + place), i);
  }
  return out;
}

}  // namespace qvl::device

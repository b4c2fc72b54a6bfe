#pragma once

/// The unit of work of decode attention: one split of one row's keys, for the query heads that
/// share a kv head.

#include "kernels/device/decode_heads.cuh"

namespace qvl::device {

/// Floats of a split's results for the query heads of a kv head: sums of weighted values and, of
/// each head, maximum and sum of weights. Heads lie in pairs.
constexpr int decode_partial_floats(int group) {
  return (group + 1) / 2 * 2 * (kDecodeHeadDim + 2);
}

struct DecodeArgs {
  HeadArgs heads;
  const DecodeRow* rows;
  const int32_t* first_split;
  int row_count;
  int first_row;  ///< row of out that is row 0 of `rows`
  float* partials;
  uint32_t* arrivals;
  bf16x1* out;
  int64_t ldo;
};

/// One split of one row's keys for one kv head.
struct DecodeUnit {
  int row;  ///< of DecodeArgs::rows
  int kv_head;
  int split;  ///< of the row
  int splits;
  int first_split;  ///< of the row, from that of the first row
  int begin;
  int end;
  int start;      ///< keys from here on are of this step
  int first_row;  ///< row of the step that has key `start`
  int page;       ///< of key `begin`
  const int32_t* block_table;

  DecodeUnit() = default;
  /// Units in the order of rows, kv heads, splits; called by whole warps.
  __device__ DecodeUnit(const DecodeArgs& args, int index) {
    const int kv_heads = args.heads.num_kv_heads;
    const int base = args.first_split[0];
    row = row_of_item(args, base + __shfl_sync(0xffffffffU, index, 0) / kv_heads);
    while (args.first_split[row + 1] <= base + index / kv_heads) ++row;
    first_split = args.first_split[row] - base;
    splits = args.first_split[row + 1] - base - first_split;
    const int within = index - first_split * kv_heads;
    kv_head = within / splits;
    split = within % splits;
    const DecodeRow place = args.rows[row];
    start = place.start;
    first_row = static_cast<int>(place.first_row);
    block_table = place.block_table;
    const KeySplit range = key_split(split);
    begin = range.begin;
    end = min(range.end, place.keys);
    page = block_table[begin / static_cast<int>(kPageTokens)];
  }
  /// What this is in lane `lane` of the warp.
  __device__ DecodeUnit of_lane(int lane) const {
    const auto from = [&](int v) { return __shfl_sync(0xffffffffU, v, lane); };
    DecodeUnit unit;
    unit.row = from(row);
    unit.kv_head = from(kv_head);
    unit.split = from(split);
    unit.splits = from(splits);
    unit.first_split = from(first_split);
    unit.begin = from(begin);
    unit.end = from(end);
    unit.start = from(start);
    unit.first_row = from(first_row);
    unit.page = from(page);
    unit.block_table = reinterpret_cast<const int32_t*>(
        __shfl_sync(0xffffffffU, reinterpret_cast<unsigned long long>(block_table), lane));
    return unit;
  }

 private:
  /// The row whose splits contain item `item`, looked for by a whole warp; first_split ascends.
  static __device__ int row_of_item(const DecodeArgs& args, int item) {
    int found = -1;  // the last row that begins at or before the item
    for (int first = 0; first < args.row_count; first += 32) {
      const int r = first + static_cast<int>(threadIdx.x) % 32;
      const bool is_before = r < args.row_count && args.first_split[r] <= item;
      found += __popc(__ballot_sync(0xffffffffU, is_before));
    }
    return found;
  }
};

/// The page of a unit that has a key.
__device__ inline bf16x1* page_of(const HeadArgs& heads, const DecodeUnit& unit, int key) {
  return page_keys(heads, unit.block_table[key / static_cast<int>(kPageTokens)], unit.kv_head);
}

}  // namespace qvl::device

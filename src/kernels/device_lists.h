#pragma once

/// The lists of a text step in device memory. They lie at fixed addresses, so that a recorded graph
/// finds those of every step, and reach the device in one copy.

#include <span>
#include <vector>

#include "kernels/attention.h"

namespace qvl {

/// Query rows of one sequence that a block of prefill attention takes.
struct PrefillTile {
  int32_t sequence = 0;
  int32_t first = 0;  ///< row of the sequence
};

/// A row of decode attention: the last of `keys` keys, of which those from `start` on are of this
/// step, the first of them row `first_row` of its matrices.
struct DecodeRow {
  const int32_t* block_table = nullptr;
  int64_t first_row = 0;
  int32_t start = 0;
  int32_t keys = 0;
};

/// Keys [begin, end) of a sequence that one warp takes. Positions are split at fixed places, finer
/// at the beginning, so that short contexts spread over the chip and long ones need few partial
/// results.
struct KeySplit {
  int begin = 0;
  int end = 0;
};
constexpr int kFineSplit = 64;
constexpr int kFineKeys = 1024;
constexpr int kMiddleSplit = 256;
constexpr int kMiddleKeys = 8192;
constexpr int kCoarseSplit = 2048;
constexpr int kFineSplits = kFineKeys / kFineSplit;
constexpr int kMiddleSplits = (kMiddleKeys - kFineKeys) / kMiddleSplit;

constexpr int key_splits(int keys) {
  if (keys <= kFineKeys) return (keys + kFineSplit - 1) / kFineSplit;
  if (keys <= kMiddleKeys)
    return kFineSplits + (keys - kFineKeys + kMiddleSplit - 1) / kMiddleSplit;
  return kFineSplits + kMiddleSplits + (keys - kMiddleKeys + kCoarseSplit - 1) / kCoarseSplit;
}

constexpr KeySplit key_split(int index) {
  if (index < kFineSplits) return {index * kFineSplit, (index + 1) * kFineSplit};
  index -= kFineSplits;
  if (index < kMiddleSplits) {
    const int begin = kFineKeys + index * kMiddleSplit;
    return {begin, begin + kMiddleSplit};
  }
  const int begin = kMiddleKeys + (index - kMiddleSplits) * kCoarseSplit;
  return {begin, begin + kCoarseSplit};
}

/// Pointers into device memory.
struct DeviceLists {
  int32_t* tokens = nullptr;
  int32_t* positions = nullptr;  ///< [3, row_capacity]
  int64_t row_capacity = 0;
  SequenceRows* sequences = nullptr;  ///< with block tables in device memory
  PrefillTile* tiles = nullptr;
  int64_t tile_count = 0;
  int64_t tile_rows = 0;
  DecodeRow* decode_rows = nullptr;  ///< the generated rows in order
  int32_t* first_split = nullptr;    ///< [decode rows + 1] sums of the rows' key_splits
  int64_t decode_count = 0;
  int64_t partial_rows = 0;      ///< decode rows that there are partial results for at a time
  float* partials = nullptr;     ///< [splits of those rows, kv heads, decode_partial_floats]
  uint32_t* arrivals = nullptr;  ///< [partial rows, kv heads], zero between launches
  int64_t first_decode_row = 0;  ///< row of the step's matrices
};

struct StepCapacity {
  int64_t rows = 0;  ///< of a step
  int64_t sequences = 0;
  int64_t decode_rows = 0;  ///< generated rows of a usual step; more take longer
  int64_t max_model_len = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
};

/// The lists of one step as the host knows them. Prompt sequences come first.
struct HostLists {
  Vec<const int32_t> tokens;
  Mat<const int32_t> positions;  ///< [3, rows]
  std::span<const SequenceRows> sequences;
  int64_t pad_rows = 0;  ///< generated rows of no sequence at the end, whose results nobody reads
};

/// Owner of the lists. `memory` is device memory; what it takes is device_bytes().
class StepLists {
 public:
  static int64_t device_bytes(const StepCapacity& capacity);
  StepLists(const StepCapacity& capacity, Arena& memory);
  ~StepLists();
  StepLists(const StepLists&) = delete;
  StepLists& operator=(const StepLists&) = delete;

  /// Queues the copy of a step's lists. The step before must be done. Lists of up to
  /// `capacity.decode_rows` rows, all of them generated, lie where those of the same kind lay
  /// before.
  const DeviceLists& place(Cuda& cuda, const HostLists& lists);

 private:
  struct Block;
  void fill(Block& block, const HostLists& lists, int64_t rows_per_tile);

  StepCapacity capacity_;
  std::unique_ptr<Block> decode_;
  std::unique_ptr<Block> mixed_;
  DeviceLists lists_;
};

}  // namespace qvl

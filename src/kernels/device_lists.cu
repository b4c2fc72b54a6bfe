#include <algorithm>

#include "core/check.h"
#include "core/cuda.h"
#include "kernels/device/decode_units.cuh"
#include "kernels/device/flash.cuh"
#include "kernels/device_lists.h"

namespace qvl {
namespace {

/// Where the parts of a block of lists lie, in bytes from its start.
struct Layout {
  int64_t tokens = 0;
  int64_t positions = 0;
  int64_t sequences = 0;
  int64_t tiles = 0;
  int64_t decode_rows = 0;
  int64_t first_split = 0;
  int64_t block_tables = 0;  ///< last, since a step copies as many as it has
  int64_t bytes = 0;

  Layout(const StepCapacity& c, int64_t rows) {
    const int64_t sequences_held = std::min(c.sequences, rows);
    int64_t at = 0;
    const auto place = [&](int64_t& part, int64_t size) {
      part = at;
      at += Arena::padded(size);
    };
    place(tokens, rows * 4);
    place(positions, 3 * rows * 4);
    place(sequences, sequences_held * static_cast<int64_t>(sizeof(SequenceRows)));
    place(tiles, (rows / device::kFlashSmallTileRows + sequences_held) *
                     static_cast<int64_t>(sizeof(PrefillTile)));
    place(decode_rows, rows * static_cast<int64_t>(sizeof(DecodeRow)));
    place(first_split, (rows + 1) * 4);
    place(block_tables, sequences_held * pages_for(c.max_model_len) * 4);
    bytes = at;
  }
};

int64_t partial_bytes(const StepCapacity& c) {
  const auto group = static_cast<int>(c.num_heads / c.num_kv_heads);
  return c.decode_rows * key_splits(static_cast<int>(c.max_model_len)) * c.num_kv_heads *
         device::decode_partial_floats(group) * 4;
}

}  // namespace

struct StepLists::Block {
  Block(const StepCapacity& c, int64_t rows_held, Arena& memory)
      : rows(rows_held),
        layout(c, rows_held),
        host(make_pinned(layout.bytes)),
        device(memory.take<std::byte>(layout.bytes)) {}

  template <class T>
  T* in_host(int64_t offset) {
    return reinterpret_cast<T*>(host.get() + offset);
  }
  template <class T>
  T* in_device(int64_t offset) {
    return reinterpret_cast<T*>(device + offset);
  }

  int64_t rows;
  Layout layout;
  PinnedMemory host;
  std::byte* device;
  int64_t used = 0;
};

int64_t StepLists::device_bytes(const StepCapacity& capacity) {
  return Arena::padded(Layout(capacity, capacity.rows).bytes) +
         Arena::padded(Layout(capacity, capacity.decode_rows).bytes) +
         Arena::padded(partial_bytes(capacity)) +
         Arena::padded(capacity.decode_rows * capacity.num_kv_heads * 4);
}

StepLists::StepLists(const StepCapacity& capacity, Arena& memory)
    : capacity_(capacity),
      decode_(std::make_unique<Block>(capacity, capacity.decode_rows, memory)),
      mixed_(std::make_unique<Block>(capacity, capacity.rows, memory)) {
  lists_.partial_rows = capacity.decode_rows;
  lists_.partials = reinterpret_cast<float*>(memory.take<std::byte>(partial_bytes(capacity)));
  lists_.arrivals = memory.take<uint32_t>(capacity.decode_rows * capacity.num_kv_heads);
}

StepLists::~StepLists() = default;

namespace {

/// Small tiles where large ones would leave multiprocessors idle, or do not fit.
int64_t tile_rows(const Cuda& cuda, const HostLists& lists, int64_t num_heads) {
  int64_t tiles = 0;
  for (const SequenceRows& s : lists.sequences) {
    if (s.role == Role::prompt) {
      tiles += (s.rows + device::kFlashTileRows - 1) / device::kFlashTileRows;
    }
  }
  return tiles * num_heads < cuda.sm_count || !device::has_large_prefill_tiles(cuda)
             ? device::kFlashSmallTileRows
             : device::kFlashTileRows;
}

}  // namespace

void StepLists::fill(Block& block, const HostLists& lists, int64_t rows_per_tile) {
  const Layout& at = block.layout;
  const int64_t rows = lists.tokens.size;
  const int64_t padded = rows + lists.pad_rows;
  require(padded <= block.rows, "step lists: rows");
  require(static_cast<int64_t>(lists.sequences.size()) <= std::min(capacity_.sequences, block.rows),
          "step lists: sequences");
  auto* const tokens = block.in_host<int32_t>(at.tokens);
  auto* const positions = block.in_host<int32_t>(at.positions);
  std::copy_n(lists.tokens.data, rows, tokens);
  std::fill(tokens + rows, tokens + padded, 0);
  for (int64_t axis = 0; axis < 3; ++axis) {
    int32_t* const to = positions + axis * block.rows;
    std::copy_n(lists.positions.row(axis), rows, to);
    std::fill(to + rows, to + padded, 0);
  }
  auto* const sequences = block.in_host<SequenceRows>(at.sequences);
  auto* const tables = block.in_host<int32_t>(at.block_tables);
  auto* const tiles = block.in_host<PrefillTile>(at.tiles);
  auto* const decode_rows = block.in_host<DecodeRow>(at.decode_rows);
  auto* const first_split = block.in_host<int32_t>(at.first_split);
  int64_t table = 0;
  int64_t tile_count = 0;
  int64_t decode_count = 0;
  int64_t prompt_rows = 0;
  first_split[0] = 0;
  for (size_t s = 0; s < lists.sequences.size(); ++s) {
    SequenceRows sequence = lists.sequences[s];
    const int64_t pages = pages_for(sequence.start + sequence.rows);
    std::copy_n(sequence.block_table, pages, tables + table);
    sequence.block_table = block.in_device<int32_t>(at.block_tables) + table;
    table += pages;
    sequences[s] = sequence;
    if (sequence.role == Role::prompt) {
      prompt_rows += sequence.rows;
      // Those with the most keys first: blocks start in this order.
      for (int64_t i = (sequence.rows - 1) / rows_per_tile * rows_per_tile; i >= 0;
           i -= rows_per_tile) {
        tiles[tile_count++] = {static_cast<int32_t>(s), static_cast<int32_t>(i)};
      }
      continue;
    }
    for (int64_t i = 0; i < sequence.rows; ++i) {
      decode_rows[decode_count] = {.block_table = sequence.block_table,
                                   .first_row = sequence.first_row,
                                   .start = static_cast<int32_t>(sequence.start),
                                   .keys = static_cast<int32_t>(sequence.start + i + 1)};
      first_split[decode_count + 1] =
          first_split[decode_count] + key_splits(static_cast<int>(sequence.start + i + 1));
      ++decode_count;
    }
  }
  for (int64_t i = 0; i < lists.pad_rows; ++i) {
    first_split[decode_count + i + 1] = first_split[decode_count];
  }
  lists_.tokens = block.in_device<int32_t>(at.tokens);
  lists_.positions = block.in_device<int32_t>(at.positions);
  lists_.row_capacity = block.rows;
  lists_.sequences = block.in_device<SequenceRows>(at.sequences);
  lists_.tiles = block.in_device<PrefillTile>(at.tiles);
  lists_.tile_count = tile_count;
  lists_.tile_rows = rows_per_tile;
  lists_.decode_rows = block.in_device<DecodeRow>(at.decode_rows);
  lists_.first_split = block.in_device<int32_t>(at.first_split);
  lists_.decode_count = decode_count + lists.pad_rows;
  lists_.first_decode_row = prompt_rows;
  block.used = at.block_tables + table * 4;
}

const DeviceLists& StepLists::place(Cuda& cuda, const HostLists& lists) {
  const bool only_generated =
      std::all_of(lists.sequences.begin(), lists.sequences.end(),
                  [](const SequenceRows& s) { return s.role == Role::generated; });
  const bool is_small = lists.tokens.size + lists.pad_rows <= capacity_.decode_rows;
  Block& block = only_generated && is_small ? *decode_ : *mixed_;
  fill(block, lists, tile_rows(cuda, lists, capacity_.num_heads));
  check(cudaMemcpyAsync(block.device, block.host.get(), static_cast<size_t>(block.used),
                        cudaMemcpyHostToDevice, cuda.stream));
  cuda.lists = &lists_;
  return lists_;
}

}  // namespace qvl

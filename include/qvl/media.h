#pragma once

/// Pictures and videos as the engine takes them: rows of patches and the grid they form.

#include <array>
#include <cstdint>
#include <vector>

namespace qvl {

/// Patches of one picture or video: temporal slices × rows × columns.
struct Grid {
  int t = 0;
  int h = 0;
  int w = 0;

  int64_t patches() const { return int64_t{t} * h * w; }
  bool operator==(const Grid&) const = default;
};

using ContentHash = std::array<uint8_t, 16>;

struct Patches {
  Grid grid;
  /// [grid.patches(), 3·temporal_patch_size·patch_size²]; a row is (channel, frame, y, x), x
  /// fastest; rows go by slice, then by merge_size² blocks in reading order, then in reading order
  /// inside the block.
  std::vector<uint8_t> rows;
  /// Of grid and rows: equal pixels at an equal grid have an equal hash on every machine.
  ContentHash content_hash{};
};

}  // namespace qvl

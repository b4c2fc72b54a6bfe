#pragma once

/// Pixels → the rows that the vision tower reads.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "media/image.h"

namespace qvl {

/// Patches of one picture or video: temporal slices × rows × columns.
struct Grid {
  int t = 0;
  int h = 0;
  int w = 0;

  int64_t patches() const { return int64_t{t} * h * w; }
  bool operator==(const Grid&) const = default;
};

struct PatchShape {
  int patch_size = 16;
  int temporal_patch_size = 2;
  int merge_size = 2;

  int row_bytes() const { return 3 * temporal_patch_size * patch_size * patch_size; }
};

struct Patches {
  Grid grid;
  /// [grid.patches(), 3·temporal_patch_size·patch_size²]; a row is (channel, frame, y, x), x
  /// fastest; rows go by slice, then by merge_size² blocks in reading order, then in reading order
  /// inside the block.
  std::vector<uint8_t> rows;
  /// Of grid and rows: equal pixels at an equal grid have an equal hash on every machine.
  std::array<uint8_t, 16> content_hash{};
};

/// Frames of equal size, a multiple of patch_size·merge_size; a last odd frame is repeated to fill
/// its slice.
Patches make_patches(std::span<const Image> frames, const PatchShape& shape);

}  // namespace qvl

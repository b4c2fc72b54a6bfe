#include "media/patches.h"

#include <algorithm>

#include "core/check.h"
#include "media/content_hash.h"

namespace qvl {
namespace {

constexpr int kChannels = 3;

/// One patch of one frame → its place in each channel's part of the row.
void copy_patch(const Image& frame, int top, int left, int patch_size, size_t channel_bytes,
                uint8_t* out) {
  for (int y = 0; y < patch_size; ++y) {
    const size_t pixel = static_cast<size_t>(top + y) * static_cast<size_t>(frame.size.width) +
                         static_cast<size_t>(left);
    const uint8_t* from = frame.rgb.data() + pixel * kChannels;
    for (int x = 0; x < patch_size; ++x, from += kChannels) {
      out[x] = from[0];
      out[channel_bytes + x] = from[1];
      out[2 * channel_bytes + x] = from[2];
    }
    out += patch_size;
  }
}

/// Of the grid and the frames that patches have, a repeated frame once: equal for equal patches,
/// and half the work for a picture.
std::array<uint8_t, 16> hash_of(const Grid& grid, std::span<const Image> frames, int temporal) {
  ContentHasher hash;
  for (const int extent : {grid.t, grid.h, grid.w}) hash.add(static_cast<uint64_t>(extent));
  const auto last = static_cast<int>(frames.size()) - 1;
  for (int slice = 0; slice < grid.t; ++slice) {
    for (int t = 0; t < temporal; ++t) {
      const Image& frame = frames[std::min(slice * temporal + t, last)];
      const Image& before = frames[std::min(slice * temporal + std::max(t - 1, 0), last)];
      const bool is_new = t == 0 || (&frame != &before && frame.rgb != before.rgb);
      hash.add(uint64_t{is_new});
      if (is_new) hash.add(frame.rgb);
    }
  }
  return hash.digest();
}

}  // namespace

Patches make_patches(std::span<const Image> frames, const PatchShape& shape) {
  require(!frames.empty(), "patches of no frame");
  const Size size = frames[0].size;
  const int block = shape.patch_size * shape.merge_size;
  require_equal(size.height % block, 0, "height left over after whole blocks");
  require_equal(size.width % block, 0, "width left over after whole blocks");
  for (const Image& frame : frames) require(frame.size == size, "frames of unequal size");

  const int frame_count = static_cast<int>(frames.size());
  const int temporal = shape.temporal_patch_size;
  Patches patches;
  patches.grid = {(frame_count + temporal - 1) / temporal, size.height / shape.patch_size,
                  size.width / shape.patch_size};
  const auto row_bytes = static_cast<size_t>(shape.row_bytes());
  const auto frame_bytes = static_cast<size_t>(shape.patch_size) * shape.patch_size;
  patches.rows.resize(static_cast<size_t>(patches.grid.patches()) * row_bytes);
  uint8_t* row = patches.rows.data();
  for (int slice = 0; slice < patches.grid.t; ++slice) {
    for (int top = 0; top < size.height; top += block) {
      for (int left = 0; left < size.width; left += block) {
        for (int i = 0; i < shape.merge_size * shape.merge_size; ++i, row += row_bytes) {
          const int y = top + i / shape.merge_size * shape.patch_size;
          const int x = left + i % shape.merge_size * shape.patch_size;
          for (int t = 0; t < temporal; ++t) {
            const Image& frame = frames[std::min(slice * temporal + t, frame_count - 1)];
            copy_patch(frame, y, x, shape.patch_size, temporal * frame_bytes,
                       row + t * frame_bytes);
          }
        }
      }
    }
  }
  patches.content_hash = hash_of(patches.grid, frames, temporal);
  return patches;
}

}  // namespace qvl

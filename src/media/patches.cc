#include "media/patches.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/large_pages.h"
#include "media/blake3.h"
#include "media/content_hash.h"

namespace qvl {
namespace {

constexpr size_t kChannels = 3;

/// Patches of any size: rows of `stride` bytes → planes, channel c at out + c·channel_bytes.
void split_patch(const uint8_t* rgb, size_t stride, size_t patch_size, size_t channel_bytes,
                 uint8_t* out) {
  for (size_t y = 0; y < patch_size; ++y, rgb += stride, out += patch_size) {
    for (size_t x = 0; x < patch_size; ++x) {
      for (size_t c = 0; c < kChannels; ++c) {
        out[c * channel_bytes + x] = rgb[x * kChannels + c];
      }
    }
  }
}

/// Of the grid and the frames that patches have, a repeated frame once: equal for equal patches,
/// and half the work for a picture.
std::array<uint8_t, 16> hash_of(const Grid& grid, std::span<const Image> frames, int temporal,
                                const PixelKernels& kernels) {
  ContentHasher hash;
  for (const int extent : {grid.t, grid.h, grid.w}) hash.add(static_cast<uint64_t>(extent));
  const auto last = static_cast<int>(frames.size()) - 1;
  for (int slice = 0; slice < grid.t; ++slice) {
    for (int t = 0; t < temporal; ++t) {
      const Image& frame = frames[std::min(slice * temporal + t, last)];
      const Image& before = frames[std::min(slice * temporal + std::max(t - 1, 0), last)];
      const bool is_new = t == 0 || (&frame != &before && frame.rgb != before.rgb);
      hash.add(uint64_t{is_new});
      if (is_new) hash.add(blake3(frame.rgb, kernels));
    }
  }
  return hash.digest();
}

/// Writes rows of patches, a row at a time.
class PatchCutter {
 public:
  PatchCutter(std::span<const Image> frames, const PatchShape& shape, const PixelKernels& kernels)
      : frames_(frames),
        kernels_(kernels),
        temporal_(shape.temporal_patch_size),
        patch_size_(static_cast<size_t>(shape.patch_size)),
        row_(static_cast<size_t>(shape.row_bytes())) {}

  /// The patch at pixel (y, x) of a slice's frames. Valid until the next call.
  std::span<const uint8_t> cut(int slice, int y, int x) {
    const size_t plane_bytes = patch_size_ * patch_size_;
    const size_t channel_bytes = temporal_ * plane_bytes;
    const Image* before = nullptr;
    for (int t = 0; t < temporal_; ++t) {
      const size_t at = static_cast<size_t>(slice) * temporal_ + t;
      const Image& frame = frames_[std::min(at, frames_.size() - 1)];
      uint8_t* out = row_.data() + t * plane_bytes;
      if (&frame == before) {
        for (size_t c = 0; c < kChannels; ++c, out += channel_bytes) {
          std::memcpy(out, out - plane_bytes, plane_bytes);
        }
      } else {
        split(frame, y, x, channel_bytes, out);
      }
      before = &frame;
    }
    return row_;
  }

 private:
  void split(const Image& frame, int y, int x, size_t channel_bytes, uint8_t* out) const {
    const size_t stride = static_cast<size_t>(frame.size.width) * kChannels;
    const uint8_t* rgb = frame.rgb.data() + y * stride + x * kChannels;
    if (patch_size_ == 16) return kernels_.split_patch(rgb, stride, channel_bytes, out);
    split_patch(rgb, stride, patch_size_, channel_bytes, out);
  }

  std::span<const Image> frames_;
  const PixelKernels& kernels_;
  int temporal_;
  size_t patch_size_;
  std::vector<uint8_t> row_;
};

}  // namespace

Patches make_patches(std::span<const Image> frames, const PatchShape& shape,
                     const PixelKernels& kernels) {
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
  patches.rows.reserve(static_cast<size_t>(patches.grid.patches() * shape.row_bytes()));
  ask_for_large_pages(patches.rows.data(), patches.rows.capacity());
  PatchCutter cutter(frames, shape, kernels);
  for (int slice = 0; slice < patches.grid.t; ++slice) {
    for (int top = 0; top < size.height; top += block) {
      for (int left = 0; left < size.width; left += block) {
        for (int i = 0; i < shape.merge_size * shape.merge_size; ++i) {
          const int y = top + i / shape.merge_size * shape.patch_size;
          const int x = left + i % shape.merge_size * shape.patch_size;
          const std::span<const uint8_t> row = cutter.cut(slice, y, x);
          patches.rows.insert(patches.rows.end(), row.begin(), row.end());
        }
      }
    }
  }
  patches.content_hash = hash_of(patches.grid, frames, temporal, kernels);
  return patches;
}

}  // namespace qvl

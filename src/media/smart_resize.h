#pragma once

/// The size to which the reference processor scales a picture or a video.

#include "media/image.h"

namespace qvl {

/// Bounds on the area after scaling. For videos the area counts all frames: T·H·W.
struct PixelBudget {
  int64_t min_pixels = 65'536;
  int64_t max_pixels = 16'777'216;
  int factor = 32;  ///< patch_size · spatial_merge_size
};

/// Source: smart_resize, transformers image_processing_qwen2_vl.py. Error image_too_large for an
/// aspect ratio above 200 or a size the budget cannot hold.
Result<Size> smart_resize(Size size, const PixelBudget& budget);

/// Source: smart_resize, transformers video_processing_qwen3_vl.py (frames is the number of sampled
/// frames, at least 2). As there, an odd number of frames may exceed max_pixels: by half for 5
/// frames, less for more.
Result<Size> smart_resize_video(int frames, Size size, int temporal_patch_size,
                                const PixelBudget& budget);

}  // namespace qvl

#pragma once

/// A folder of frames as a video: which frames the reference processor samples, and the time of
/// each temporal patch.

#include <string>
#include <vector>

#include "media/image.h"

namespace qvl {

struct FrameSampling {
  double fps = 2.0;  ///< frames sampled per second of source
  int min_frames = 4;
  int max_frames = 768;
};

/// Indices of the sampled frames, ascending.  Source: Qwen3VLVideoProcessor.sample_frames.
std::vector<int> sample_frames(int total_frames, double source_fps, const FrameSampling& sampling);

/// Seconds of each temporal patch: the mean of its first and last frame's time; an odd last frame
/// is paired with itself.  Source: Qwen3VLProcessor._calculate_timestamps.
std::vector<double> patch_timestamps(const std::vector<int>& indices, double source_fps,
                                     int temporal_patch_size);

/// "<1.5 seconds>" as Python's f"<{seconds:.1f} seconds>".
std::string timestamp_text(double seconds);

struct Video {
  std::vector<Image> frames;       ///< the sampled ones, of equal size
  std::vector<int> frame_indices;  ///< in the source
  double source_fps = 0;
};

struct VideoLimits {
  ImageLimits frame = {};
  int max_source_frames = 100'000;
  /// Of all sampled frames together, as they are held at once: 768 of 1920x1080 fit.
  int64_t max_sampled_pixels = 1'600'000'000;
};

/// Pictures of `folder` in the order of their names, sampled; only the sampled ones are decoded.
Result<Video> load_frame_folder(const std::string& folder, double source_fps,
                                const FrameSampling& sampling, const VideoLimits& limits = {});

}  // namespace qvl

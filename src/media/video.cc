#include "media/video.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

namespace qvl {
namespace {

namespace fs = std::filesystem;

bool has_picture_extension(const std::string& name) {
  constexpr std::array<std::string_view, 3> kExtensions = {".png", ".jpg", ".jpeg"};
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return false;
  std::string extension = name.substr(dot);
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

/// Names of the pictures in `folder`, in bytewise order whatever the locale.
Result<std::vector<std::string>> list_pictures(const std::string& folder, int max_pictures) {
  std::error_code failed;
  fs::directory_iterator entry(folder, failed);
  if (failed) {
    const bool missing = failed == std::errc::no_such_file_or_directory;
    return Error{missing ? ErrorCode::file_not_found : ErrorCode::bad_video,
                 "expected a folder of pictures", folder};
  }
  std::vector<std::string> names;
  for (const fs::directory_iterator end; entry != end; entry.increment(failed)) {
    std::string name = entry->path().filename().string();
    std::error_code unknown;
    if (!has_picture_extension(name) || !entry->is_regular_file(unknown)) continue;
    if (std::ssize(names) == max_pictures) {
      return Error{ErrorCode::bad_video,
                   fmt::format("found more than {} pictures, which is the limit", max_pictures),
                   folder};
    }
    names.push_back(std::move(name));
  }
  if (failed) return Error{ErrorCode::file_unreadable, "listing the folder failed", folder};
  std::sort(names.begin(), names.end());
  return names;
}

std::string describe(const std::string& name, Size size) {
  return fmt::format("{} of {}x{} pixels", name, size.width, size.height);
}

}  // namespace

std::vector<int> sample_frames(int total_frames, double source_fps, const FrameSampling& sampling) {
  std::vector<int> indices;
  if (total_frames < 1) return indices;
  const double wanted = std::trunc(total_frames / source_fps * sampling.fps);
  // Written so that a frame rate of zero or NaN falls on the minimum.
  double count = wanted > sampling.min_frames ? wanted : sampling.min_frames;
  count = std::clamp(std::min<double>(count, sampling.max_frames), 1.0,
                     static_cast<double>(total_frames));
  const int frames = static_cast<int>(count);
  // As numpy.linspace: k times the rounded step, not k·(total − 1) / (frames − 1).
  const double step = frames > 1 ? (total_frames - 1.0) / (frames - 1) : 0;
  for (int k = 0; k < frames; ++k) indices.push_back(static_cast<int>(std::nearbyint(k * step)));
  if (frames > 1) indices.back() = total_frames - 1;
  return indices;
}

std::vector<double> patch_timestamps(const std::vector<int>& indices, double source_fps,
                                     int temporal_patch_size) {
  std::vector<double> seconds;
  const size_t step = static_cast<size_t>(std::max(temporal_patch_size, 1));
  for (size_t first = 0; first < indices.size(); first += step) {
    const size_t last = std::min(first + step, indices.size()) - 1;
    seconds.push_back((indices[first] / source_fps + indices[last] / source_fps) / 2);
  }
  return seconds;
}

std::string timestamp_text(double seconds) {
  std::array<char, 512> digits;  // the largest double has 309 before the point
  const auto [end, failed] = std::to_chars(digits.data(), digits.data() + digits.size(), seconds,
                                           std::chars_format::fixed, 1);
  const std::string_view number(digits.data(),
                                failed == std::errc() ? size_t(end - digits.data()) : 0);
  return fmt::format("<{} seconds>", number);
}

Result<Video> load_frame_folder(const std::string& folder, double source_fps,
                                const FrameSampling& sampling, const VideoLimits& limits) {
  if (!std::isfinite(source_fps) || source_fps <= 0) {
    return Error{ErrorCode::bad_video,
                 fmt::format("found {} frames per second, expected a positive number", source_fps),
                 folder};
  }
  const Result<std::vector<std::string>> names = list_pictures(folder, limits.max_source_frames);
  if (!names) return names.error();
  if (names->size() < 2) {
    return Error{ErrorCode::bad_video,
                 fmt::format("found {} PNG or JPEG files, expected at least 2", names->size()),
                 folder};
  }
  Video video;
  video.source_fps = source_fps;
  video.frame_indices = sample_frames(static_cast<int>(names->size()), source_fps, sampling);
  const std::string& first_name = (*names)[static_cast<size_t>(video.frame_indices[0])];
  for (const int index : video.frame_indices) {
    const std::string& name = (*names)[static_cast<size_t>(index)];
    Result<Image> frame = load_image((fs::path(folder) / name).string(), limits.frame);
    if (!frame) return frame.error();
    if (video.frames.empty()) {
      const auto frames = static_cast<int64_t>(video.frame_indices.size());
      if (frame->size.pixels() * frames > limits.max_sampled_pixels) {
        return Error{ErrorCode::image_too_large,
                     fmt::format("found {} frames like {}, the limit is {} pixels in all", frames,
                                 describe(name, frame->size), limits.max_sampled_pixels),
                     folder};
      }
    } else if (frame->size != video.frames[0].size) {
      return Error{
          ErrorCode::bad_video,
          fmt::format("found {} and {}, expected frames of equal size",
                      describe(first_name, video.frames[0].size), describe(name, frame->size)),
          folder};
    }
    video.frames.push_back(*std::move(frame));
  }
  return video;
}

}  // namespace qvl

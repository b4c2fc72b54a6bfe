#include "media/smart_resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace qvl {
namespace {

constexpr double kMaxAspectRatio = 200;
/// Of sides and frame counts: far above what the decoders let through, and the products of three
/// still fit in 64 bits.
constexpr int64_t kMaxCount = 1 << 20;

/// Multiples of the factor near a side. nearbyint rounds halves to even, as Python's round.
double round_to(double side, int factor) { return std::nearbyint(side / factor) * factor; }
double floor_to(double side, int factor) { return std::floor(side / factor) * factor; }
double ceil_to(double side, int factor) { return std::ceil(side / factor) * factor; }

Error impossible(Size size, const std::string& why) {
  return {ErrorCode::image_too_large,
          fmt::format("found {}x{} pixels, {}", size.width, size.height, why),
          {}};
}

/// `frames` scales both bounds' view of the area before scaling, `padded_frames` after it; both are
/// 1 for a picture.
Result<Size> scale_into(double height, double width, int64_t frames, int64_t padded_frames,
                        Size given, const PixelBudget& budget) {
  if (std::max(height, width) / std::min(height, width) > kMaxAspectRatio) {
    return impossible(given, fmt::format("expected an aspect ratio of at most {}",
                                         static_cast<int>(kMaxAspectRatio)));
  }
  const int factor = budget.factor;
  const auto area = static_cast<double>(frames) * height * width;
  const auto count = static_cast<double>(padded_frames);
  const auto min_pixels = static_cast<double>(budget.min_pixels);
  const auto max_pixels = static_cast<double>(budget.max_pixels);
  double out_height = round_to(height, factor);
  double out_width = round_to(width, factor);
  if (count * out_height * out_width > max_pixels) {
    const double shrink = std::sqrt(area / max_pixels);
    out_height = std::max<double>(factor, floor_to(height / shrink, factor));
    out_width = std::max<double>(factor, floor_to(width / shrink, factor));
  } else if (count * out_height * out_width < min_pixels) {
    const double grow = std::sqrt(min_pixels / area);
    out_height = ceil_to(height * grow, factor);
    out_width = ceil_to(width * grow, factor);
  }
  // The reference rounds the number of frames to whole slices in one place and not in the other, so
  // an odd number may exceed the budget by what that adds.
  const double out_area =
      static_cast<double>(std::min(frames, padded_frames)) * out_height * out_width;
  if (!(out_area > 0) || out_area > max_pixels) {
    return impossible(given, fmt::format("which do not scale to multiples of {} within {} to {} "
                                         "pixels",
                                         factor, budget.min_pixels, budget.max_pixels));
  }
  return Size{static_cast<int>(out_height), static_cast<int>(out_width)};
}

Status check_arguments(int frames, Size size, const PixelBudget& budget) {
  if (size.height < 1 || size.width < 1) {
    return Error{
        ErrorCode::bad_image, fmt::format("found {}x{} pixels", size.width, size.height), {}};
  }
  if (size.height > kMaxCount || size.width > kMaxCount || frames > kMaxCount) {
    return impossible(size, fmt::format("the limit is {} on a side", kMaxCount));
  }
  if (budget.factor < 1 || budget.factor > kMaxCount) {
    return Error{ErrorCode::bad_config,
                 fmt::format("found {} for patch_size times spatial_merge_size", budget.factor),
                 {}};
  }
  constexpr int64_t kMaxArea = int64_t{1} << 40;
  if (budget.min_pixels > budget.max_pixels || budget.max_pixels < 1 ||
      budget.max_pixels > kMaxArea) {
    return Error{
        ErrorCode::bad_config,
        fmt::format("found a pixel budget of {} to {}", budget.min_pixels, budget.max_pixels),
        {}};
  }
  return {};
}

}  // namespace

Result<Size> smart_resize(Size size, const PixelBudget& budget) {
  if (Status ok = check_arguments(1, size, budget); !ok) return ok.error();
  return scale_into(size.height, size.width, 1, 1, size, budget);
}

Result<Size> smart_resize_video(int frames, Size size, int temporal_patch_size,
                                const PixelBudget& budget) {
  if (Status ok = check_arguments(frames, size, budget); !ok) return ok.error();
  if (temporal_patch_size < 1 || frames < temporal_patch_size) {
    return Error{ErrorCode::bad_video,
                 fmt::format("found {} frames, expected at least {}", frames, temporal_patch_size),
                 {}};
  }
  double height = size.height;
  double width = size.width;
  if (height < budget.factor || width < budget.factor) {
    const double grow = std::max(budget.factor / height, budget.factor / width);
    height = std::trunc(height * grow);
    width = std::trunc(width * grow);
  }
  const double slices = std::nearbyint(static_cast<double>(frames) / temporal_patch_size);
  const auto padded_frames = static_cast<int64_t>(slices) * temporal_patch_size;
  return scale_into(height, width, frames, padded_frames, size, budget);
}

}  // namespace qvl

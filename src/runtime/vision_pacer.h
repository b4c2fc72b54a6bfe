#pragma once

#include <algorithm>
#include <cstdint>

namespace qvl {

/// How much of the vision tower fits into a time slice, from how long it took so far.
class VisionPacer {
 public:
  /// `layers` layers over `patches` patches took `ms`.
  void measured(int64_t patches, int64_t layers, double ms) {
    if (patches <= 0 || layers <= 0 || ms <= 0) return;
    const double now = ms / (static_cast<double>(patches) * static_cast<double>(layers));
    ms_per_patch_layer_ = ms_per_patch_layer_ == 0 ? now : (ms_per_patch_layer_ + now) / 2;
  }

  /// Patches × layers for `slice_ms`; 1 before anything was measured.
  int64_t budget(double slice_ms) const {
    if (ms_per_patch_layer_ == 0) return 1;
    return static_cast<int64_t>(std::min(slice_ms / ms_per_patch_layer_, 1e15));
  }

 private:
  double ms_per_patch_layer_ = 0;
};

}  // namespace qvl

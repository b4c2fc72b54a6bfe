#include "media/pixel_kernels.h"

#include "media/pixel_table.h"

namespace qvl {
namespace {

struct Plain {
  static constexpr bool kShufflesBytes = false;
};

}  // namespace

const PixelKernels& plain_pixel_kernels() {
  static constexpr PixelKernels kTable = pixel_table<Plain, WeighPlain<Plain>, 16, 4>("plain");
  return kTable;
}

std::vector<const PixelKernels*> supported_pixel_kernels() {
  std::vector<const PixelKernels*> tables = {&plain_pixel_kernels()};
  // The builtin also asks whether the system saves the wide registers.
  if (__builtin_cpu_supports("avx2")) tables.push_back(&avx2_pixel_kernels());
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    tables.push_back(&avx512_pixel_kernels());
  }
  return tables;
}

const PixelKernels& pixel_kernels() {
  static const PixelKernels& best = *supported_pixel_kernels().back();
  return best;
}

}  // namespace qvl

#pragma once

/// How large one picture becomes for the model, where it need not be as large as the others.

#include <cstdint>

#include "media/smart_resize.h"

namespace qvl {

enum class ImageDetail : uint8_t {
  automatic,  ///< the limits in force
  low,        ///< at most 256 image tokens
  high,       ///< the checkpoint's own limits
};

/// Zeros say nothing. A pixel limit that says something goes before `detail`.
struct ImageOptions {
  int64_t min_pixels = 0;  ///< area of the scaled picture; at least that of one image token
  int64_t max_pixels = 0;  ///< likewise
  int max_edge = 0;        ///< longer side of the scaled picture; goes before a default min_pixels
  ImageDetail detail = ImageDetail::automatic;
};

struct ImageBudgets {
  PixelBudget checkpoint;
  PixelBudget in_force;  ///< what memory is planned for: no picture becomes larger
};

/// The size to which a picture of `size` is scaled: smart_resize under the limits that `options`
/// choose, then, if that exceeds max_edge, shrunk until it does not. Error bad_image_options for
/// limits that contradict each other or are below one image token.
Result<Size> scaled_size(Size size, const ImageOptions& options, const ImageBudgets& budgets);

}  // namespace qvl

#include "media/image_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace qvl {
namespace {

constexpr int64_t kLowDetailTokens = 256;

Error bad_options(std::string detail) {
  return {ErrorCode::bad_image_options, std::move(detail), {}};
}

/// The longest side of whole tokens within the limit.
int whole_edge(int max_edge, int factor) { return max_edge / factor * factor; }

Status check(const ImageOptions& options, const PixelBudget& in_force) {
  const int64_t token = int64_t{in_force.factor} * in_force.factor;
  for (const auto& [name, pixels] :
       {std::pair{"min_pixels", options.min_pixels}, std::pair{"max_pixels", options.max_pixels}}) {
    if (pixels == 0 || pixels >= token) continue;
    return bad_options(fmt::format("found {} {}, expected at least {}, which is one image token",
                                   name, pixels, token));
  }
  if (options.max_edge != 0 && options.max_edge < in_force.factor) {
    return bad_options(
        fmt::format("found max_edge {}, expected at least {}", options.max_edge, in_force.factor));
  }
  if (options.max_pixels != 0 && options.min_pixels > options.max_pixels) {
    return bad_options(fmt::format("found min_pixels {} above max_pixels {}", options.min_pixels,
                                   options.max_pixels));
  }
  if (options.min_pixels > in_force.max_pixels) {
    return bad_options(fmt::format("found min_pixels {}, expected at most {}, the limit in force",
                                   options.min_pixels, in_force.max_pixels));
  }
  const int64_t edge = whole_edge(options.max_edge, in_force.factor);
  if (options.max_edge != 0 && options.min_pixels > edge * edge) {
    return bad_options(fmt::format("found min_pixels {}, which no picture of max_edge {} has",
                                   options.min_pixels, options.max_edge));
  }
  return {};
}

PixelBudget choose_budget(const ImageOptions& options, const ImageBudgets& budgets) {
  PixelBudget chosen = budgets.in_force;
  const bool explicit_pixels = options.min_pixels != 0 || options.max_pixels != 0;
  if (!explicit_pixels && options.detail == ImageDetail::high) chosen = budgets.checkpoint;
  if (!explicit_pixels && options.detail == ImageDetail::low) {
    chosen.max_pixels = kLowDetailTokens * chosen.factor * chosen.factor;
  }
  if (options.max_pixels != 0) chosen.max_pixels = options.max_pixels;
  if (options.min_pixels != 0) chosen.min_pixels = options.min_pixels;
  chosen.max_pixels = std::min(chosen.max_pixels, budgets.in_force.max_pixels);
  chosen.min_pixels = std::min(chosen.min_pixels, chosen.max_pixels);
  return chosen;
}

/// `scaled`, whose sides are multiples of the factor, with the longer one at most `edge`, another
/// multiple, and the shorter one as the proportions of `size` want it. Neither side grows.
Size limit_edge(Size scaled, Size size, int edge, int factor) {
  if (std::max(scaled.height, scaled.width) <= edge) return scaled;
  const double shrink = static_cast<double>(edge) / std::max(size.height, size.width);
  const auto side = [&](int given, int before) {
    const auto wanted = static_cast<int>(std::nearbyint(given * shrink / factor)) * factor;
    return std::clamp(wanted, factor, std::min(before, edge));
  };
  return {side(size.height, scaled.height), side(size.width, scaled.width)};
}

}  // namespace

Result<Size> scaled_size(Size size, const ImageOptions& options, const ImageBudgets& budgets) {
  if (Status ok = check(options, budgets.in_force); !ok) return ok.error();
  const PixelBudget budget = choose_budget(options, budgets);
  Result<Size> scaled = smart_resize(size, budget);
  if (!scaled || options.max_edge == 0) return scaled;
  return limit_edge(*scaled, size, whole_edge(options.max_edge, budget.factor), budget.factor);
}

}  // namespace qvl

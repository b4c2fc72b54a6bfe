#include "model/mrope.h"

#include <algorithm>
#include <cmath>

namespace qvl {
namespace {

/// How much less than its number of tokens a span advances the position. Never positive.
int64_t span_delta(const EmbedSpan& span) {
  return std::max(span.merged_h, span.merged_w) - span.rows;
}

}  // namespace

void mrope_positions(std::span<const EmbedSpan> spans, int64_t first, Mat<int32_t> positions) {
  int64_t delta = 0;
  size_t next = 0;
  while (next < spans.size() && spans[next].end() <= first) delta += span_delta(spans[next++]);
  for (int64_t i = 0; i < positions.cols; ++i) {
    const int64_t token = first + i;
    if (next < spans.size() && token >= spans[next].end()) delta += span_delta(spans[next++]);
    int64_t base = token + delta;
    int64_t row = 0;
    int64_t column = 0;
    if (next < spans.size() && token >= spans[next].first_token) {
      const EmbedSpan& span = spans[next];
      const int64_t inside = token - span.first_token;
      base = span.first_token + delta;
      row = inside / span.merged_w;
      column = inside % span.merged_w;
    }
    positions(0, i) = static_cast<int32_t>(base);
    positions(1, i) = static_cast<int32_t>(base + row);
    positions(2, i) = static_cast<int32_t>(base + column);
  }
}

int64_t rope_delta(std::span<const EmbedSpan> spans) {
  int64_t delta = 0;
  for (const EmbedSpan& span : spans) delta += span_delta(span);
  return delta;
}

std::vector<uint8_t> mrope_axes(const std::array<int, 3>& section) {
  const int pairs = section[0] + section[1] + section[2];
  std::vector<uint8_t> axes(static_cast<size_t>(pairs), 0);
  for (int axis = 1; axis <= 2; ++axis) {
    for (int i = axis; i < std::min(pairs, 3 * section[static_cast<size_t>(axis)]); i += 3) {
      axes[static_cast<size_t>(i)] = static_cast<uint8_t>(axis);
    }
  }
  return axes;
}

std::vector<float> inverse_frequencies(double theta, int64_t dim) {
  std::vector<float> out;
  for (int64_t i = 0; i < dim / 2; ++i) {
    out.push_back(static_cast<float>(
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim))));
  }
  return out;
}

}  // namespace qvl

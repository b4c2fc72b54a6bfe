#include "media/resize.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"

// Two passes, along the width into bytes, then along the height. Both are sums of byte vectors with
// int16 weights, kLanes sums at a time: the vertical pass finds its vectors in the rows as they
// are, the horizontal one in a band of kLanes rows turned on its side.

namespace qvl {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kChannels = 3;

double cubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0;
}

/// For each output position of one axis: output = Σ_j weights[j] · input[first + j] / 2^precision.
struct Filter {
  struct Window {
    int first;
    int count;
    const int16_t* weights;
  };

  std::vector<int> first;
  std::vector<int> count;
  std::vector<int16_t> weights;  ///< [out, stride]
  int stride = 0;
  int precision = 0;

  Window window(int out) const {
    const auto i = static_cast<size_t>(out);
    return {first[i], count[i], weights.data() + i * static_cast<size_t>(stride)};
  }
};

/// The largest precision up to 22 bits at which the largest weight still fits in an int16.
int weight_precision(double largest) {
  int precision = 0;
  while (precision < 22 && std::floor(0.5 + largest * (2 << precision)) < (1 << 15)) ++precision;
  return precision;
}

/// Source: compute_index_ranges_int16_weights, PyTorch's UpSampleKernel.cpp.
Filter make_filter(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double widening = std::max(scale, 1.0);
  const double support = 2 * widening;
  Filter filter;
  filter.stride = std::min(static_cast<int>(std::ceil(support)) * 2 + 1, in);
  const auto stride = static_cast<size_t>(filter.stride);
  std::vector<double> exact(static_cast<size_t>(out) * stride);
  double largest = 0;
  for (int i = 0; i < out; ++i) {
    const double center = scale * (i + 0.5);
    const int first = std::max(static_cast<int>(std::floor(center - support + 0.5)), 0);
    const int end = std::min(static_cast<int>(std::floor(center + support + 0.5)), in);
    const int count = std::clamp(end - first, 0, filter.stride);
    double* weights = exact.data() + static_cast<size_t>(i) * stride;
    double sum = 0;
    for (int j = 0; j < count; ++j) {
      weights[j] = cubic((j + first - center + 0.5) * (1 / widening));
      sum += weights[j];
    }
    for (int j = 0; j < count; ++j) {
      if (sum != 0) weights[j] /= sum;
      largest = std::max(largest, weights[j]);
    }
    filter.first.push_back(first);
    filter.count.push_back(count);
  }
  filter.precision = weight_precision(largest);
  filter.weights.reserve(exact.size());
  const double one = 1 << filter.precision;
  for (const double weight : exact) {
    // Halves go away from zero.
    filter.weights.push_back(static_cast<int16_t>(weight * one + (weight < 0 ? -0.5 : 0.5)));
  }
  return filter;
}

/// Lanes sums side by side; the vector of input j starts at src + j·stride.
template <size_t Lanes>
void weigh(const uint8_t* src, size_t stride, const Filter::Window& window, int precision,
           uint8_t* out) {
  std::array<int32_t, Lanes> sums;
  sums.fill(1 << (precision - 1));
  for (int j = 0; j < window.count; ++j, src += stride) {
    const int16_t weight = window.weights[j];
    for (size_t lane = 0; lane < Lanes; ++lane) sums[lane] += int16_t{src[lane]} * weight;
  }
  for (size_t lane = 0; lane < Lanes; ++lane) {
    out[lane] = static_cast<uint8_t>(std::clamp(sums[lane] >> precision, 0, 255));
  }
}

Image resize_width(const Image& in, int width) {
  const Filter filter = make_filter(in.size.width, width);
  Image out;
  out.size = {in.size.height, width};
  out.rgb.resize(static_cast<size_t>(out.size.pixels()) * kChannels);
  const auto height = static_cast<size_t>(in.size.height);
  const size_t in_stride = static_cast<size_t>(in.size.width) * kChannels;
  const size_t out_stride = static_cast<size_t>(width) * kChannels;
  std::vector<uint8_t> band(in_stride * kLanes);  // [in width, channel, row]
  std::array<uint8_t, kChannels * kLanes> column;
  for (size_t y = 0; y < height; y += kLanes) {
    // A band that would pass the lower edge repeats the last row.
    std::array<const uint8_t*, kLanes> from;
    std::array<uint8_t*, kLanes> to;
    for (size_t row = 0; row < kLanes; ++row) {
      const size_t at = std::min(y + row, height - 1);
      from[row] = in.rgb.data() + at * in_stride;
      to[row] = out.rgb.data() + at * out_stride;
    }
    for (size_t i = 0; i < in_stride; ++i) {
      for (size_t row = 0; row < kLanes; ++row) band[i * kLanes + row] = from[row][i];
    }
    for (int x = 0; x < width; ++x) {
      const Filter::Window window = filter.window(x);
      const uint8_t* src = band.data() + static_cast<size_t>(window.first) * kChannels * kLanes;
      for (size_t c = 0; c < kChannels; ++c) {
        weigh<kLanes>(src + c * kLanes, kChannels * kLanes, window, filter.precision,
                      column.data() + c * kLanes);
      }
      for (size_t row = 0; row < kLanes; ++row) {
        for (size_t c = 0; c < kChannels; ++c)
          to[row][x * kChannels + c] = column[c * kLanes + row];
      }
    }
  }
  return out;
}

Image resize_height(const Image& in, int height) {
  const Filter filter = make_filter(in.size.height, height);
  Image out;
  out.size = {height, in.size.width};
  out.rgb.resize(static_cast<size_t>(out.size.pixels()) * kChannels);
  const size_t stride = static_cast<size_t>(in.size.width) * kChannels;
  for (int y = 0; y < height; ++y) {
    const Filter::Window window = filter.window(y);
    const uint8_t* src = in.rgb.data() + static_cast<size_t>(window.first) * stride;
    uint8_t* row = out.rgb.data() + static_cast<size_t>(y) * stride;
    size_t i = 0;
    for (; i + kLanes <= stride; i += kLanes) {
      weigh<kLanes>(src + i, stride, window, filter.precision, row + i);
    }
    for (; i < stride; ++i) weigh<1>(src + i, stride, window, filter.precision, row + i);
  }
  return out;
}

}  // namespace

Image resize_bicubic(const Image& image, Size size) {
  require(image.size.height > 0 && image.size.width > 0 && size.height > 0 && size.width > 0,
          "resize of or to an empty picture");
  if (image.size == size) return image;
  if (image.size.width == size.width) return resize_height(image, size.height);
  if (image.size.height == size.height) return resize_width(image, size.width);
  return resize_height(resize_width(image, size.width), size.height);
}

}  // namespace qvl

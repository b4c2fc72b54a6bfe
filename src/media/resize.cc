#include "media/resize.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

// Two passes, along the width into bytes, then along the height. Both are the same sums of byte
// vectors with int16 weights: the vertical pass finds its vectors in the rows as they are, the
// horizontal one in a tile of the picture turned on its side.

namespace qvl {
namespace {

constexpr size_t kChannels = 3;

double cubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0;
}

/// For each output position of one axis.
struct Filter {
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int16_t> weights;  ///< [out, stride]
  int stride = 0;
  int precision = 0;

  FilterWindow window(int out) const {
    const auto i = static_cast<size_t>(out);
    return {first[i], count[i], weights.data() + i * static_cast<size_t>(stride), precision};
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

/// Columns of the output that a tile has: few enough that the tile stays in a core's second cache
/// for all but the strongest reductions.
constexpr int kTileWidth = 128;

Image resize_width(const Image& in, int width, const PixelKernels& kernels) {
  const Filter filter = make_filter(in.size.width, width);
  Image out = black_image({in.size.height, width});
  const auto height = static_cast<size_t>(in.size.height);
  const size_t in_stride = static_cast<size_t>(in.size.width) * kChannels;
  const size_t out_stride = static_cast<size_t>(width) * kChannels;
  const size_t rows = kernels.turned_rows;
  const size_t pixel = kChannels * rows;  // a turned pixel: [channel, row]
  std::vector<uint8_t> turned;
  std::vector<uint8_t> sums(kTileWidth * pixel);
  std::vector<const uint8_t*> from(rows);
  std::vector<uint8_t*> to(rows);
  for (size_t y = 0; y < height; y += rows) {
    for (int left = 0; left < width; left += kTileWidth) {
      const int right = std::min(left + kTileWidth, width);
      const FilterWindow last = filter.window(right - 1);
      const int first = filter.window(left).first;
      const auto in_bytes = static_cast<size_t>(last.first + last.count - first) * kChannels;
      const auto out_bytes = static_cast<size_t>(right - left) * kChannels;
      // Rows below the lower edge repeat the last one.
      for (size_t row = 0; row < rows; ++row) {
        const size_t at = std::min(y + row, height - 1);
        from[row] = in.rgb.data() + at * in_stride + static_cast<size_t>(first) * kChannels;
        to[row] = out.rgb.data() + at * out_stride + static_cast<size_t>(left) * kChannels;
      }
      turned.resize(std::max(turned.size(), in_bytes * rows));
      kernels.rows_to_columns(from.data(), in_bytes, turned.data());
      for (int x = left; x < right; ++x) {
        const FilterWindow window = filter.window(x);
        kernels.weigh(turned.data() + static_cast<size_t>(window.first - first) * pixel, pixel,
                      window, pixel, sums.data() + static_cast<size_t>(x - left) * pixel);
      }
      kernels.columns_to_rows(sums.data(), out_bytes, to.data());
    }
  }
  return out;
}

Image resize_height(const Image& in, int height, const PixelKernels& kernels) {
  const Filter filter = make_filter(in.size.height, height);
  Image out = black_image({height, in.size.width});
  const size_t stride = static_cast<size_t>(in.size.width) * kChannels;
  for (int y = 0; y < height; ++y) {
    const FilterWindow window = filter.window(y);
    kernels.weigh(in.rgb.data() + static_cast<size_t>(window.first) * stride, stride, window,
                  stride, out.rgb.data() + static_cast<size_t>(y) * stride);
  }
  return out;
}

}  // namespace

Image resize_bicubic(Image image, Size size, const PixelKernels& kernels) {
  require(image.size.height > 0 && image.size.width > 0 && size.height > 0 && size.width > 0,
          "resize of or to an empty picture");
  if (image.size.width != size.width) image = resize_width(image, size.width, kernels);
  if (image.size.height != size.height) image = resize_height(image, size.height, kernels);
  return image;
}

}  // namespace qvl

#pragma once

/// The loops over pixels, one table of functions for each instruction set, chosen at run time.
/// Every table computes the same bits.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace qvl {

/// One output of a filter along an axis: Σ_j weights[j] · input[first + j] / 2^precision, rounded
/// and clamped to a byte. 0 < precision.
struct FilterWindow {
  int first = 0;
  int count = 0;
  const int16_t* weights = nullptr;
  int precision = 0;
};

/// Inputs of equal length, one behind the other, that BLAKE3 compresses side by side.
struct Blake3Inputs {
  size_t blocks = 0;         ///< of 64 bytes, in each input
  uint64_t counter = 0;      ///< of the first input
  uint64_t step = 0;         ///< from the counter of an input to the next one's
  uint32_t flags = 0;        ///< of every block
  uint32_t first_flags = 0;  ///< besides, of an input's first block
  uint32_t last_flags = 0;
  uint32_t last_block_bytes = 64;  ///< that count; those behind them are 0
};

struct PixelKernels {
  const char* name;
  size_t turned_rows;  ///< R, rows of pixels that are turned into columns together

  /// out[i] for i < bytes: the sum of src[i + j·stride] over the window's j. `first` does not
  /// count.
  void (*weigh)(const uint8_t* src, size_t stride, const FilterWindow& window, size_t bytes,
                uint8_t* out);
  /// R rows of `bytes` → columns [bytes, R], and back. Rows to which a picture's last row is
  /// written may be the same.
  void (*rows_to_columns)(const uint8_t* const* rows, size_t bytes, uint8_t* columns);
  void (*columns_to_rows)(const uint8_t* columns, size_t bytes, uint8_t* const* rows);
  /// 16 rows of 16 RGB pixels → [16, 16] of each channel, channel c at out + c·channel_bytes.
  void (*split_patch)(const uint8_t* rgb, size_t stride, size_t channel_bytes, uint8_t* out);
  /// count inputs → chaining values [count, 8].
  void (*blake3)(const uint8_t* inputs, size_t count, const Blake3Inputs& how, uint32_t* values);
};

/// The fastest one of this processor.
const PixelKernels& pixel_kernels();
/// All that this processor can run, plain C++ first.
std::vector<const PixelKernels*> supported_pixel_kernels();

}  // namespace qvl

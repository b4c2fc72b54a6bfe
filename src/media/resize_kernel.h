#pragma once

/// The sums of a resize and the turning of rows into columns, for units of one instruction set
/// each.

#include "media/lanes.h"
#include "media/pixel_kernels.h"

namespace qvl {

/// Any processor: what the vectors of the other units compute.
template <class Isa>
struct WeighPlain {
  static void weigh(const uint8_t* src, size_t stride, const FilterWindow& window, size_t bytes,
                    uint8_t* out) {
    constexpr size_t kLanes = 16;
    size_t i = 0;
    for (; i + kLanes <= bytes; i += kLanes) sums<kLanes>(src + i, stride, window, out + i);
    for (; i < bytes; ++i) sums<1>(src + i, stride, window, out + i);
  }

 private:
  template <size_t kLanes>
  static void sums(const uint8_t* src, size_t stride, const FilterWindow& window, uint8_t* out) {
    int32_t sums[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] = 1 << (window.precision - 1);
    for (int j = 0; j < window.count; ++j, src += stride) {
      const int16_t weight = window.weights[j];
      for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += int16_t{src[lane]} * weight;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const int32_t value = sums[lane] >> window.precision;
      const int32_t low = value < 0 ? 0 : value;
      out[lane] = static_cast<uint8_t>(low > 255 ? 255 : low);
    }
  }
};

/// Two inputs at a time: their bytes side by side, widened to int16, meet the pair of their weights
/// in one multiply-add. Instructions that interleave and those that narrow again both stay in
/// 16-byte parts of a vector, so that the order of bytes comes back.
template <class Isa>
struct WeighPairs {
  static constexpr size_t kBytes = sizeof(typename Isa::Bytes);

  static void weigh(const uint8_t* src, size_t stride, const FilterWindow& window, size_t bytes,
                    uint8_t* out) {
    if (bytes < kBytes) return WeighPlain<Isa>::weigh(src, stride, window, bytes, out);
    size_t i = 0;
    for (; i + kBytes <= bytes; i += kBytes) sums(src + i, stride, window, out + i);
    // The last vector ends where the row does and does some bytes again.
    if (i < bytes) sums(src + bytes - kBytes, stride, window, out + bytes - kBytes);
  }

 private:
  using Bytes = typename Isa::Bytes;

  static void sums(const uint8_t* src, size_t stride, const FilterWindow& window, uint8_t* out) {
    Bytes sums[4];
    for (Bytes& sum : sums) sum = Isa::set1(1 << (window.precision - 1));
    int j = 0;
    for (; j + 2 <= window.count; j += 2, src += 2 * stride) {
      int32_t weights;
      std::memcpy(&weights, window.weights + j, sizeof weights);
      add(Isa::load(src), Isa::load(src + stride), Isa::set1(weights), sums);
    }
    if (j < window.count) {
      add(Isa::load(src), Isa::set1(0), Isa::set1(uint16_t(window.weights[j])), sums);
    }
    Isa::store(out, Isa::narrow(sums, window.precision));
  }

  static void add(Bytes a, Bytes b, Bytes weights, Bytes (&sums)[4]) {
    const Bytes zero = Isa::set1(0);
    const Bytes low = Isa::interleave_low(a, b);
    const Bytes high = Isa::interleave_high(a, b);
    sums[0] = Isa::multiply_add(sums[0], Isa::interleave_low(low, zero), weights);
    sums[1] = Isa::multiply_add(sums[1], Isa::interleave_high(low, zero), weights);
    sums[2] = Isa::multiply_add(sums[2], Isa::interleave_low(high, zero), weights);
    sums[3] = Isa::multiply_add(sums[3], Isa::interleave_high(high, zero), weights);
  }
};

/// Blocks of 16 by 16 bytes, along 16 rows before the next 16: caches fetch ahead along that many,
/// not along 64. The last block of a row ends where the row does and does some bytes again.
template <class Isa, size_t kRows>
struct Turn {
  static_assert(kRows % 16 == 0);

  static void rows_to_columns(const uint8_t* const* rows, size_t bytes, uint8_t* columns) {
    if (bytes < 16) {
      for (size_t i = 0; i < bytes; ++i) {
        for (size_t row = 0; row < kRows; ++row) columns[i * kRows + row] = rows[row][i];
      }
      return;
    }
    for (size_t row = 0; row < kRows; row += 16) {
      for (size_t i = 0; i < bytes; i += 16) {
        const size_t at = i + 16 <= bytes ? i : bytes - 16;
        Vector block[16];
        for (size_t k = 0; k < 16; ++k) block[k] = Sixteen::load(rows[row + k] + at);
        Sixteen::transpose(block);
        uint8_t* to = columns + at * kRows + row;
        for (size_t k = 0; k < 16; ++k) Sixteen::store(to + k * kRows, block[k]);
      }
    }
  }

  static void columns_to_rows(const uint8_t* columns, size_t bytes, uint8_t* const* rows) {
    if (bytes < 16) {
      for (size_t i = 0; i < bytes; ++i) {
        for (size_t row = 0; row < kRows; ++row) rows[row][i] = columns[i * kRows + row];
      }
      return;
    }
    for (size_t row = 0; row < kRows; row += 16) {
      for (size_t i = 0; i < bytes; i += 16) {
        const size_t at = i + 16 <= bytes ? i : bytes - 16;
        const uint8_t* from = columns + at * kRows + row;
        Vector block[16];
        for (size_t k = 0; k < 16; ++k) block[k] = Sixteen::load(from + k * kRows);
        Sixteen::transpose(block);
        for (size_t k = 0; k < 16; ++k) Sixteen::store(rows[row + k] + at, block[k]);
      }
    }
  }

 private:
  using Sixteen = Lanes<Isa, uint8_t, 16>;
  using Vector = typename Sixteen::Vector;
};

}  // namespace qvl

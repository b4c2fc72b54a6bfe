#pragma once

/// A row of 4-bit weights on its way from a checkpoint to a backend, whatever format the file has:
/// w[k] = (q[k] − zeros[k / group_size]) · scales[k / group_size], exact in float32.

#include <cstdint>

namespace qvl {

/// Bytes of a row: scales float32 [groups], then zeros uint8 [groups], then q two to a byte, even k
/// in the low half, [in / 2], then padding to a multiple of four.
struct Int4Row {
  int64_t in = 0;          ///< an even number
  int64_t group_size = 0;  ///< the last group may be shorter

  int64_t groups() const { return (in + group_size - 1) / group_size; }
  int64_t bytes() const { return (groups() * 5 + in / 2 + 3) / 4 * 4; }

  float* scales(void* row) const { return static_cast<float*>(row); }
  uint8_t* zeros(void* row) const { return static_cast<uint8_t*>(row) + groups() * 4; }
  uint8_t* values(void* row) const { return zeros(row) + groups(); }
  const float* scales(const void* row) const { return static_cast<const float*>(row); }
  const uint8_t* zeros(const void* row) const {
    return static_cast<const uint8_t*>(row) + groups() * 4;
  }
  const uint8_t* values(const void* row) const { return zeros(row) + groups(); }
};

/// The weights of a row, [in].
inline void dequantise(const Int4Row& layout, const void* row, float* out) {
  const uint8_t* const values = layout.values(row);
  for (int64_t g = 0; g < layout.groups(); ++g) {
    const float scale = layout.scales(row)[g];
    const int zero = layout.zeros(row)[g];
    const int64_t end = g + 1 < layout.groups() ? (g + 1) * layout.group_size : layout.in;
    for (int64_t k = g * layout.group_size; k < end; ++k) {
      const int q = (values[k / 2] >> (k % 2 * 4)) & 15;
      out[k] = static_cast<float>(q - zero) * scale;
    }
  }
}

}  // namespace qvl

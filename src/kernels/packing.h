#pragma once

/// The layout of packed weights of the Cpu backend: panels of 16 output columns, so that one vector
/// load gives 16 columns of one k. bf16 lies in pairs of k, [panel][in/2][16][2], which is also
/// what AVX512_BF16 and AMX take; f16 and f32 lie as [panel][in][16]. Columns beyond `out` and the
/// second half of an odd last pair are zero. Panels of a gate_up Linear alternate: 16 gates, then
/// their 16 ups. An int4 panel has its words first, [in/8][16], then scales, float32 [groups][16],
/// then zero points, uint8 [groups][16]; see PanelFormat.

#include "kernels/cpu_kernels.h"
#include "kernels/linear.h"

namespace qvl {

struct PanelLayout {
  PanelFormat format = PanelFormat::f32;
  int64_t element_bytes = 4;
  int64_t parts = 1;      ///< 2 for gate_up
  int64_t part_rows = 0;  ///< rows of W in a part
  int64_t panels = 0;
  int64_t panel_bytes = 0;

  int64_t scales_offset = 0;  ///< of int4, in a panel
  int64_t zeros_offset = 0;

  explicit PanelLayout(const LinearDesc& desc);

  /// The panel of row n of W; n's column in it is n % part_rows % 16.
  int64_t panel_of(int64_t n) const { return n % part_rows / kPanelCols * parts + n / part_rows; }
  /// Byte offset of element k of column 0 in a panel of floats.
  int64_t offset(int64_t k) const {
    return format == PanelFormat::bf16 ? (k / 2 * kPanelCols * 2 + k % 2) * 2
                                       : k * kPanelCols * element_bytes;
  }
  /// A row of 16 columns, and a column's place in it.
  int64_t row_bytes() const { return kPanelCols * column_bytes(); }
  int64_t column_bytes() const { return row_elements(format) > 1 ? 4 : element_bytes; }
};

}  // namespace qvl

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/int4_row.h"
#include "kernels/packing.h"

namespace qvl {
namespace {

PanelFormat panel_format(WeightFormat format) {
  switch (format) {
    case WeightFormat::f16:
      return PanelFormat::f16;
    case WeightFormat::bf16:
      return PanelFormat::bf16;
    case WeightFormat::int4:
      return PanelFormat::int4;
    case WeightFormat::f32:
      break;
  }
  return PanelFormat::f32;
}

/// Transposes up to 16 rows of `units` elements of T into a panel; T is a pair for bf16.
template <class T>
void transpose(const std::byte* rows, int64_t count, int64_t row_bytes, int64_t units,
               std::byte* panel) {
  for (int64_t u = 0; u < units; ++u) {
    std::byte* to = panel + u * kPanelCols * static_cast<int64_t>(sizeof(T));
    const std::byte* from = rows + u * static_cast<int64_t>(sizeof(T));
    for (int64_t c = 0; c < count; ++c)
      std::memcpy(to + c * sizeof(T), from + c * row_bytes, sizeof(T));
    std::memset(to + count * sizeof(T), 0, static_cast<size_t>(kPanelCols - count) * sizeof(T));
  }
}

/// Eight 4-bit values in order → the four even ones, then the four odd ones.
uint32_t even_then_odd(uint32_t word) {
  uint32_t swap = (word ^ word >> 4) & 0x00f000f0U;
  word ^= swap ^ swap << 4;
  swap = (word ^ word >> 8) & 0x0000ff00U;
  return word ^ swap ^ swap << 8;
}

void pack_int4_panel(const PanelLayout& layout, const LinearDesc& desc, const std::byte* rows,
                     int64_t count, std::byte* panel) {
  const Int4Row from{desc.in, desc.group_size};
  auto* const words = reinterpret_cast<uint32_t*>(panel);
  auto* const scales = reinterpret_cast<float*>(panel + layout.scales_offset);
  auto* const zeros = reinterpret_cast<uint8_t*>(panel + layout.zeros_offset);
  std::memset(panel, 0, static_cast<size_t>(layout.panel_bytes));
  for (int64_t c = 0; c < count; ++c) {
    const std::byte* const row = rows + c * from.bytes();
    for (int64_t u = 0; u < desc.in / 8; ++u) {
      uint32_t word = 0;
      std::memcpy(&word, from.values(row) + u * 4, 4);
      words[u * kPanelCols + c] = even_then_odd(word);
    }
    for (int64_t g = 0; g < from.groups(); ++g) {
      scales[g * kPanelCols + c] = from.scales(row)[g];
      zeros[g * kPanelCols + c] = from.zeros(row)[g];
    }
  }
}

void pack_panel(const PanelLayout& layout, const LinearDesc& desc, const std::byte* rows,
                int64_t count, std::byte* panel) {
  if (layout.format == PanelFormat::int4) return pack_int4_panel(layout, desc, rows, count, panel);
  const int64_t in = desc.in;
  const int64_t row_bytes = in * layout.element_bytes;
  if (layout.format == PanelFormat::f32)
    return transpose<uint32_t>(rows, count, row_bytes, in, panel);
  if (layout.format == PanelFormat::f16)
    return transpose<uint16_t>(rows, count, row_bytes, in, panel);
  transpose<uint32_t>(rows, count, row_bytes, in / 2, panel);
  if (in % 2 == 0) return;
  std::byte* last = panel + layout.offset(in - 1);
  std::memset(last, 0, kPanelCols * 4);
  for (int64_t c = 0; c < count; ++c) {
    std::memcpy(last + c * 4, rows + c * row_bytes + (in - 1) * 2, 2);
  }
}

template <class T>
void gather(const PanelLayout& layout, const std::byte* column, Vec<float> to) {
  for (int64_t k = 0; k < to.size; ++k) {
    T value;
    std::memcpy(&value, column + layout.offset(k), sizeof(value));
    to[k] = static_cast<float>(value);
  }
}

}  // namespace

PanelLayout::PanelLayout(const LinearDesc& desc)
    : format(panel_format(desc.weight)),
      element_bytes(desc.weight == WeightFormat::f32 ? 4 : 2),
      parts(desc.kind == LinearKind::gate_up ? 2 : 1),
      part_rows(desc.out / parts),
      panels((part_rows + kPanelCols - 1) / kPanelCols * parts) {
  require_equal(part_rows * parts, desc.out, "rows of a gate_up linear");
  const int64_t rows = (desc.in + row_elements(format) - 1) / row_elements(format);
  panel_bytes = rows * row_bytes();
  if (format == PanelFormat::int4) {
    const int64_t groups = Int4Row{desc.in, desc.group_size}.groups();
    scales_offset = panel_bytes;
    zeros_offset = scales_offset + groups * kPanelCols * 4;
    panel_bytes = Arena::padded(zeros_offset + groups * kPanelCols);
  }
}

/// Rows of eight k that a group border would cut, and pairs of k beyond the end, are not worth a
/// path of their own: no published checkpoint has them.
bool keeps_int4(const Cpu&, const LinearDesc& desc) {
  return desc.in % 8 == 0 && desc.group_size % 8 == 0;
}

int64_t packed_bytes(const Cpu&, const LinearDesc& desc) {
  const PanelLayout layout(desc);
  return Arena::padded(layout.panels * layout.panel_bytes);
}

Linear pack_linear(Cpu& cpu, const LinearDesc& desc, RowReader rows, const float* bias,
                   Arena& arena) {
  require(desc.weight != WeightFormat::int4 || keeps_int4(cpu, desc), "int4 that is not kept");
  const PanelLayout layout(desc);
  auto* data = arena.take<std::byte>(layout.panels * layout.panel_bytes);
  const int64_t row_bytes = desc.weight == WeightFormat::int4
                                ? Int4Row{desc.in, desc.group_size}.bytes()
                                : desc.in * layout.element_bytes;
  constexpr int64_t kRowsAtOnce = 8 * kPanelCols;
  for (int64_t part = 0; part < layout.parts; ++part) {
    for (int64_t n = 0; n < layout.part_rows; n += kRowsAtOnce) {
      const int64_t count = std::min(kRowsAtOnce, layout.part_rows - n);
      const int64_t first_row = part * layout.part_rows + n;
      const auto* from = static_cast<const std::byte*>(rows(first_row, count));
      const int64_t panels = (count + kPanelCols - 1) / kPanelCols;
      cpu.threads->parallel_for(panels, [&](int64_t first, int64_t last, int) {
        for (int64_t p = first; p < last; ++p) {
          const int64_t row = p * kPanelCols;
          pack_panel(layout, desc, from + row * row_bytes, std::min(kPanelCols, count - row),
                     data + layout.panel_of(first_row + row) * layout.panel_bytes);
        }
      });
    }
  }
  return {desc, data, bias};
}

void gather_rows(Cpu& cpu, Vec<const int32_t> ids, const Linear& w, Mat<float> x) {
  const PanelLayout layout(w.desc);
  require_equal(x.rows, ids.size, "gather_rows: rows");
  require_equal(x.cols, w.desc.in, "gather_rows: width of x");
  cpu.threads->parallel_for(ids.size, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      const std::byte* column = static_cast<const std::byte*>(w.data) +
                                layout.panel_of(ids[r]) * layout.panel_bytes +
                                ids[r] % layout.part_rows % kPanelCols * layout.column_bytes();
      const Vec<float> to{x.row(r), x.cols};
      switch (layout.format) {
        case PanelFormat::f32:
          gather<float>(layout, column, to);
          break;
        case PanelFormat::f16:
          gather<f16>(layout, column, to);
          break;
        case PanelFormat::bf16:
          gather<bf16>(layout, column, to);
          break;
        case PanelFormat::int4:
          require(false, "gather_rows: rows of 4 bits");
      }
    }
  });
}

}  // namespace qvl

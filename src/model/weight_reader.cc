#include "model/weight_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/check.h"

namespace qvl {
namespace {

std::optional<WeightFormat> float_format(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return WeightFormat::f32;
    case DType::f16:
      return WeightFormat::f16;
    case DType::bf16:
      return WeightFormat::bf16;
    default:
      return std::nullopt;
  }
}

/// NaN and infinity have all exponent bits set.
bool all_finite(const void* data, int64_t elements, DType dtype) {
  const auto is_finite = [&]<class Word>(Word mask) {
    const auto* const p = static_cast<const Word*>(data);
    Word bad = 0;  // as wide as what is looked at, for the compiler's vectors
    for (int64_t i = 0; i < elements; ++i) bad |= (p[i] & mask) == mask ? Word{1} : Word{0};
    return bad == 0;
  };
  if (dtype == DType::f32) return is_finite(uint32_t{0x7f800000});
  return is_finite(dtype == DType::bf16 ? uint16_t{0x7f80} : uint16_t{0x7c00});
}

template <class T>
void widen(const void* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(static_cast<const T*>(from)[i]);
}

/// A row of any float dtype or of i4 as float32.
void widen_row(const TensorInfo& tensor, const void* row, float* to) {
  switch (tensor.dtype) {
    case DType::i4:
      return dequantise({tensor.cols(), tensor.group_size}, row, to);
    case DType::f16:
      return widen<f16>(row, tensor.cols(), to);
    case DType::bf16:
      return widen<bf16>(row, tensor.cols(), to);
    default:
      return widen<float>(row, tensor.cols(), to);
  }
}

int64_t row_bytes(const TensorInfo& part, WeightFormat format) {
  if (format == WeightFormat::int4) return part.row_bytes();
  return part.cols() * (format == WeightFormat::f32 ? 4 : 2);
}

/// The part's rows are of this format already.
bool is_format(const TensorInfo& part, WeightFormat format) {
  return part.dtype == DType::i4 ? format == WeightFormat::int4
                                 : float_format(part.dtype) == format;
}

bool are_finite(const TensorInfo& part, const std::byte* rows, int64_t count) {
  if (part.dtype != DType::i4) return all_finite(rows, count * part.cols(), part.dtype);
  const Int4Row layout{part.cols(), part.group_size};
  bool finite = true;
  for (int64_t r = 0; r < count; ++r, rows += layout.bytes()) {
    finite &= all_finite(layout.scales(rows), layout.groups(), DType::f32);
  }
  return finite;
}

/// Rows of a tensor, one after the other, in `format`.
void convert_rows(const TensorInfo& part, const std::byte* rows, int64_t count, WeightFormat format,
                  std::byte* to) {
  const int64_t in = part.cols();
  if (is_format(part, format)) {
    std::memcpy(to, rows, static_cast<size_t>(count * part.row_bytes()));
    return;
  }
  if (format == WeightFormat::f32) {
    for (int64_t r = 0; r < count; ++r) {
      widen_row(part, rows + r * part.row_bytes(), reinterpret_cast<float*>(to) + r * in);
    }
    return;
  }
  require(format == WeightFormat::bf16, "weights are converted to float32 or bfloat16 only");
  std::vector<float> wide(static_cast<size_t>(in));
  for (int64_t r = 0; r < count; ++r) {
    widen_row(part, rows + r * part.row_bytes(), wide.data());
    auto* const out = reinterpret_cast<bf16*>(to) + r * in;
    for (int64_t k = 0; k < in; ++k) out[k] = bf16(wide[size_t(k)]);
  }
}

/// Only ever larger: what shrinks and grows again is cleared each time.
std::byte* room_in(std::vector<std::byte>& buffer, int64_t bytes) {
  if (static_cast<int64_t>(buffer.size()) < bytes) buffer.resize(static_cast<size_t>(bytes));
  return buffer.data();
}

}  // namespace

bool all_int4(const WeightParts& parts) {
  return std::all_of(parts.begin(), parts.end(), [&](const TensorInfo* part) {
    return part->dtype == DType::i4 && part->group_size == parts[0]->group_size;
  });
}

WeightFormat held_format(const WeightParts& parts, ActFormat activation, bool keeps_int4) {
  if (keeps_int4 && all_int4(parts)) return WeightFormat::int4;
  std::optional<WeightFormat> plain;  // of the parts that are not quantised
  bool agree = true;
  bool some_quantised = false;
  for (const TensorInfo* part : parts) {
    if (!part->quantised.empty()) {
      some_quantised = true;
      continue;
    }
    const auto format = float_format(part->dtype);
    agree &= !plain || plain == format;
    plain = format;
  }
  const WeightFormat active =
      activation == ActFormat::bf16 ? WeightFormat::bf16 : WeightFormat::f32;
  if (!agree) return WeightFormat::f32;
  if (!plain) return active;
  return some_quantised && *plain != active ? WeightFormat::f32 : *plain;
}

const void* WeightReader::rows(const WeightParts& parts, WeightFormat format, int64_t first,
                               int64_t count) {
  const int64_t bytes = row_bytes(*parts[0], format);
  int64_t done = 0;
  int64_t part_first = 0;
  for (const TensorInfo* part : parts) {
    const int64_t from = std::max(first + done, part_first);
    const int64_t to = std::min(first + count, part_first + part->rows());
    if (from < to) {
      const int64_t n = to - from;
      release_before(part, from - part_first);
      source_bytes_ += n * part->row_bytes();
      if (n == count && is_format(*part, format)) {
        return rows_as_they_are(*part, from - part_first, n);
      }
      std::byte* const joined = room_in(joined_, count * bytes);
      read_part(*part, format, from - part_first, n, joined + done * bytes);
      done += n;
    }
    part_first += part->rows();
  }
  require_equal(done, count, "rows of a packed tensor");
  return joined_.data();
}

const void* WeightReader::rows_as_they_are(const TensorInfo& part, int64_t first, int64_t count) {
  const int64_t bytes = part.row_bytes();
  std::byte* const scratch = room_in(scratch_, count * bytes);
  std::atomic<bool> in_scratch = false;
  in_pieces(part, first, count, [&](int64_t from, int64_t to) {
    std::byte* const room = scratch + from * bytes;
    const auto* const rows =
        static_cast<const std::byte*>(source_.rows(part, first + from, to - from, room));
    if (rows == room) in_scratch = true;
    return are_finite(part, rows, to - from);
  });
  return in_scratch ? scratch : source_.rows(part, first, count, scratch);
}

void WeightReader::read_part(const TensorInfo& part, WeightFormat format, int64_t first,
                             int64_t count, std::byte* to) {
  std::byte* const scratch = room_in(scratch_, count * part.row_bytes());
  const int64_t bytes = row_bytes(part, format);
  in_pieces(part, first, count, [&](int64_t from, int64_t end) {
    const auto* const rows = static_cast<const std::byte*>(
        source_.rows(part, first + from, end - from, scratch + from * part.row_bytes()));
    convert_rows(part, rows, end - from, format, to + from * bytes);
    return are_finite(part, rows, end - from);
  });
}

/// Calls is_finite(from, to) for pieces of rows [first, first + count), on several threads where
/// there is enough to do.
void WeightReader::in_pieces(const TensorInfo& part, int64_t first, int64_t count,
                             FunctionRef<bool(int64_t from, int64_t to)> is_finite) {
  constexpr int64_t kWorthThreads = 1 << 20;  // bytes
  std::atomic<bool> finite = true;
  const auto look = [&](int64_t from, int64_t to, int /*thread*/) {
    if (!is_finite(from, to)) finite = false;
  };
  if (threads_ != nullptr && count * part.row_bytes() >= kWorthThreads) {
    threads_->parallel_for(count, look);
  } else {
    look(0, count, 0);
  }
  if (finite || error_) return;
  error_ = Error{
      ErrorCode::bad_tensor,
      fmt::format("{} holds NaN or infinity in rows {} to {}", part.name, first, first + count - 1),
      ""};
}

/// Pages that were read count as the process's memory until they are given back: a few megabytes
/// at a time, all rows before `first` of this tensor and whatever is left of the one before it.
void WeightReader::release_before(const TensorInfo* tensor, int64_t first) {
  constexpr int64_t kBytesAtOnce = 8 << 20;
  if (reading_ == tensor && tensor != nullptr) {
    if ((first - released_) * tensor->row_bytes() < kBytesAtOnce) return;
    source_.release(*tensor, released_, first - released_);
    released_ = first;
  } else {
    if (reading_ != nullptr) source_.release(*reading_, released_, reading_->rows() - released_);
    reading_ = tensor;
    released_ = 0;
  }
  progress_(source_bytes_);
}

}  // namespace qvl

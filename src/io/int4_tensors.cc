#include "io/int4_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace qvl {
namespace {

/// What the three layouts have in common once their shapes are known.
struct Grouping {
  int64_t out = 0;
  int64_t in = 0;
  int64_t groups = 0;
  int64_t group_size = 0;
  int bits = 4;
  /// Group of each column, or empty: column / group_size.
  std::vector<int32_t> group_of;

  bool is_int4() const { return bits == 4 && group_of.empty(); }
};

std::string shape_text(const TensorInfo& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.shape, ", "));
}

Error bad_shape(const TensorInfo& tensor, const std::string& expected) {
  return {ErrorCode::bad_tensor,
          fmt::format("{} has shape {}, expected {}", tensor.name, shape_text(tensor), expected),
          ""};
}

bool is_matrix(const TensorInfo& tensor, int64_t rows, int64_t cols) {
  return tensor.shape.size() == 2 && tensor.shape[0] == rows && tensor.shape[1] == cols;
}

std::optional<Error> check_types(const GroupedParts& parts) {
  const auto expect = [](const TensorInfo& tensor, bool ok, const char* expected) {
    return ok ? std::nullopt
              : std::optional(Error{ErrorCode::bad_tensor,
                                    fmt::format("{} is {}, expected {}", tensor.name,
                                                dtype_name(tensor.dtype), expected),
                                    ""});
  };
  if (auto e = expect(*parts.values, parts.values->dtype == DType::i32, "I32")) return e;
  const DType scale = parts.scales->dtype;
  const bool is_float = scale == DType::f16 || scale == DType::bf16 || scale == DType::f32;
  if (auto e = expect(*parts.scales, is_float, "F16, BF16 or F32")) return e;
  for (const TensorInfo* t : {parts.zeros, parts.group_index}) {
    if (t == nullptr) continue;
    if (auto e = expect(*t, t->dtype == DType::i32, "I32")) return e;
  }
  if (parts.values->shape.size() != 2) return bad_shape(*parts.values, "a matrix");
  if (parts.scales->shape.size() != 2) return bad_shape(*parts.scales, "a matrix");
  if (parts.values->elements() == 0) return bad_shape(*parts.values, "one that is not empty");
  if (parts.scales->elements() == 0) return bad_shape(*parts.scales, "one that is not empty");
  return {};
}

/// Groups of equal size, the last one perhaps shorter, unless `index` says otherwise.
std::optional<Error> read_groups(const TensorSource& source, const GroupedParts& parts,
                                 Grouping& grouping) {
  grouping.group_size = (grouping.in + grouping.groups - 1) / grouping.groups;
  if (parts.group_index != nullptr) {
    const TensorInfo& index = *parts.group_index;
    if (index.shape != std::vector<int64_t>{grouping.in}) {
      return bad_shape(index, fmt::format("[{}]", grouping.in));
    }
    std::vector<int32_t> scratch(1);
    grouping.group_of.resize(static_cast<size_t>(grouping.in));
    bool in_order = true;
    for (int64_t k = 0; k < grouping.in; ++k) {
      const int32_t g = *static_cast<const int32_t*>(source.rows(index, k, 1, scratch.data()));
      if (g < 0 || g >= grouping.groups) {
        return Error{ErrorCode::bad_tensor,
                     fmt::format("{} places column {} in group {}, expected 0 to {}", index.name, k,
                                 g, grouping.groups - 1),
                     ""};
      }
      grouping.group_of[static_cast<size_t>(k)] = g;
      in_order &= g == k / grouping.group_size;
    }
    if (in_order) grouping.group_of.clear();
  }
  // 100 columns in 3 groups would be 34 + 34 + 32; no format has that.
  const bool fits = (grouping.groups - 1) * grouping.group_size < grouping.in;
  if (!fits) {
    return bad_shape(*parts.scales, fmt::format("at most {} groups", grouping.in));
  }
  return {};
}

TensorInfo tensor_info(const GroupedParts& parts, const Grouping& grouping) {
  TensorInfo info;
  info.name = parts.name;
  info.dtype = grouping.is_int4() ? DType::i4 : DType::f32;
  info.shape = {grouping.out, grouping.in};
  info.group_size = grouping.is_int4() ? grouping.group_size : 0;
  info.quantised = grouping.bits == 4 ? "INT4" : "INT8";
  return info;
}

/// Rows of W by three questions that each layout answers.
class GroupedTensor : public DerivedTensor {
 public:
  GroupedTensor(const TensorSource& source, const GroupedParts& parts, Grouping grouping)
      : DerivedTensor(tensor_info(parts, grouping), source,
                      {parts.values, parts.scales, parts.zeros, parts.group_index}),
        parts_(parts),
        grouping_(std::move(grouping)) {}

  void read(int64_t first, int64_t count, void* to) const override {
    const Grouping& g = grouping_;
    const auto cells = static_cast<size_t>(count * g.groups);
    std::vector<float> scales(cells);
    std::vector<uint8_t> zeros(cells);
    read_scales(first, count, scales.data());
    read_zeros(first, count, zeros.data());
    if (g.is_int4()) {
      const Int4Row layout{g.in, g.group_size};
      auto* const rows = static_cast<std::byte*>(to);
      for (int64_t r = 0; r < count; ++r) {
        void* const row = rows + r * layout.bytes();
        std::copy_n(scales.data() + r * g.groups, g.groups, layout.scales(row));
        std::copy_n(zeros.data() + r * g.groups, g.groups, layout.zeros(row));
      }
      return read_nibbles(first, count, layout.values(rows), layout.bytes());
    }
    std::vector<uint8_t> values(static_cast<size_t>(count * g.in));
    read_values(first, count, values.data());
    auto* const out = static_cast<float*>(to);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t k = 0; k < g.in; ++k) {
        const int64_t group = g.group_of.empty() ? k / g.group_size : g.group_of[size_t(k)];
        const int64_t cell = r * g.groups + group;
        const int centred = values[size_t(r * g.in + k)] - zeros[size_t(cell)];
        out[r * g.in + k] = static_cast<float>(centred) * scales[size_t(cell)];
      }
    }
  }

 protected:
  /// [count, groups] each.
  virtual void read_scales(int64_t first, int64_t count, float* to) const = 0;
  virtual void read_zeros(int64_t first, int64_t count, uint8_t* to) const = 0;
  /// q of each row, two to a byte; rows are `stride` bytes apart. Only of 4 bits.
  virtual void read_nibbles(int64_t first, int64_t count, uint8_t* to, int64_t stride) const = 0;
  /// q of each row, one to a byte, [count, in].
  virtual void read_values(int64_t first, int64_t count, uint8_t* to) const {
    read_nibbles(first, count, to, grouping_.in);  // into the first half of each row, then apart
    for (int64_t r = 0; r < count; ++r) {
      uint8_t* const row = to + r * grouping_.in;
      for (int64_t k = grouping_.in; k-- > 0;) row[k] = (row[k / 2] >> (k % 2 * 4)) & 15;
    }
  }

  const GroupedParts parts_;
  const Grouping grouping_;
};

/// Scales and zero points of AWQ and GPTQ: [groups, out], words along `out`.
class ColumnMajorTensor : public GroupedTensor {
 public:
  using GroupedTensor::GroupedTensor;

 protected:
  void read_scales(int64_t first, int64_t count, float* to) const override {
    Reader scales = reader(*parts_.scales);
    std::vector<float> row(static_cast<size_t>(count));
    for (int64_t g = 0; g < grouping_.groups; ++g) {
      scales.floats(g, first, count, row.data());
      for (int64_t r = 0; r < count; ++r) to[r * grouping_.groups + g] = row[size_t(r)];
    }
  }

  /// `field(j)`: which bits of a word, in units of a value, hold column j of it.
  template <class Field>
  void read_words(int64_t first, int64_t count, int offset, const Field& field, uint8_t* to) const {
    const int per_word = 32 / grouping_.bits;
    const uint32_t mask = (1U << grouping_.bits) - 1U;
    Reader zeros = reader(*parts_.zeros);
    for (int64_t g = 0; g < grouping_.groups; ++g) {
      const auto* const words = zeros.row<uint32_t>(g);
      for (int64_t r = 0; r < count; ++r) {
        const int64_t n = first + r;
        const uint32_t value =
            words[n / per_word] >> (field(static_cast<int>(n % per_word)) * grouping_.bits) & mask;
        to[r * grouping_.groups + g] = static_cast<uint8_t>(value + static_cast<uint32_t>(offset));
      }
    }
  }
};

class AwqTensor final : public ColumnMajorTensor {
 public:
  using ColumnMajorTensor::ColumnMajorTensor;

 protected:
  static constexpr std::array<int, 8> kField = {0, 4, 1, 5, 2, 6, 3, 7};

  void read_zeros(int64_t first, int64_t count, uint8_t* to) const override {
    read_words(
        first, count, 0, [](int j) { return kField[size_t(j)]; }, to);
  }

  void read_nibbles(int64_t first, int64_t count, uint8_t* to, int64_t stride) const override {
    Reader even = reader(*parts_.values);
    Reader odd = reader(*parts_.values);
    for (int64_t k = 0; k < grouping_.in; k += 2) {
      const auto* const low = even.row<uint32_t>(k);
      const auto* const high = odd.row<uint32_t>(k + 1);
      uint8_t* const column = to + k / 2;
      int64_t r = 0;
      while (r < count) {
        const int64_t n = first + r;
        if (n % 8 == 0 && r + 8 <= count) {
          unpack_word(low[n / 8], high[n / 8], column + r * stride, stride);
          r += 8;
          continue;
        }
        const int shift = kField[size_t(n % 8)] * 4;
        column[r * stride] =
            static_cast<uint8_t>((low[n / 8] >> shift & 15U) | (high[n / 8] >> shift & 15U) << 4);
        ++r;
      }
    }
  }

 private:
  /// The eight columns of two words, k in the low and k + 1 in the high half of a byte each.
  static void unpack_word(uint32_t low, uint32_t high, uint8_t* to, int64_t stride) {
    constexpr uint32_t kLowHalves = 0x0f0f0f0fU;
    const uint32_t even = (low & kLowHalves) | (high & kLowHalves) << 4;  // fields 0 2 4 6
    const uint32_t odd = (low >> 4 & kLowHalves) | (high & ~kLowHalves);  // fields 1 3 5 7
    to[0] = static_cast<uint8_t>(even);
    to[stride] = static_cast<uint8_t>(even >> 16);
    to[2 * stride] = static_cast<uint8_t>(odd);
    to[3 * stride] = static_cast<uint8_t>(odd >> 16);
    to[4 * stride] = static_cast<uint8_t>(even >> 8);
    to[5 * stride] = static_cast<uint8_t>(even >> 24);
    to[6 * stride] = static_cast<uint8_t>(odd >> 8);
    to[7 * stride] = static_cast<uint8_t>(odd >> 24);
  }
};

class GptqTensor final : public ColumnMajorTensor {
 public:
  GptqTensor(const TensorSource& source, const GroupedParts& parts, Grouping grouping,
             int zero_offset)
      : ColumnMajorTensor(source, parts, std::move(grouping)), zero_offset_(zero_offset) {}

 protected:
  void read_zeros(int64_t first, int64_t count, uint8_t* to) const override {
    read_words(
        first, count, zero_offset_, [](int j) { return j; }, to);
  }

  void read_nibbles(int64_t first, int64_t count, uint8_t* to, int64_t stride) const override {
    copy_words(first, count, to, stride);
  }
  void read_values(int64_t first, int64_t count, uint8_t* to) const override {
    if (grouping_.bits == 4) return GroupedTensor::read_values(first, count, to);
    copy_words(first, count, to, grouping_.in);
  }

 private:
  /// A word holds neighbours of one row, low bits first: the order of bytes in memory.
  void copy_words(int64_t first, int64_t count, uint8_t* to, int64_t stride) const {
    Reader values = reader(*parts_.values);
    for (int64_t w = 0; w < parts_.values->shape[0]; ++w) {
      const auto* const words = values.row<uint32_t>(w) + first;
      for (int64_t r = 0; r < count; ++r) std::memcpy(to + r * stride + w * 4, words + r, 4);
    }
  }

  const int zero_offset_;
};

class PackedTensor final : public GroupedTensor {
 public:
  using GroupedTensor::GroupedTensor;

 protected:
  void read_scales(int64_t first, int64_t count, float* to) const override {
    Reader scales = reader(*parts_.scales);
    for (int64_t r = 0; r < count; ++r) {
      scales.floats(first + r, 0, grouping_.groups, to + r * grouping_.groups);
    }
  }

  void read_zeros(int64_t first, int64_t count, uint8_t* to) const override {
    if (parts_.zeros == nullptr) {
      std::fill_n(to, count * grouping_.groups, static_cast<uint8_t>(1U << (grouping_.bits - 1)));
      return;
    }
    const int per_word = 32 / grouping_.bits;
    const uint32_t mask = (1U << grouping_.bits) - 1U;
    Reader zeros = reader(*parts_.zeros);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t n = first + r;
      const auto* const words = zeros.row<uint32_t>(n / per_word);
      for (int64_t g = 0; g < grouping_.groups; ++g) {
        to[r * grouping_.groups + g] =
            static_cast<uint8_t>(words[g] >> (n % per_word * grouping_.bits) & mask);
      }
    }
  }

  void read_nibbles(int64_t first, int64_t count, uint8_t* to, int64_t stride) const override {
    copy_rows(first, count, grouping_.in / 2, to, stride);
  }
  void read_values(int64_t first, int64_t count, uint8_t* to) const override {
    if (grouping_.bits == 4) return GroupedTensor::read_values(first, count, to);
    copy_rows(first, count, grouping_.in, to, grouping_.in);
  }

 private:
  /// The last word of a row may hold more values than the row has.
  void copy_rows(int64_t first, int64_t count, int64_t bytes, uint8_t* to, int64_t stride) const {
    Reader values = reader(*parts_.values);
    for (int64_t r = 0; r < count; ++r) {
      std::memcpy(to + r * stride, values.row<uint8_t>(first + r), static_cast<size_t>(bytes));
    }
  }
};

/// Shape checks that AWQ and GPTQ share; `grouping` has out, in and bits.
std::optional<Error> check_column_major(const TensorSource& source, const GroupedParts& parts,
                                        Grouping& grouping) {
  grouping.groups = parts.scales->shape[0];
  const int64_t per_word = 32 / grouping.bits;
  if (!is_matrix(*parts.scales, grouping.groups, grouping.out)) {
    return bad_shape(*parts.scales, fmt::format("[groups, {}]", grouping.out));
  }
  if (!is_matrix(*parts.zeros, grouping.groups, grouping.out / per_word)) {
    return bad_shape(*parts.zeros,
                     fmt::format("[{}, {}]", grouping.groups, grouping.out / per_word));
  }
  if (grouping.out % per_word != 0) {
    return bad_shape(*parts.scales, fmt::format("a multiple of {} columns", per_word));
  }
  return read_groups(source, parts, grouping);
}

}  // namespace

DerivedResult awq_tensor(const TensorSource& source, const GroupedParts& parts) {
  if (const auto e = check_types(parts)) return *e;
  Grouping grouping;
  grouping.in = parts.values->shape[0];
  grouping.out = parts.values->shape[1] * 8;
  if (grouping.in % 2 != 0) return bad_shape(*parts.values, "an even number of rows");
  if (const auto e = check_column_major(source, parts, grouping)) return *e;
  return std::unique_ptr<DerivedTensor>(
      std::make_unique<AwqTensor>(source, parts, std::move(grouping)));
}

DerivedResult gptq_tensor(const TensorSource& source, const GroupedParts& parts,
                          const QuantizationConfig& config) {
  if (const auto e = check_types(parts)) return *e;
  Grouping grouping;
  grouping.bits = config.bits == 8 ? 8 : 4;
  grouping.in = parts.values->shape[0] * (32 / grouping.bits);
  grouping.out = parts.values->shape[1];
  if (const auto e = check_column_major(source, parts, grouping)) return *e;
  return std::unique_ptr<DerivedTensor>(
      std::make_unique<GptqTensor>(source, parts, std::move(grouping), config.gptq_v2 ? 0 : 1));
}

DerivedResult packed_tensor(const TensorSource& source, const GroupedParts& parts, int bits) {
  if (const auto e = check_types(parts)) return *e;
  Grouping grouping;
  grouping.bits = bits;
  const int64_t per_word = 32 / bits;
  grouping.out = parts.values->shape[0];
  grouping.in = parts.values->shape[1] * per_word;
  grouping.groups = parts.scales->shape[1];
  if (parts.scales->shape[0] != grouping.out) {
    return bad_shape(*parts.scales, fmt::format("[{}, groups]", grouping.out));
  }
  const int64_t zero_rows = (grouping.out + per_word - 1) / per_word;
  if (parts.zeros != nullptr && !is_matrix(*parts.zeros, zero_rows, grouping.groups)) {
    return bad_shape(*parts.zeros, fmt::format("[{}, {}]", zero_rows, grouping.groups));
  }
  if (const auto e = read_groups(source, parts, grouping)) return *e;
  return std::unique_ptr<DerivedTensor>(
      std::make_unique<PackedTensor>(source, parts, std::move(grouping)));
}

}  // namespace qvl

#include "io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "io/json.h"

namespace qvl {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";
constexpr uint64_t kMaxInt64 = std::numeric_limits<int64_t>::max();

Error damaged(std::string detail) { return {ErrorCode::bad_checkpoint, std::move(detail), {}}; }

Error truncated(uint64_t found, uint64_t promised) {
  return damaged(fmt::format("the file has {} bytes, its header promises {}: the end is missing",
                             found, promised));
}

/// The JSON text between the length and the data.
Result<std::string_view> header_text(std::span<const std::byte> prefix, uint64_t file_bytes,
                                     const SafetensorsLimits& limits) {
  const uint64_t available = std::min<uint64_t>(prefix.size(), file_bytes);
  if (available < kLengthBytes) {
    return damaged(
        fmt::format("the file has {} bytes, expected at least {}", file_bytes, kLengthBytes + 2));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<uint64_t>(prefix[i]) << (8 * i);
  }
  if (length > limits.max_header_bytes) {
    return damaged(fmt::format("the header length is {}, expected at most {}", length,
                               limits.max_header_bytes));
  }
  if (length > file_bytes - kLengthBytes) return truncated(file_bytes, kLengthBytes + length);
  if (length > available - kLengthBytes) {
    return damaged(fmt::format("the header has {} bytes, only {} could be read", length,
                               available - kLengthBytes));
  }
  const auto text = prefix.subspan(kLengthBytes, length);
  if (text.empty() || text[0] != std::byte{'{'}) {
    return damaged("the header does not start with \"{\"");
  }
  return std::string_view(reinterpret_cast<const char*>(text.data()), text.size());
}

std::optional<DType> dtype_from_name(std::string_view name) {
  constexpr std::array kAll = {DType::f32, DType::f16, DType::bf16, DType::f8_e4m3, DType::i64,
                               DType::i32, DType::i16, DType::i8,   DType::u8,      DType::boolean};
  for (const DType dtype : kAll) {
    if (dtype_name(dtype) == name) return dtype;
  }
  return {};
}

const json* member(const json& object, std::string_view name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

std::string describe_member(const json* value) { return value ? describe(*value) : "nothing"; }

/// The list of natural numbers below 2^63, or nothing.
std::optional<std::vector<uint64_t>> naturals(const json* value) {
  if (value == nullptr || !value->is_array()) return {};
  std::vector<uint64_t> result;
  for (const json& item : *value) {
    const auto* number = item.get_ptr<const json::number_unsigned_t*>();
    if (number == nullptr || *number > kMaxInt64) return {};
    result.push_back(*number);
  }
  return result;
}

/// Bytes of a tensor; nothing if a product of its dimensions leaves 63 bits. A zero dimension does
/// not hide such a product: a later multiplication may meet it before the zero.
std::optional<uint64_t> checked_bytes(const std::vector<uint64_t>& shape, DType dtype) {
  auto bytes = static_cast<uint64_t>(dtype_bytes(dtype));
  bool is_empty = false;
  for (const uint64_t dim : shape) {
    is_empty |= dim == 0;
    if (dim != 0 && (__builtin_mul_overflow(bytes, dim, &bytes) || bytes > kMaxInt64)) return {};
  }
  return is_empty ? 0 : bytes;
}

/// One tensor of the header, its range still relative to the data.
Result<SafetensorsEntry> parse_entry(const std::string& name, const json& value,
                                     const SafetensorsLimits& limits) {
  const auto bad = [&](const std::string& detail) {
    return damaged(fmt::format("tensor {}: {}", in_quotes(name), detail));
  };
  if (!value.is_object()) return bad(fmt::format("found {}, expected an object", describe(value)));

  const json* const type = member(value, "dtype");
  const auto* type_name = type ? type->get_ptr<const json::string_t*>() : nullptr;
  if (type_name == nullptr) {
    return bad(fmt::format("dtype: found {}, expected a string", describe_member(type)));
  }
  const std::optional<DType> dtype = dtype_from_name(*type_name);
  if (!dtype) {
    return Error{ErrorCode::unsupported_model,
                 fmt::format("tensor {}: found the unknown dtype {}, expected one such as \"BF16\"",
                             in_quotes(name), in_quotes(*type_name)),
                 {}};
  }

  const json* const dims = member(value, "shape");
  const auto shape = naturals(dims);
  if (!shape) {
    return bad(fmt::format("shape: found {}, expected a list of whole numbers from 0 to 2^63 - 1",
                           describe_member(dims)));
  }
  if (shape->size() > limits.max_rank) {
    return bad(
        fmt::format("found {} dimensions, expected at most {}", shape->size(), limits.max_rank));
  }

  const json* const range = member(value, "data_offsets");
  const auto offsets = naturals(range);
  if (!offsets || offsets->size() != 2) {
    return bad(fmt::format(
        "data_offsets: found {}, expected a list of two whole numbers from 0 to 2^63 - 1",
        describe_member(range)));
  }
  const uint64_t begin = (*offsets)[0];
  const uint64_t end = (*offsets)[1];
  if (begin > end) {
    return bad(fmt::format("data_offsets: found the beginning {} after the end {}", begin, end));
  }
  const std::string shape_text = fmt::format("[{}]", fmt::join(*shape, ", "));
  const std::optional<uint64_t> bytes = checked_bytes(*shape, *dtype);
  if (!bytes) return bad(fmt::format("the shape {} is too large to be real", shape_text));
  if (*bytes != end - begin) {
    return bad(fmt::format("found {} bytes of data, expected {} for shape {} of {}", end - begin,
                           *bytes, shape_text, *type_name));
  }
  return SafetensorsEntry{{name, *dtype, {shape->begin(), shape->end()}}, begin, end};
}

Status check_metadata(const json& value) {
  const auto* members = value.get_ptr<const json::object_t*>();
  if (members == nullptr) {
    return damaged(fmt::format("__metadata__: found {}, expected an object", describe(value)));
  }
  for (const auto& [name, text] : *members) {
    if (!text.is_string()) {
      return damaged(fmt::format("__metadata__: {} is {}, expected a string", in_quotes(name),
                                 describe(text)));
    }
  }
  return {};
}

/// The sorted ranges must cover the data of the file exactly.
Status check_layout(const std::vector<SafetensorsEntry>& entries, uint64_t data_start,
                    uint64_t file_bytes) {
  uint64_t end = 0;
  const SafetensorsEntry* previous = nullptr;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != end) {
      const std::string after = previous
                                    ? fmt::format("tensor {} ends", in_quotes(previous->info.name))
                                    : "the data begins";
      return damaged(fmt::format("tensor {} begins at byte {} of the data, expected {}, where {}",
                                 in_quotes(entry.info.name), entry.begin, end, after));
    }
    end = entry.end;
    previous = &entry;
  }
  const uint64_t data_bytes = file_bytes - data_start;
  if (end > data_bytes) return truncated(file_bytes, data_start + end);
  if (end < data_bytes) {
    return damaged(fmt::format("the file has {} bytes, its header accounts for {}", file_bytes,
                               data_start + end));
  }
  return {};
}

}  // namespace

Result<std::vector<SafetensorsEntry>> parse_safetensors_header(std::span<const std::byte> prefix,
                                                               uint64_t file_bytes,
                                                               const SafetensorsLimits& limits) {
  const Result<std::string_view> text = header_text(prefix, file_bytes, limits);
  if (!text) return text.error();
  const uint64_t data_start = kLengthBytes + text->size();

  // A tensor is an object, a dtype, two lists, two offsets and its dimensions; as much again is
  // left for the metadata.
  constexpr size_t kValuesPerTensor = 6;
  const JsonLimits json_limits{
      .max_bytes = text->size(),
      .max_values = 1000 + limits.max_tensors * 2 * (kValuesPerTensor + limits.max_rank)};
  const Result<json> header = parse_json(*text, json_limits);
  if (!header) return damaged(fmt::format("the header: {}", header.error().detail));
  const auto* members = header->get_ptr<const json::object_t*>();
  if (members == nullptr) return damaged("the header is not an object");
  const size_t tensors = members->size() - header->count(kMetadata);
  if (tensors > limits.max_tensors) {
    return damaged(fmt::format("the header names {} tensors, expected at most {}", tensors,
                               limits.max_tensors));
  }

  std::vector<SafetensorsEntry> entries;
  entries.reserve(tensors);
  for (const auto& [name, value] : *members) {
    if (name == kMetadata) {
      if (const Status status = check_metadata(value); !status) return status.error();
      continue;
    }
    Result<SafetensorsEntry> entry = parse_entry(name, value, limits);
    if (!entry) return entry.error();
    entries.push_back(*std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  if (const Status status = check_layout(entries, data_start, file_bytes); !status) {
    return status.error();
  }
  for (SafetensorsEntry& entry : entries) {
    entry.begin += data_start;
    entry.end += data_start;
  }
  return entries;
}

}  // namespace qvl

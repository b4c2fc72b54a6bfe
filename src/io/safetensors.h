#pragma once

/// The safetensors header: names, types, shapes and byte ranges, each checked against the file
/// before anything is allocated for them. Format: 8 bytes little-endian header length, JSON header,
/// data.

#include <span>

#include "io/tensor_source.h"

namespace qvl {

struct SafetensorsEntry {
  TensorInfo info;
  uint64_t begin = 0;  ///< byte offsets in the file
  uint64_t end = 0;
};

struct SafetensorsLimits {
  uint64_t max_header_bytes = 100'000'000;  ///< as the reference library
  size_t max_tensors = 200'000;
  size_t max_rank = 8;
};

/// `prefix` holds at least the first bytes of the file up to the end of the header, `file_bytes` is
/// the true size of the file. Entries come sorted by offset; ranges are inside the file, disjoint,
/// without gaps, and as long as shape × dtype says.
Result<std::vector<SafetensorsEntry>> parse_safetensors_header(
    std::span<const std::byte> prefix, uint64_t file_bytes, const SafetensorsLimits& limits = {});

}  // namespace qvl

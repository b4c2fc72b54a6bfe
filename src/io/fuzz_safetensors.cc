/// Foreign headers: what is accepted must lie inside the file and have the size it says. An even
/// first byte means that the rest is a file; after an odd one come the size of the data and the
/// header's text, whose length is then right, so that mutations get past it.

#include <string>

#include "core/check.h"
#include "io/checkpoint.h"
#include "io/safetensors.h"

namespace {

void check(std::string_view prefix, uint64_t file_bytes) {
  const qvl::SafetensorsLimits limits = {.max_header_bytes = 1 << 16, .max_tensors = 1000};
  const auto entries =
      qvl::parse_safetensors_header(std::as_bytes(std::span(prefix)), file_bytes, limits);
  if (!entries) {
    qvl::require(!entries.error().message().empty(), "an error without a message");
    return;
  }
  if (entries->empty()) return;
  uint64_t end = entries->front().begin;
  for (const qvl::SafetensorsEntry& entry : *entries) {
    qvl::require(entry.begin == end && entry.end >= entry.begin, "ranges not in a row");
    const int64_t elements = entry.info.elements();
    qvl::require(
        static_cast<uint64_t>(elements * dtype_bytes(entry.info.dtype)) == entry.end - entry.begin,
        "a range of another size");
    qvl::require(entry.info.rows() == 0 || entry.info.rows() * entry.info.cols() == elements,
                 "not a matrix");
    const std::string name = qvl::canonical_tensor_name(entry.info.name);
    qvl::require(name.size() <= entry.info.name.size() + 32, "a name that grows");
    end = entry.end;
  }
  qvl::require(end == file_bytes, "data that no tensor accounts for");
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (size < 2) return 0;
  if (data[0] % 2 == 0) {
    check(input.substr(1), size - 1);
    return 0;
  }
  const std::string_view header = input.substr(2);
  std::string prefix(8, '\0');
  for (size_t i = 0; i < prefix.size(); ++i) {
    prefix[i] = static_cast<char>(uint64_t{header.size()} >> (8 * i));
  }
  prefix += header;
  check(prefix, prefix.size() + data[1]);
  return 0;
}

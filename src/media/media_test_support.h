#pragma once

/// What several tests of this folder share: the samples under tests/ and the checksum they name.

#include <cstdint>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace qvl::test {

inline std::string source_path(const std::string& path) {
  return std::string(QVL_SOURCE_DIR) + "/" + path;
}

inline std::vector<uint8_t> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Discarded (an error value) when the file is missing.
inline nlohmann::json read_json(const std::string& path) {
  return nlohmann::json::parse(read_bytes(path), nullptr, /*allow_exceptions=*/false);
}

/// The one of zlib, PNG and Python's zlib.crc32.
inline uint32_t crc32(std::span<const uint8_t> bytes) {
  uint32_t crc = 0xffffffff;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
  }
  return ~crc;
}

}  // namespace qvl::test

#pragma once

/// What one connection may ask of the server before anybody has looked at what it wants.

#include <cstddef>
#include <cstdint>

namespace qvl {

struct HttpLimits {
  size_t request_line_bytes = 8 << 10;  ///< longer: 431
  size_t header_bytes = 8 << 10;        ///< one header line; longer: 431
  size_t head_bytes = 32 << 10;         ///< all header lines and their line ends; longer: 431
  size_t headers = 64;                  ///< more: 431
  uint64_t body_bytes = 64 << 20;       ///< larger: 413, before it is read if the head says so
  size_t chunks = 65'536;               ///< of one chunked body; more: 400
};

}  // namespace qvl

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "qvl/result.h"

namespace qvl {

/// Bytes that a well-formed base64 text stands for; looks only at its length and its end.
size_t base64_decoded_size(std::string_view text);

/// RFC 4648, section 4, strictly: the standard alphabet, padded, no white space, unused bits zero.
/// Error bad_request names the first character that is wrong, and its offset.
Result<std::vector<uint8_t>> decode_base64(std::string_view text);

}  // namespace qvl

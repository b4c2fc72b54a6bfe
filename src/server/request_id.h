#pragma once

#include <string>
#include <string_view>

namespace qvl {

/// 1 to 128 visible ASCII characters: an id of the caller's that may be echoed and logged.
bool is_request_id(std::string_view text);
/// 128 random bits as hexadecimal digits.
std::string make_request_id();

}  // namespace qvl

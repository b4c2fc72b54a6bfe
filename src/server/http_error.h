#pragma once

/// An answer that says no. Its text is written here or by a handler; nothing of the request is
/// quoted that could not also be printed, and no text of an exception or a path gets here.

#include <string>
#include <string_view>

namespace qvl {

struct HttpError {
  int status = 500;
  std::string message;     ///< found, expected, what to do
  std::string param = {};  ///< the header or field it is about; empty: none
  int retry_after_s = 0;   ///< as the Retry-After header; 0: none
};

/// "Not Found" for 404; "Error" for a status that is not known here.
std::string_view reason_phrase(int status);

/// {"error":{"message","type","param","code"}} as vLLM writes it: code is the status as a number.
std::string error_json(const HttpError& error);

}  // namespace qvl

#include "server/http_error.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace qvl {
namespace {

struct StatusRow {
  int status;
  std::string_view reason;
  std::string_view type;  ///< of the error object
};

constexpr std::array kStatuses = {
    StatusRow{100, "Continue", ""},
    StatusRow{200, "OK", ""},
    StatusRow{202, "Accepted", ""},
    StatusRow{204, "No Content", ""},
    StatusRow{304, "Not Modified", ""},
    StatusRow{400, "Bad Request", "BadRequestError"},
    StatusRow{401, "Unauthorized", "AuthenticationError"},
    StatusRow{403, "Forbidden", "PermissionDeniedError"},
    StatusRow{404, "Not Found", "NotFoundError"},
    StatusRow{405, "Method Not Allowed", "MethodNotAllowedError"},
    StatusRow{408, "Request Timeout", "RequestTimeoutError"},
    StatusRow{409, "Conflict", "ConflictError"},
    StatusRow{413, "Content Too Large", "ContentTooLargeError"},
    StatusRow{415, "Unsupported Media Type", "UnsupportedMediaTypeError"},
    StatusRow{417, "Expectation Failed", "ExpectationFailedError"},
    StatusRow{422, "Unprocessable Content", "UnprocessableEntityError"},
    StatusRow{429, "Too Many Requests", "RateLimitError"},
    StatusRow{431, "Request Header Fields Too Large", "HeaderFieldsTooLargeError"},
    StatusRow{500, "Internal Server Error", "InternalServerError"},
    StatusRow{501, "Not Implemented", "NotImplementedError"},
    StatusRow{503, "Service Unavailable", "ServiceUnavailableError"},
    StatusRow{505, "HTTP Version Not Supported", "HttpVersionError"},
};

const StatusRow* find_status(int status) {
  const auto* const row = std::ranges::find(kStatuses, status, &StatusRow::status);
  return row == kStatuses.end() ? nullptr : row;
}

}  // namespace

std::string_view reason_phrase(int status) {
  const StatusRow* row = find_status(status);
  return row ? row->reason : "Error";
}

std::string error_json(const HttpError& error) {
  const StatusRow* row = find_status(error.status);
  const nlohmann::ordered_json param =
      error.param.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(error.param);
  const nlohmann::ordered_json body = {{"error",
                                        {{"message", error.message},
                                         {"type", row && !row->type.empty() ? row->type : "Error"},
                                         {"param", param},
                                         {"code", error.status}}}};
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace qvl

#include "openai/api_error.h"

#include <array>

#include "core/check.h"

namespace qvl {
namespace {

struct StatusRow {
  ErrorCode code;
  int status;
};

constexpr std::array kStatus = {
    StatusRow{ErrorCode::file_not_found, 500},
    StatusRow{ErrorCode::file_unreadable, 500},
    StatusRow{ErrorCode::file_too_large, 500},
    StatusRow{ErrorCode::bad_json, 400},
    StatusRow{ErrorCode::bad_config, 500},
    StatusRow{ErrorCode::unsupported_model, 500},
    StatusRow{ErrorCode::bad_checkpoint, 500},
    StatusRow{ErrorCode::missing_tensor, 500},
    StatusRow{ErrorCode::bad_tensor, 500},
    StatusRow{ErrorCode::bad_tokenizer, 500},
    StatusRow{ErrorCode::bad_template, 400},  // a conversation can make a template fail
    StatusRow{ErrorCode::template_limit, 400},
    StatusRow{ErrorCode::bad_messages, 400},
    StatusRow{ErrorCode::bad_image, 400},
    StatusRow{ErrorCode::image_too_large, 413},
    StatusRow{ErrorCode::unsupported_image, 400},
    StatusRow{ErrorCode::bad_video, 400},
    StatusRow{ErrorCode::bad_sampling, 400},
    StatusRow{ErrorCode::prompt_empty, 400},
    StatusRow{ErrorCode::prompt_too_long, 400},
    StatusRow{ErrorCode::queue_full, 429},
    StatusRow{ErrorCode::no_finite_logits, 500},
    StatusRow{ErrorCode::does_not_fit, 500},
    StatusRow{ErrorCode::bad_reference, 500},
    StatusRow{ErrorCode::unsupported_cpu, 500},
    StatusRow{ErrorCode::bad_flag, 500},
    StatusRow{ErrorCode::write_failed, 500},
    StatusRow{ErrorCode::bad_image_options, 400},
    StatusRow{ErrorCode::model_not_found, 500},
    StatusRow{ErrorCode::model_incomplete, 500},
    StatusRow{ErrorCode::bad_text, 400},
    StatusRow{ErrorCode::remote_input, 400},
    StatusRow{ErrorCode::bad_command, 500},
    StatusRow{ErrorCode::context_full, 400},
    StatusRow{ErrorCode::engine_failed, 503},
    StatusRow{ErrorCode::engine_draining, 503},
    StatusRow{ErrorCode::bad_request, 400},
    StatusRow{ErrorCode::unsupported_field, 400},
    StatusRow{ErrorCode::unknown_model, 404},
    StatusRow{ErrorCode::request_too_large, 413},
    StatusRow{ErrorCode::listen_failed, 500},
    StatusRow{ErrorCode::open_without_key, 500},
    StatusRow{ErrorCode::bad_settings, 500},
    StatusRow{ErrorCode::no_gpu, 500},
};

constexpr bool table_is_in_enum_order() {
  for (size_t i = 0; i < kStatus.size(); ++i) {
    if (static_cast<size_t>(kStatus[i].code) != i) return false;
  }
  return true;
}
static_assert(table_is_in_enum_order());

std::string_view error_type(int status) {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 404:
      return "NotFoundError";
    case 413:
      return "RequestTooLargeError";
    case 429:
      return "RateLimitError";
    case 503:
      return "ServiceUnavailableError";
    default:
      return "InternalServerError";
  }
}

}  // namespace

int http_status(ErrorCode code) {
  const auto index = static_cast<size_t>(code);
  require(index < kStatus.size(), "error code without a status");
  return kStatus[index].status;
}

nlohmann::ordered_json error_json(const Error& error) {
  const int status = http_status(error.code);
  const bool is_ours = status == 500;
  nlohmann::ordered_json body;
  body["message"] = is_ours ? std::string(error_info(error.code).text) : error.message();
  body["type"] = error_type(status);
  body["param"] = nullptr;
  if (!is_ours && !error.field.empty()) body["param"] = error.field;
  body["code"] = status;
  return {{"error", std::move(body)}};
}

}  // namespace qvl

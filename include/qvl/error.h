#pragma once

/// What can go wrong in ways a user can act on. Every such error is one row of the table in
/// src/core/error.cc: a stable name, a fixed sentence and what to do. The place where it is found
/// adds the detail: what was found and what was expected.

#include <string>
#include <string_view>

namespace qvl {

enum class ErrorCode {
  file_not_found,
  file_unreadable,
  file_too_large,
  bad_json,
  bad_config,
  unsupported_model,
  bad_checkpoint,
  missing_tensor,
  bad_tensor,
  bad_tokenizer,
  bad_template,
  template_limit,
  bad_messages,
  bad_image,
  image_too_large,
  unsupported_image,
  bad_video,
  bad_sampling,
  prompt_empty,
  prompt_too_long,
  queue_full,
  no_finite_logits,
  does_not_fit,
  bad_reference,
  unsupported_cpu,
  bad_flag,
  write_failed,
  bad_image_options,
  model_not_found,
  model_incomplete,
  bad_text,
  remote_input,
  bad_command,
  context_full,
  engine_failed,
  engine_draining,
  bad_request,
  unsupported_field,
  unknown_model,
  request_too_large,
  listen_failed,
  open_without_key,
  bad_settings,
  no_gpu,
};

struct ErrorInfo {
  ErrorCode code;
  std::string_view name;    ///< stable, for machines: "image_too_large"
  std::string_view text;    ///< fixed, for people: "the picture is too large"
  std::string_view advice;  ///< what to do about it
};

/// The table row of `code`.
const ErrorInfo& error_info(ErrorCode code);

struct Error {
  ErrorCode code;
  std::string detail;  ///< what was found and what was expected, without a full stop
  std::string field;   ///< file, flag or request field it is about; may be empty

  /// One line: "<field>: <text>: <detail>; <advice>". Control characters of the detail are escaped.
  std::string message() const;
};

}  // namespace qvl

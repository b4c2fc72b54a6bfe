#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "openai/batch_line.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  qvl::BatchLine line;
  const qvl::Status status = qvl::parse_batch_line(text, {}, line);
  if (status && (line.custom_id.empty() || !line.body.is_object())) std::abort();
  // What is written about any line is read back.
  const std::string written = status ? qvl::batch_response_line(line.custom_id, 200, "{}")
                                     : qvl::batch_error_line(line.custom_id, status.error(), 1);
  const auto record = qvl::parse_batch_record(written);
  if (!record || (record->bad_line == 0) != static_cast<bool>(status)) std::abort();
  static_cast<void>(qvl::parse_batch_record(text));
  return 0;
}

/// Foreign preprocessor and generation configs: the first byte chooses the parser.

#include "core/check.h"
#include "io/processor_config.h"

namespace {

void check(const qvl::Result<qvl::ProcessorConfig>& config) {
  if (!config) {
    qvl::require(!config.error().message().empty(), "an error without a message");
    return;
  }
  qvl::require(config->min_pixels >= 1 && config->min_pixels <= config->max_pixels,
               "pixel limits out of order");
  qvl::require(config->patch_size >= 1 && config->merge_size == 2, "sizes out of range");
  for (const float std : config->image_std) qvl::require(std > 0, "a division by zero");
  qvl::require(config->fps > 0 && config->min_frames <= config->max_frames, "frames out of order");
}

void check(const qvl::Result<qvl::GenerationConfig>& config) {
  if (!config) return;
  for (const int32_t id : config->eos_token_ids) qvl::require(id >= 0, "a negative token id");
  qvl::require(config->temperature.value_or(0) >= 0 && config->top_p.value_or(0) <= 1 &&
                   config->min_p.value_or(0) <= 1 && config->top_k.value_or(0) >= 0 &&
                   config->max_new_tokens.value_or(1) >= 1,
               "sampling out of range");
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      check(qvl::parse_image_processor(text));
      break;
    case 1:
      check(qvl::parse_video_processor(text));
      break;
    default:
      check(qvl::parse_generation_config(text));
      break;
  }
  return 0;
}

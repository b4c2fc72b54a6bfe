#pragma once

/// Values of serve flags that are more than a number or a word.

#include <nlohmann/json.hpp>
#include <string>

#include "cli/serve_flags.h"

namespace qvl {

/// JSON of at most 32 levels, and an object of them; bad_flag without a field.
Result<nlohmann::ordered_json> parse_flag_json(const std::string& text);
Result<nlohmann::ordered_json> parse_flag_object(const std::string& text);

/// {"image": 4, "video": {"count": 1}} or image=4,video=1; other kinds of media are passed over.
Status set_media_limits(ServeFlags& flags, const std::string& text);
/// {"temperature": 0.6, "max_new_tokens": 512}
Status set_generation_overrides(ServeFlags& flags, const std::string& text);
/// GiB, as a number.
Status set_feature_cache(ServeFlags& flags, const std::string& text);
Status set_quantization(ServeFlags& flags, const std::string& text);
Status set_template_kwargs(ServeFlags& flags, const std::string& text);

/// vLLM's words in those of --dtype, --load-format and --max-model-len.
Result<std::string> translate_dtype(const std::string& text);
Result<std::string> translate_load_format(const std::string& text);
Result<std::string> translate_max_model_len(const std::string& text);

}  // namespace qvl

#pragma once

/// A file of settings as `vllm serve --config` reads it: one flag a line, by its name without the
/// dashes in front.
///
///   model: Qwen/Qwen3-VL-2B-Instruct
///   max-model-len: 32k
///   served_model_name: [small, default]
///   limit-mm-per-prompt: {image: 4}

#include <string>
#include <string_view>
#include <vector>

#include "qvl/result.h"

namespace qvl {

struct YamlSetting {
  std::string name;  ///< as written
  /// One text per element of a list, otherwise one. Inside lists and maps, a list or a map is
  /// written as JSON. Numbers and truth values stay as they are written.
  std::vector<std::string> values;
  int line = 0;  ///< of the name, from 1
};

/// In the order of the file; a setting without a value counts as absent. At most 64 KiB, 10,000
/// values, 16 levels. Errors: bad_settings with "<file>:<line>" as its field, for what is no YAML,
/// names that come twice, anchors, aliases and a second document; bad_text; file_too_large.
Result<std::vector<YamlSetting>> parse_yaml_settings(std::string_view text,
                                                     const std::string& file);

}  // namespace qvl

#pragma once

/// What stands behind `qvl serve`, `vllm serve` or `python -m vllm.entrypoints.openai.api_server`,
/// spelled as vLLM allows it, in one spelling.

#include <string>
#include <vector>

#include "qvl/result.h"

namespace qvl {

struct ServeArguments {
  /// For the options of add_serve_flags(): each value as `--flag value`, each switch as
  /// `--flag=true` or `--flag=false`; the model as --model. --help stays, alone.
  std::vector<std::string> arguments;
  /// One line each: flags that are not known, and those that have no effect, with the reason.
  std::vector<std::string> warnings;
};

/// Reads the file that --config names, and QVL_<FLAG>. The command line goes before the file, the
/// file before the environment; lists are replaced, not joined.
///
/// --flag=value, --flag value, --a_b for --a-b, --no-flag, lists as `--flag a b`, --flag a --flag b
/// or JSON, parts of JSON as --flag.a.b value. One word that is no flag and no value is the model.
/// A word behind an unknown flag is its value, unless it is the only one that can be the model.
///
/// Errors: bad_flag for values that cannot be read, flags that are refused, no model or two, and
/// for unknown flags with --strict-args; and those of parse_yaml_settings() and read_file().
Result<ServeArguments> serve_arguments(const std::vector<std::string>& arguments);

}  // namespace qvl

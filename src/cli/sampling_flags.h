#pragma once

/// Flags of everything that generates text: declared once, read from the environment as QVL_<FLAG>
/// too, and merged over what the checkpoint's generation_config.json asks for.

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/processor_config.h"
#include "qvl/sampling.h"
#include "text/tokenizer.h"

namespace qvl {

/// Empty: as the checkpoint says.
struct SamplingFlags {
  std::optional<float> temperature;
  std::optional<int> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<int64_t> max_tokens;
  std::vector<std::string> logit_bias;  ///< "ID=BIAS"
  uint64_t seed = 0;
  int64_t min_tokens = 0;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool include_stop_str_in_output = false;
  bool ignore_eos = false;
  std::string repetition_guard = "auto";
};

void add_sampling_flags(CLI::App& app, SamplingFlags& flags);

struct ChosenSampling {
  SamplingParams params;
  /// Every value with where it came from: "temperature 0.7 (checkpoint), top_k 5 (flag), …".
  std::string origins;
};

/// A flag goes before the checkpoint (model/sampling_defaults.h), the checkpoint before the
/// built-in default. Error bad_flag for a flag that cannot be read, bad_sampling for a number out
/// of range.
Result<ChosenSampling> choose_sampling(const SamplingFlags& flags,
                                       const GenerationConfig& checkpoint,
                                       const Tokenizer& tokenizer);

}  // namespace qvl

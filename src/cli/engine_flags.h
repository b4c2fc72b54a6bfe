#pragma once

/// Flags that every command which loads a model shares: declared once, read from the environment as
/// QVL_<FLAG> too.

#include <CLI/CLI.hpp>
#include <string>

#include "model/processor.h"
#include "qvl/engine.h"

namespace qvl {

struct EngineFlags {
  std::string model;
  std::string load_format = "auto";
  std::string backend = "cpu";
  std::string isa = "auto";
  std::string dtype = "auto";
  std::string memory;
  std::string max_model_len;
  std::string max_pixels;
  std::string min_pixels;
  std::string video_wrapper = "replaced";
  std::string chat_template;
  int threads = 0;
  bool enable_prefix_caching = true;
};

/// --max-model-len → QVL_MAX_MODEL_LEN
std::string environment_name(const std::string& flag);

void add_engine_flags(CLI::App& app, EngineFlags& flags);

/// The flags as structs, or bad_flag naming the flag.
Result<EngineConfig> engine_config(const EngineFlags& flags);
Result<ProcessorOptions> processor_options(const EngineFlags& flags);

/// "12GiB", "500MB", "4096" → bytes; "32k" → 32768 for token counts and pixel counts (`k` and `M`
/// are 1024-based).
Result<int64_t> parse_size(const std::string& text, const std::string& flag);

}  // namespace qvl

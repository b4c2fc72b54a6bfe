#pragma once

/// Flags that every command which loads a model shares.

#include <CLI/CLI.hpp>
#include <string>

#include "cli/environment.h"
#include "model/processor.h"
#include "qvl/engine.h"

namespace qvl {

struct EngineFlags {
  std::string model;
  std::string load_format = "auto";
  std::string backend = "auto";
  std::string isa = "auto";
  std::string dtype = "auto";
  std::string memory;
  std::string max_model_len;
  std::string max_image_size;
  std::string max_pixels;
  std::string min_pixels;
  std::string video_wrapper = "replaced";
  std::string chat_template;
  std::string speculative_config;
  int threads = 0;
  bool cpu_only = false;
  bool enforce_eager = false;
  bool enable_prefix_caching = true;
};

void add_engine_flags(CLI::App& app, EngineFlags& flags);

/// The flags as structs, or bad_flag naming the flag.
Result<EngineConfig> engine_config(const EngineFlags& flags);
Result<ProcessorOptions> processor_options(const EngineFlags& flags);

/// vLLM's JSON, such as {"method": "ngram", "num_speculative_tokens": 5}; "ngram" alone stands for
/// that one.
Result<NgramSpeculation> parse_speculation(const std::string& text);

/// Bytes: "12GiB" or "12g" is 12 × 1024³, "12GB" 12 × 10⁹, whatever the case.
Result<int64_t> parse_size(const std::string& text, const std::string& flag);

/// Tokens or pixels, as vLLM reads them: "32k" is 32,000, "32K" 32,768; so with m/M and g/G.
Result<int64_t> parse_count(const std::string& text, const std::string& flag);

}  // namespace qvl

#pragma once

/// The flags of `qvl serve`: vLLM's by their names, and a few of our own. serve_flag_table.cc has
/// them all; serve_arguments.h turns what a user wrote into what the options declared here read.
///
///   CLI::App& serve = *app.add_subcommand("serve", "…");
///   add_serve_flags(serve, flags);
///   ...
///   Result<ServeArguments> plain = serve_arguments({argv + 2, argv + argc});
///   if (!plain) return fail(plain.error());
///   app.parse("serve" + plain->arguments);   // a command line that CLI11 reads
///   const Result<EngineConfig> config = engine_config(flags.engine);

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/engine_flags.h"
#include "cli/sampling_flags.h"
#include "io/quantization_config.h"
#include "qvl/result.h"

namespace qvl {

struct ServeFlags {
  EngineFlags engine;      ///< includes the model and the limits of its pictures
  SamplingFlags sampling;  ///< what requests get that do not say: --override-generation-config

  // The model and its answers
  std::vector<std::string> served_model_names;  ///< empty: the model as it was named
  std::string quantization;  ///< what the checkpoint must have: awq, gptq, …; empty: anything
  std::string generation_config = "auto";    ///< auto: the checkpoint's; vllm: none
  std::string default_chat_template_kwargs;  ///< JSON object; empty: none
  int64_t seed = 0;                          ///< of requests that name none
  int64_t max_logprobs = 20;
  bool enable_force_include_usage = false;
  bool return_tokens_as_token_ids = false;
  bool strict_params = false;  ///< unknown fields of a request are an error
  bool strict_args = false;    ///< unknown flags are an error

  // Memory and batches; 0: as the engine chooses
  double gpu_memory_utilization = 0;  ///< see memory_cap()
  int64_t kv_cache_memory_bytes = 0;
  int64_t max_num_seqs = 0;
  int64_t max_num_batched_tokens = 0;
  std::string scheduling_policy = "fcfs";  ///< or priority
  double vision_slice_ms = 0;

  // Pictures and videos
  std::optional<int64_t> max_images_per_prompt;
  int64_t feature_cache_bytes = 0;  ///< --mm-processor-cache-gb

  // Queue; 0: as the engine chooses
  int64_t max_num_queued_reqs = 0;
  int64_t max_num_queued_tokens = 0;
  int64_t max_media_bytes = 0;
  double request_timeout_s = 600;  ///< from the request's last byte to its answer's; 0: none
  double shutdown_timeout_s = 30;

  // Network
  std::string host = "127.0.0.1";
  int64_t port = 8000;
  std::string uds;  ///< path of a Unix socket, instead of host and port
  std::vector<std::string> api_keys;
  std::vector<std::string> allowed_origins;
  std::vector<std::string> allowed_hosts;
  bool open_without_key = false;
  int64_t max_connections = 0;  ///< 0: as the server chooses
  int64_t max_connections_per_address = 64;
  int64_t max_body_bytes = 0;  ///< 0: as the server chooses

  // Logs
  bool enable_log_requests = false;
  bool disable_access_log = false;
  std::string log_level = "info";

  /// Lines for requests are information.
  bool logs_requests() const {
    return log_level == "trace" || log_level == "debug" || log_level == "info";
  }
};

/// Declares every flag that has an effect as an option of `app`. CLI11 reports values that cannot
/// be read as CLI::ValidationError.
void add_serve_flags(CLI::App& app, ServeFlags& flags);

/// The cap on memory in bytes that --memory and --gpu-memory-utilization (a share of
/// `total_bytes`, what the machine or its control group has) ask for, the smaller one if both do;
/// 0 if none does. Error bad_flag.
Result<int64_t> memory_cap(const ServeFlags& flags, int64_t total_bytes);

/// Error bad_flag if the checkpoint is quantised in another way than --quantization says; a line
/// for the log, maybe empty, if it is not quantised.
Result<std::string> check_quantization(const ServeFlags& flags, const QuantizationConfig& found);

}  // namespace qvl

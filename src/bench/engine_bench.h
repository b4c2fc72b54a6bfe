#pragma once

/// Measures the engine: what a step costs without a model, whether memory grows with requests, and
/// how the throughput of a real model rises with the number of requests at the same time.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "bench/report.h"
#include "bench/stats.h"
#include "core/clock.h"
#include "qvl/engine.h"

namespace qvl {

/// Steps of an engine on a device that computes nothing.
struct StepCost {
  int64_t rows = 0;  ///< decoding sequences in every step
  Summary us;        ///< of Engine::step(), fake device and events included
  double p99_us = 0;
};
StepCost measure_step_cost(int64_t rows, int64_t steps);

/// Requests through an engine on a device that computes nothing.
struct RequestCostRun {
  int64_t requests = 0;
  double seconds = 0;
  int64_t first_rss_bytes = 0;  ///< after a tenth of the requests
  int64_t last_rss_bytes = 0;
  double slope_bytes = 0;  ///< per request: least squares over the last nine tenths
};
RequestCostRun measure_requests(int64_t requests, const std::function<void(int64_t)>& progress);

struct LoadOptions {
  std::vector<int64_t> concurrency = {1, 2, 4, 8, 16};
  int64_t input_tokens = 128;
  int64_t output_tokens = 64;
  SamplingParams sampling;  ///< of every request; but for seed, length and ends
  int rounds = 3;           ///< per level; each submits as many requests as run at the same time
  /// Milliseconds from some moment on.
  std::function<double()> now_ms = [watch = Stopwatch()] { return watch.ms(); };
};

/// One level of concurrency of a real model.
struct LoadLevel {
  int64_t concurrency = 0;
  /// All sequences together, while all of them decode; none if the first answer ended before the
  /// last prompt was prefilled.
  std::optional<Summary> decode_tok_per_s;
  Summary prefill_tok_per_s;    ///< all prompts together, until the last one is prefilled
  double output_tok_per_s = 0;  ///< closed loop: a request follows each answer; prefill included
  double limit_tok_per_s = 0;   ///< decode: what memory and arithmetic measured in this run allow
};

/// Text weights that steps read: layers and output head. Of a mixture of experts those that any of
/// a step's rows takes.
struct StepWeights {
  int64_t bytes = 0;         ///< that every step reads, at two bytes a weight
  int64_t expert_bytes = 0;  ///< of all experts, at two bytes a weight
  int64_t num_experts = 0;
  int64_t top_k = 0;        ///< experts of a row
  int64_t saved_bytes = 0;  ///< by weights held in fewer bytes; of a mixture of experts, by experts

  /// Expected, where rows take experts independently and all alike.
  double read_bytes(int64_t rows) const;
  double flops(int64_t rows) const;
};
StepWeights step_weights(const TextConfig& text);

struct LoadBench {
  LoadOptions options;
  std::string backend;
  double read_gb_per_s = 0;
  double gflop_per_s = 0;
  StepWeights step_weights;
  int64_t kv_token_bytes = 0;
  std::vector<LoadLevel> levels;
};

/// `engine` has room for the largest level. Prompts are random tokens below `vocab_size`, all
/// different. Roofs are set by the caller. Errors: what submit() says of a request, or
/// engine_failed.
Result<LoadBench> measure_load(Engine& engine, int64_t vocab_size, const LoadOptions& options,
                               LoadBench bench);

/// Documents of the schemas "qvl.bench.engine/1" and "qvl.bench.load/1".
std::string engine_bench_json(const std::vector<StepCost>& steps, const RequestCostRun& requests,
                              const Provenance& provenance);
std::string engine_bench_table(const std::vector<StepCost>& steps, const RequestCostRun& requests);
std::string load_bench_json(const LoadBench& bench, const std::string& model,
                            const Provenance& provenance);
std::string load_bench_table(const LoadBench& bench);

}  // namespace qvl

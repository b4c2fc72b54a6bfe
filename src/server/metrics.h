#pragma once

/// What the server tells about itself to Prometheus: vLLM's names, labels and buckets, so that its
/// dashboards and autoscalers work unchanged, and the stages of pictures under names of our own.
/// Plain functions, thread-safe; whoever knows a number calls one. Labels come from enums, routes
/// and the options, never from a request: what is kept has a bound.

#include <cstdint>
#include <memory>
#include <string>

#include "qvl/memory_plan.h"
#include "qvl/request.h"
#include "server/connection.h"
#include "server/router.h"

namespace qvl {

struct MetricsOptions {
  std::string model_name;        ///< the name it is served under
  int64_t max_model_len = 4096;  ///< buckets of token counts go up to here
};

/// `encode`: all pictures of a request.
enum class MediaStage { decode, preprocess, encode };
enum class MediaRefusal { too_large, not_decodable, not_supported };
enum class MemoryPlace { gpu, host };

/// One request of the engine, when it is over. Times in seconds.
struct FinishedRequest {
  FinishReason reason = FinishReason::stop;
  double end_to_end = 0;  ///< from arrival to the last token
  double queue = 0;       ///< until it was first scheduled
  double prefill = 0;     ///< from there to the first token
  double decode = 0;      ///< from the first token to the last
  int64_t prompt_tokens = 0;
  int64_t computed_prompt_tokens = 0;  ///< those that no cache had
  int64_t generation_tokens = 0;       ///< of all answers together
  int64_t longest_generation_tokens = 0;
  int64_t n = 1;
  int64_t max_tokens = 0;  ///< 0: no limit was asked for
};

class Metrics {
 public:
  explicit Metrics(const MetricsOptions& options);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The state now. `waiting` includes requests whose media are being fetched or decoded, or routers
  // that balance by it overload the server.
  void set_requests(int64_t running, int64_t waiting_for_capacity, int64_t deferred);
  void set_kv_cache(double used_share);
  void set_kv_cache_size(int64_t block_tokens, int64_t blocks);
  /// What the engine has reserved, by line of its plan, and what is left of the limit.
  void set_memory(MemoryPlace place, const MemoryPlan& plan);

  /// Steps of the engine: prompt tokens that they computed, those that the prefix cache had for
  /// requests that began in them, and tokens they generated. Tokens by step are spread evenly.
  void add_steps(int64_t steps, int64_t computed_prompt_tokens, int64_t cached_prompt_tokens,
                 int64_t generation_tokens);
  void add_prefix_cache(int64_t queried_tokens, int64_t hit_tokens);
  void add_preemptions(int64_t count);

  // Requests.
  void observe_first_token(double seconds);
  void observe_inter_token(double seconds);
  void observe_finished(const FinishedRequest& request);
  void add_repetition_stop();
  void add_corrupted_requests(int64_t count);

  // Pictures and videos.
  void observe_media(MediaStage stage, double seconds);
  void add_encoder_tokens(int64_t count);
  void add_media_cache(int64_t queried_items, int64_t hit_items);
  void add_media_refusal(MediaRefusal refusal);

  // HTTP.
  void observe_http(const AccessRecord& record);

  /// Text exposition format 0.0.4, with process_* as they are now.
  std::string text() const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

/// GET /metrics. `metrics` must outlive the server.
void add_metrics_route(Router& router, const Metrics& metrics, Access access);

}  // namespace qvl

#pragma once

/// The routes of OpenAI's API over an engine.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "openai/prepare_request.h"
#include "qvl/async_engine.h"
#include "server/health.h"
#include "server/metrics.h"
#include "server/router.h"

namespace qvl {

struct ApiOptions {
  ServedModel model;  ///< its context may still shrink, see set_engine()
  ParseOptions parse;
  std::string version;
  bool honours_priority = false;  ///< of requests; otherwise all are served in order of arrival
  int media_threads = 2;          ///< that parse requests and decode their pictures
  int text_threads = 2;           ///< that turn tokens into text and frames
  double request_timeout_ms = 600'000;  ///< from the last byte of the body; 0: none
  int64_t created = 0;                  ///< of the model, seconds since 1970
  /// Called once for each request that ran, with its id; may be empty.
  std::function<void(std::string_view id, const FinishedRequest&)> on_finished;
};

/// Serves one model. Thread-safe; outlives the server whose router it filled.
class Api {
 public:
  /// `health` and `metrics` outlive it.
  Api(ApiOptions options, const HealthState& health, Metrics& metrics);
  ~Api();

  /// /v1/chat/completions, /v1/completions, /v1/models, /tokenize, /detokenize, /version,
  /// /v1/chat/completions/input_tokens, /v1/debug/memory, /openapi.json.
  void add_routes(Router& router);
  /// From now on requests are answered; before, they get 503. `context`: tokens of the longest
  /// prompt and answer that fit into the engine's memory.
  void set_engine(std::shared_ptr<AsyncEngine> engine, int64_t context);

  /// Copies what the engine counts into the metrics; a few times a second.
  void publish_metrics();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qvl

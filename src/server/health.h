#pragma once

/// Whether the engine behind the server can answer, as its owner says and its routes tell.

#include <mutex>
#include <string>

#include "server/router.h"

namespace qvl {

enum class Health { loading, ready, draining, failed };

/// "loading", "ready", "draining", "failed".
const char* health_name(Health health);

/// Thread-safe. A failure is final: nothing comes after it.
class HealthState {
 public:
  /// `reason`: one line for whoever asks /health; never text of a request.
  void set(Health health, std::string reason = {});
  Health get() const;
  std::string reason() const;

 private:
  mutable std::mutex mutex_;
  Health health_ = Health::loading;
  std::string reason_;
};

/// GET /health and /ping: 200 if ready, else 503. POST /ping too, as SageMaker sends it. GET /live:
/// 200 while the server runs, 503 once it has failed. `state` must outlive the server.
void add_health_routes(Router& router, const HealthState& state);

}  // namespace qvl

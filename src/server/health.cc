#include "server/health.h"

#include <nlohmann/json.hpp>

namespace qvl {
namespace {

void answer(const ResponseWriter& writer, const HealthState& state, bool well) {
  const Health health = state.get();
  if (well) {
    writer.json(200, nlohmann::json{{"status", health_name(health)}}.dump());
    return;
  }
  const std::string reason = state.reason();
  writer.fail({.status = 503,
               .message = std::string("the server is ") +
                          (health == Health::failed ? "out of order" : health_name(health)) +
                          (reason.empty() ? "" : ": " + reason),
               .retry_after_s = health == Health::loading ? 1 : 0});
}

}  // namespace

const char* health_name(Health health) {
  switch (health) {
    case Health::loading:
      return "loading";
    case Health::ready:
      return "ready";
    case Health::draining:
      return "draining";
    case Health::failed:
      break;
  }
  return "failed";
}

void HealthState::set(Health health, std::string reason) {
  const std::lock_guard lock(mutex_);
  if (health_ == Health::failed) return;
  health_ = health;
  reason_ = std::move(reason);
}

Health HealthState::get() const {
  const std::lock_guard lock(mutex_);
  return health_;
}

std::string HealthState::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

void add_health_routes(Router& router, const HealthState& state) {
  const auto ready = [&state](const HttpRequest&, const ResponseWriter& writer) {
    answer(writer, state, state.get() == Health::ready);
  };
  const auto live = [&state](const HttpRequest&, const ResponseWriter& writer) {
    answer(writer, state, state.get() != Health::failed);
  };
  for (const auto& [method, path] :
       {std::pair{"GET", "/health"}, std::pair{"GET", "/ping"}, std::pair{"POST", "/ping"}}) {
    router.add({.method = method,
                .path = path,
                .access = Access::open,
                .body = std::string_view(method) == "POST" ? BodyRule::any : BodyRule::none,
                .handler = ready});
  }
  router.add({.method = "GET", .path = "/live", .access = Access::open, .handler = live});
}

}  // namespace qvl

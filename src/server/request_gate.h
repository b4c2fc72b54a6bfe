#pragma once

/// Everything that is decided about a request from its head alone, before a byte of its body is
/// read: host, origin, route, method, key, kind of body.

#include <optional>
#include <string>
#include <vector>

#include "server/auth.h"
#include "server/http_error.h"
#include "server/http_head.h"
#include "server/router.h"

namespace qvl {

/// What the gate says to a request: either a route, or the answer.
struct GateAnswer {
  const Route* route = nullptr;
  std::string rest;  ///< what {id} of the route's path stands for
  std::optional<HttpError> refusal;
  bool preflight = false;           ///< neither route nor refusal: answer 204
  std::vector<HttpHeader> headers;  ///< to be sent with whatever answer: CORS, Allow, ...
};

/// Immutable once made; thread-safe.
class RequestGate {
 public:
  /// `addresses` as in HttpServerOptions.
  RequestGate(const std::vector<std::string>& addresses, const AuthOptions& options, Router router);

  GateAnswer admit(const RequestHead& head) const;
  const Router& router() const { return router_; }

 private:
  std::optional<HttpError> check_origin(const RequestHead& head, GateAnswer& admission) const;
  std::optional<HttpError> check_key(const RequestHead& head, GateAnswer& admission) const;

  HostList hosts_;
  std::vector<std::string> origins_;
  bool any_origin_ = false;
  ApiKeys keys_;
  ApiKeys admin_keys_;
  Router router_;
};

}  // namespace qvl

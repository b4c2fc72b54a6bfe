#include "server/request_gate.h"

#include <algorithm>

namespace qvl {
namespace {

/// "application/json; charset=utf-8" is JSON too.
bool is_json(std::string_view content_type) {
  const std::string type = to_lower(content_type.substr(0, content_type.find(';')));
  return type.substr(0, type.find_last_not_of(" \t") + 1) == "application/json";
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::optional<HttpError> check_body(const RequestHead& head, BodyRule rule) {
  const bool has_body = head.body != RequestHead::Body::none;
  if (rule == BodyRule::none && has_body) {
    return HttpError{.status = 400, .message = "this request takes no body"};
  }
  if (rule == BodyRule::json && !is_json(head.header("content-type"))) {
    return HttpError{.status = 415,
                     .message = "the body must be JSON; send Content-Type: application/json",
                     .param = "content-type"};
  }
  return std::nullopt;
}

}  // namespace

RequestGate::RequestGate(const std::vector<std::string>& addresses, const AuthOptions& options,
                         Router router)
    : hosts_(addresses, options.allowed_hosts),
      origins_(options.allowed_origins),
      any_origin_(std::ranges::find(origins_, "*") != origins_.end()),
      keys_(options.keys),
      admin_keys_(options.admin_keys),
      router_(std::move(router)) {}

std::optional<HttpError> RequestGate::check_origin(const RequestHead& head,
                                                   GateAnswer& admission) const {
  const std::string_view origin = head.header("origin");
  if (!origins_.empty() && !any_origin_) admission.headers.push_back({"vary", "Origin"});
  if (origin.empty() || is_own_origin(origin, head.host)) return std::nullopt;
  if (!any_origin_ && std::ranges::find(origins_, origin) == origins_.end()) {
    return HttpError{.status = 403,
                     .message =
                         "pages of this origin may not call; allow it where the server is "
                         "started",
                     .param = "origin"};
  }
  admission.headers.push_back(
      {"access-control-allow-origin", any_origin_ ? "*" : std::string(origin)});
  admission.headers.push_back({"access-control-expose-headers", "X-Request-Id"});
  return std::nullopt;
}

std::optional<HttpError> RequestGate::check_key(const RequestHead& head,
                                                GateAnswer& admission) const {
  const Access access = admission.route->access;
  if (access == Access::open || (access == Access::key && keys_.empty())) return std::nullopt;
  if (access == Access::admin && admin_keys_.empty()) {
    return HttpError{.status = 403, .message = "this route is closed: there is no admin key"};
  }
  const std::string_view key =
      presented_key(head.header("authorization"), head.header("x-api-key"));
  if ((access == Access::admin ? admin_keys_ : keys_).contains(key)) return std::nullopt;
  admission.headers.push_back({"www-authenticate", "Bearer"});
  return HttpError{.status = 401,
                   .message = key.empty() ? "an API key is missing; send Authorization: Bearer KEY"
                                          : "the API key is not known here"};
}

GateAnswer RequestGate::admit(const RequestHead& head) const {
  GateAnswer admission;
  if (!hosts_.allows(head.host)) {
    admission.refusal = {.status = 400,
                         .message =
                             "this server does not answer to that host name; allow it where "
                             "the server is started",
                         .param = "host"};
    return admission;
  }
  admission.refusal = check_origin(head, admission);
  if (admission.refusal) return admission;

  const RouteMatch match = router_.match(head.method, head.path);
  if (match.allowed.empty()) {
    admission.refusal = {.status = 404, .message = "there is no such path"};
    return admission;
  }
  const std::string allowed = join(match.allowed) + ", OPTIONS";
  if (head.method == "OPTIONS" && !match.route) {
    admission.refusal = check_body(head, BodyRule::none);
    admission.preflight = !admission.refusal;
    admission.headers.push_back({"allow", allowed});
    if (!head.header("access-control-request-method").empty() && !origins_.empty()) {
      admission.headers.push_back({"access-control-allow-methods", allowed});
      admission.headers.push_back(
          {"access-control-allow-headers", "Authorization, Content-Type, X-Api-Key, X-Request-Id"});
      admission.headers.push_back({"access-control-max-age", "600"});
    }
    return admission;
  }
  if (!match.route) {
    admission.refusal = {.status = 405, .message = "this path takes " + allowed};
    admission.headers.push_back({"allow", allowed});
    return admission;
  }
  admission.route = match.route;
  admission.rest = match.rest;
  admission.refusal = check_key(head, admission);
  if (!admission.refusal) admission.refusal = check_body(head, match.route->body);
  return admission;
}

}  // namespace qvl

#include "server/router.h"

#include <algorithm>

#include "core/check.h"

namespace qvl {
namespace {

/// The fixed part of a pattern; whole if it takes no rest.
std::string_view prefix(std::string_view pattern) { return pattern.substr(0, pattern.find('{')); }
bool takes_rest(std::string_view pattern) { return pattern.ends_with('}'); }

bool matches(std::string_view pattern, std::string_view path) {
  if (!takes_rest(pattern)) return pattern == path;
  return path.size() > prefix(pattern).size() && path.starts_with(prefix(pattern));
}

}  // namespace

void Router::add(Route route) {
  for (const Route& other : routes_) {
    require(other.method != route.method || other.path != route.path, "one route, one handler");
  }
  routes_.push_back(std::move(route));
}

RouteMatch Router::match(std::string_view method, std::string_view path) const {
  const bool exact = std::ranges::any_of(
      routes_, [&](const Route& route) { return route.path == path && !takes_rest(route.path); });
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  RouteMatch match;
  for (const Route& route : routes_) {
    if (!matches(route.path, path) || (exact && takes_rest(route.path))) continue;
    match.allowed.push_back(route.method);
    if (route.method == "GET") match.allowed.emplace_back("HEAD");
    if (route.method != wanted) continue;
    match.route = &route;
    if (takes_rest(route.path)) match.rest = path.substr(prefix(route.path).size());
  }
  return match;
}

}  // namespace qvl

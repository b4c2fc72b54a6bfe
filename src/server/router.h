#pragma once

/// One table of what the server offers. The row that a path matches says who may call it and what
/// body it takes, so authentication and dispatch cannot disagree about the path.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_request.h"
#include "server/response_writer.h"

namespace qvl {

enum class Access { open, key, admin };
enum class BodyRule { none, json, any };

/// Called on an I/O thread with the complete request; must not block. It answers through the
/// writer, at once or later from any thread. A writer that is dropped without an answer answers
/// 500.
using HttpHandler = std::function<void(HttpRequest request, ResponseWriter writer)>;

struct Route {
  std::string method;
  /// "/v1/models", or "/v1/models/{id}": the last segment in braces takes the rest of the path,
  /// slashes included, at least one character.
  std::string path;
  Access access = Access::key;
  BodyRule body = BodyRule::none;
  HttpHandler handler;
};

struct RouteMatch {
  const Route* route = nullptr;      ///< null: no such path, or not with this method
  std::string_view rest;             ///< what {id} stands for
  std::vector<std::string> allowed;  ///< methods of this path; empty: no such path
};

class Router {
 public:
  /// A method and path twice is a mistake of the program and ends it.
  void add(Route route);
  /// HEAD is answered by the route of GET. An exact path goes before one with a rest.
  RouteMatch match(std::string_view method, std::string_view path) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace qvl

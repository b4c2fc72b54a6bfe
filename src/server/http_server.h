#pragma once

/// The server: listens, keeps its connections within limits, and ends gracefully. It knows nothing
/// of what it serves: that is in the routes.
///
///   Router router;
///   router.add({.method = "GET", .path = "/version", .access = Access::open, .handler = version});
///   Result<std::unique_ptr<HttpServer>> server = HttpServer::start({.port = 8000},
///   std::move(router)); if (!server) return server.error();
///   ...
///   (*server)->drain(30s);
///
/// SIGPIPE need not be ignored for it: its sockets do not raise it.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qvl/result.h"
#include "server/auth.h"
#include "server/connection.h"
#include "server/router.h"

namespace qvl {

struct HttpServerOptions {
  /// Numbers ("127.0.0.1", "::", "0.0.0.0"), names, or absolute paths of Unix sockets.
  std::vector<std::string> addresses = {"127.0.0.1"};
  uint16_t port = 8000;  ///< 0: any that is free, another one for each address
  int threads = 2;       ///< that read and write sockets
  HttpLimits limits;
  HttpTimeouts timeouts;
  AuthOptions auth;
  /// Open at once; more wait unaccepted. Fewer if the process may not open as many files.
  size_t max_connections = 4'096;
  size_t max_connections_per_peer = 64;  ///< of one address, or one /64 network of IPv6
  /// The same for addresses of this machine: a reverse proxy here speaks for many.
  size_t max_connections_per_local_peer = 4'096;
  size_t body_budget_bytes = 1 << 30;      ///< bodies of all requests that are kept at once
  size_t stream_buffer_bytes = 256 << 10;  ///< of one stream, before `Written::full`
  /// Called after each request on an I/O thread; must not block.
  std::function<void(const AccessRecord&)> on_request = [](const AccessRecord&) {};
};

class HttpServer {
 public:
  /// Errors: listen_failed, open_without_key.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, Router router);
  /// Ends at once what drain() has not ended.
  ~HttpServer();  // NOLINT(bugprone-exception-escape): see its definition
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Where it listens, with ports: "127.0.0.1:8000", "[::1]:8000", "/run/qvl.sock".
  const std::vector<std::string>& addresses() const;
  size_t connections() const;
  /// Attempts to accept a connection that the system had no file or memory for.
  uint64_t failed_accepts() const;

  /// Stops accepting, closes idle connections, waits up to `grace` for the rest, then cancels them
  /// (CancelReason::shutdown), gives their handlers HttpTimeouts::shutdown for a last word, and
  /// closes. Returns when no connection is left; true if nothing had to be cancelled.
  bool drain(std::chrono::milliseconds grace);

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace qvl

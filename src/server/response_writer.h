#pragma once

/// How a handler answers. A ResponseWriter is a handle: copy it, keep it, use it from any thread;
/// once the answer is complete or its connection is gone, everything it does is nothing. Calls of
/// several threads on one answer are safe, but their order is the callers' business.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_error.h"
#include "server/http_head.h"

namespace qvl {

class Exchange;

/// Why nobody waits for the answer any more.
enum class CancelReason {
  disconnected,  ///< the client is gone: nothing that is written arrives
  stalled,       ///< the client reads nothing: the connection is closed
  shutdown,      ///< the server ends; what is written within a moment still arrives
};

enum class Written {
  accepted,
  full,  ///< nothing was taken: on_writable says when to try again
  gone,  ///< the answer is complete or nobody is there
};

enum class Ping { off, on };

class ResponseWriter {
 public:
  explicit ResponseWriter(std::shared_ptr<Exchange> exchange);

  /// A complete answer. The body is not counted against the buffer of a stream: its caller has made
  /// it already.
  void respond(int status, std::string_view content_type, std::string_view body,
               const std::vector<HttpHeader>& headers = {}) const;
  void json(int status, std::string_view body) const { respond(status, "application/json", body); }
  void fail(const HttpError& error) const;

  /// A stream: start, then write, then finish. `start` sends the head at once.
  void start(int status, std::string_view content_type,
             const std::vector<HttpHeader>& headers = {}) const;
  /// A stream of server-sent events; with Ping::on, ": ping" goes out in every long silence.
  void start_events(Ping ping = Ping::on) const;
  /// All of `bytes` or nothing. The buffer takes anything while it is empty.
  Written write(std::string_view bytes) const;
  /// One event: "data: TEXT" and an empty line.
  Written event(std::string_view text) const;
  void finish() const;
  /// Ends the connection so that the client can tell that the answer is not complete.
  void abort() const;

  /// Calls back once, when the buffer is at most half full after a `full`; at once if it is so now.
  /// One at a time: a new one takes the place of the last. Called on an I/O thread; must not block.
  void on_writable(std::function<void()> callback) const;
  /// Calls back once if the answer is cancelled before it is complete; at once if it is cancelled
  /// now. Called on an I/O thread; must not block.
  void on_cancel(std::function<void(CancelReason)> callback) const;
  std::optional<CancelReason> cancelled() const;

 private:
  struct Handle;
  std::shared_ptr<Handle> handle_;
};

}  // namespace qvl

#pragma once

/// One answer between the threads that write it and the connection that sends it. The writers' half
/// is behind ResponseWriter; the connection takes what is to be sent, says what was sent, and says
/// when nobody waits any more. Callbacks run without the lock.

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_head.h"
#include "server/response_writer.h"

namespace qvl {

struct ExchangeOptions {
  bool head_only = false;  ///< the request was HEAD: the body is not sent
  bool chunked = true;     ///< HTTP/1.1: a stream is chunked; else it ends with the connection
  bool keep_alive = true;  ///< as the client wants it
  const std::atomic<bool>* draining = nullptr;  ///< of the server: an answer ends its connection
  size_t buffer_bytes = 0;                      ///< of a stream
  std::vector<HttpHeader> headers;              ///< of every answer: X-Request-Id, CORS
};

class Exchange {
 public:
  /// `wake` is called, under the lock, when there is something new to take; it must only post.
  Exchange(ExchangeOptions options, std::function<void()> wake);

  // The writers' half.
  void respond(int status, std::string_view content_type, std::string_view body,
               const std::vector<HttpHeader>& headers);
  void start(int status, std::string_view content_type, const std::vector<HttpHeader>& headers,
             Ping ping);
  Written write(std::string_view bytes);
  void finish();
  void abort();
  void on_writable(std::function<void()> callback);
  void on_cancel(std::function<void(CancelReason)> callback);
  std::optional<CancelReason> cancelled() const;
  /// The last writer is gone: 500 if it has not answered, an aborted stream if it has not finished.
  void abandon();

  // The connection's half.
  struct Output {
    std::string bytes;
    bool complete = false;  ///< nothing follows
    bool aborted = false;   ///< the connection must end without the end of the answer
    bool started = false;
    bool pings = false;  ///< a stream of events that wants a comment in silence
  };
  Output take();
  /// `bytes` of what was taken have left.
  void sent(size_t bytes);
  void cancel(CancelReason reason);
  /// The connection has no more to do with it: no wake, no callback follows.
  void detach();
  /// The answer is to end the connection, if its head is not written yet.
  void close_after();
  /// A comment as the next bytes of the stream of events.
  void ping();

  bool keeps_alive() const;
  int status() const;
  uint64_t body_bytes() const;

 private:
  enum class State { waiting, streaming, complete, aborted };

  void append_head(int status, std::string_view content_type,
                   const std::vector<HttpHeader>& headers, std::optional<uint64_t> length);
  void append_body(std::string_view bytes);
  bool is_unheard() const;  ///< nothing that is written now arrives
  void wake();

  const ExchangeOptions options_;
  mutable std::mutex mutex_;  ///< guards all below
  std::function<void()> wake_;
  State state_ = State::waiting;
  bool keep_alive_;
  bool pings_ = false;
  bool wake_posted_ = false;
  bool detached_ = false;
  int status_ = 0;
  uint64_t body_bytes_ = 0;
  std::string pending_;
  size_t in_flight_ = 0;
  std::optional<CancelReason> cancel_reason_;
  std::function<void()> on_writable_;
  std::function<void(CancelReason)> on_cancel_;
};

}  // namespace qvl

#pragma once

/// One connection: reads a request, hands it to its handler, sends the answer, and again. All of it
/// runs on the thread of its io_context; only the writers of an Exchange come from elsewhere.

#include <array>
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>

#include "server/exchange.h"
#include "server/http_body.h"
#include "server/http_request.h"
#include "server/request_gate.h"

namespace qvl {

/// Every one is absolute or counts progress: a client that drips bytes gains nothing by it.
struct HttpTimeouts {
  using Ms = std::chrono::milliseconds;

  Ms head{5'000};        ///< from the first byte of a head to its last
  Ms idle{30'000};       ///< from one answer to the next request
  Ms body_grace{5'000};  ///< then a body must have come at this rate or faster
  uint64_t body_bytes_per_second = 16 << 10;
  Ms write_stall{20'000};  ///< without one byte taken by the client's side
  Ms vanished{5'000};      ///< without a sign from a client to which bytes are sent again and again
  Ms silence{15'000};      ///< of a stream of events before a ping
  Ms half_close{200};      ///< see Connection::pump
  Ms linger{1'000};        ///< for a client to read a refusal while it still sends
  Ms accept_pause{50};     ///< when the system has no file or memory to give
  Ms shutdown{1'000};      ///< for handlers to end their streams when the grace is over
};

/// What is known of a request when it is over.
struct AccessRecord {
  std::string_view id;
  std::string_view method;  ///< "-" if the head could not be read
  std::string_view route;   ///< the pattern, never the path; "-" if there is none
  int status = 0;           ///< 499: the client left before the answer was complete
  uint64_t body_bytes = 0;  ///< of the answer, written by the handler
  double seconds = 0;       ///< from the last byte of the head to the end of the answer
};

/// What the connections of a server have in common. Immutable but for `draining`.
struct ConnectionSettings {
  HttpLimits limits;
  HttpTimeouts timeouts;
  size_t stream_buffer_bytes = 0;
  RequestGate gate;
  std::shared_ptr<ByteBudget> body_budget;
  std::function<void(const AccessRecord&)> on_request;
  std::atomic<bool> draining = false;
};

class Connection;

/// One I/O thread's own.
struct IoThread {
  boost::asio::io_context context{1};
  std::array<char, 64 << 10> scratch{};  ///< what was read last, before it is copied to its place
  std::unordered_set<std::shared_ptr<Connection>> connections;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  /// `on_close` is called once, on the I/O thread, when the socket is closed.
  Connection(Socket socket, std::string peer, IoThread& thread, const ConnectionSettings& settings,
             std::function<void()> on_close);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // On the I/O thread only.
  void start();
  /// Ends after the request at hand, at once if there is none.
  void drain();
  /// Tells the handler at hand that the server ends.
  void cancel_for_shutdown();
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  template <class T>
  using Awaitable = boost::asio::awaitable<T>;
  enum class Next { request, close };

  Awaitable<void> run();
  Awaitable<Next> serve_request();
  Awaitable<Progress> read_head(HeadParser& parser);
  Awaitable<std::optional<HttpError>> read_body(HttpRequest& request);
  /// `head` is null if it could not be read.
  Awaitable<Next> refuse(const RequestHead* head, AccessRecord record, GateAnswer& admission);
  Awaitable<Next> answer(AccessRecord record, Clock::time_point begin);
  Awaitable<void> pump();
  Awaitable<void> watch();
  Awaitable<void> stop_watch();
  Awaitable<void> linger();
  Awaitable<bool> receive();
  Awaitable<bool> send(std::string_view bytes, Exchange* exchange);
  Awaitable<void> wait_for_wake(Clock::time_point until);

  void open_exchange(const RequestHead* head, std::string_view id, std::vector<HttpHeader> headers);
  void call_handler(const Route& route, HttpRequest request);
  bool has_peer_vanished();
  void lose(CancelReason reason);
  void reset_on_close();
  void notify();
  void set_deadline(Clock::time_point deadline);
  void clear_deadline();
  void arm(Clock::time_point time);

  std::string_view unread() const { return std::string_view(input_).substr(input_begin_); }
  void consume(size_t bytes);

  Socket socket_;
  std::string peer_;
  IoThread& thread_;
  const ConnectionSettings& settings_;
  std::function<void()> on_close_;

  std::string input_;  ///< received and not yet understood begins at input_begin_
  size_t input_begin_ = 0;
  bool input_ended_ = false;  ///< the client has sent its last byte
  bool lingers_ = false;      ///< the client may still be sending what was refused
  bool idle_ = true;          ///< no byte of a request is here

  std::shared_ptr<Exchange> exchange_;
  bool chunked_ = true;  ///< the client speaks HTTP/1.1: streams are chunked
  bool lost_ = false;    ///< nobody is at the other end, or it is not waited for any more
  bool watching_ = false;
  bool stop_watching_ = false;

  boost::asio::steady_timer wake_timer_;
  bool woken_ = false;

  boost::asio::steady_timer deadline_timer_;
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point armed_ = Clock::time_point::max();
  bool timed_out_ = false;
};

}  // namespace qvl

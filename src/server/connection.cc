#include "server/connection.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>
#include <optional>
#include <utility>

#include "server/request_id.h"

namespace qvl {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kPipelinedBytes = 64 << 10;  ///< read ahead of an answer at most
constexpr size_t kLingerBytes = 1 << 20;      ///< thrown away behind a refusal at most
constexpr size_t kKeptBytes = 8 << 10;        ///< of the input's memory, while nothing is in it
constexpr int kClientClosed = 499;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

/// As HTTP writes it (RFC 9110, 5.6.7).
std::string http_date() {
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr)));
}

}  // namespace

Connection::Connection(Socket socket, std::string peer, IoThread& thread,
                       const ConnectionSettings& settings, std::function<void()> on_close)
    : socket_(std::move(socket)),
      peer_(std::move(peer)),
      thread_(thread),
      settings_(settings),
      on_close_(std::move(on_close)),
      wake_timer_(thread.context),
      deadline_timer_(thread.context) {}

Connection::~Connection() {
  if (exchange_) exchange_->detach();
}

void Connection::start() {
  thread_.connections.insert(shared_from_this());
  asio::co_spawn(
      thread_.context, [self = shared_from_this()] { return self->run(); },
      [self = shared_from_this()](const std::exception_ptr&) { self->close(); });
}

void Connection::drain() {
  if (exchange_) exchange_->close_after();
  if (idle_) close();
}

void Connection::cancel_for_shutdown() {
  if (exchange_) {
    exchange_->cancel(CancelReason::shutdown);
  } else {
    close();
  }
}

void Connection::close() {
  if (!socket_.is_open()) return;
  if (exchange_) {
    exchange_->cancel(CancelReason::disconnected);
    exchange_->detach();
  }
  lost_ = true;
  error_code ignored;
  socket_.close(ignored);
  deadline_timer_.cancel();
  notify();
  on_close_();
  thread_.connections.erase(shared_from_this());
}

Connection::Awaitable<void> Connection::run() {
  while (!lost_) {
    const Next next = co_await serve_request();
    if (next == Next::close) break;
  }
  if (!lost_ && !input_ended_ && lingers_) co_await linger();
  close();
}

Connection::Awaitable<Connection::Next> Connection::serve_request() {
  HeadParser parser(settings_.limits);
  const Progress progress = co_await read_head(parser);
  const Clock::time_point begin = Clock::now();
  AccessRecord record{.method = "-", .route = "-"};
  GateAnswer admission;
  if (progress == Progress::more) {  // the bytes ended, or their time
    if (!timed_out_ || idle_) co_return Next::close;
    timed_out_ = false;
    admission.refusal = {.status = 408, .message = "the head of the request did not come in time"};
  } else if (progress == Progress::failed) {
    admission.refusal = parser.error();
  }
  if (admission.refusal) co_return co_await refuse(nullptr, record, admission);

  HttpRequest request;
  request.head = std::move(parser.head());
  consume(parser.size());
  request.peer = peer_;
  const std::string_view given_id = request.head.header("x-request-id");
  request.id = is_request_id(given_id) ? std::string(given_id) : make_request_id();
  const std::string id = request.id;
  const std::string method = request.head.method;
  record.id = id;
  record.method = method;

  admission = settings_.gate.admit(request.head);
  if (admission.route) record.route = admission.route->path;
  if (admission.refusal) co_return co_await refuse(&request.head, record, admission);
  if (admission.preflight) {
    open_exchange(&request.head, id, std::move(admission.headers));
    exchange_->respond(204, "", "", {});
    co_return co_await answer(record, begin);
  }
  admission.refusal = co_await read_body(request);
  if (admission.refusal) co_return co_await refuse(&request.head, record, admission);
  if (lost_) {
    record.status = kClientClosed;
    settings_.on_request(record);
    co_return Next::close;
  }
  request.rest = std::move(admission.rest);
  open_exchange(&request.head, id, std::move(admission.headers));
  call_handler(*admission.route, std::move(request));
  co_return co_await answer(record, begin);
}

Connection::Awaitable<Progress> Connection::read_head(HeadParser& parser) {
  idle_ = unread().empty();
  const Clock::time_point start = Clock::now();
  set_deadline(start + (idle_ ? settings_.timeouts.idle : settings_.timeouts.head));
  while (true) {
    const Progress progress = parser.advance(unread());
    if (progress != Progress::more) {
      clear_deadline();
      co_return progress;
    }
    if (idle_ && settings_.draining) co_return Progress::more;
    const bool received = co_await receive();
    if (!received) {
      clear_deadline();
      co_return Progress::more;
    }
    if (idle_) set_deadline(Clock::now() + settings_.timeouts.head);
    idle_ = false;
  }
}

Connection::Awaitable<std::optional<HttpError>> Connection::read_body(HttpRequest& request) {
  const RequestHead& head = request.head;
  if (head.body == RequestHead::Body::none) co_return std::nullopt;
  if (head.expect_continue && unread().empty()) {
    const bool sent = co_await send(kContinue, nullptr);
    if (!sent) {
      lost_ = true;
      co_return std::nullopt;
    }
  }
  request.body_bytes = ByteLease(settings_.body_budget);
  BodyDecoder decoder(head, settings_.limits);
  const size_t most =
      head.body == RequestHead::Body::sized ? head.content_length : settings_.limits.body_bytes;
  const Clock::time_point earliest = Clock::now() + settings_.timeouts.body_grace;
  while (true) {
    std::string_view bytes = unread();
    const size_t needed = request.body.size() + std::min(bytes.size(), most - request.body.size());
    if (needed > request.body.capacity()) {
      const size_t wanted = std::max(needed, std::min(2 * request.body.capacity(), most));
      if (!request.body_bytes.grow_to(wanted)) {
        co_return HttpError{.status = 429,
                            .message = "the server holds as many bytes of requests as it may",
                            .retry_after_s = 1};
      }
      request.body.reserve(wanted);
    }
    const size_t before = bytes.size();
    const Progress progress = decoder.advance(bytes, request.body);
    consume(before - bytes.size());
    if (progress != Progress::more) {
      clear_deadline();
      if (progress == Progress::failed) co_return decoder.error();
      co_return std::nullopt;
    }
    const std::chrono::milliseconds paid(request.body.size() * 1000 /
                                         settings_.timeouts.body_bytes_per_second);
    set_deadline(earliest + paid);
    const bool received = co_await receive();
    if (received) continue;
    clear_deadline();
    if (timed_out_) {
      timed_out_ = false;
      co_return HttpError{.status = 408, .message = "the body of the request comes too slowly"};
    }
    lost_ = true;
    co_return std::nullopt;
  }
}

void Connection::open_exchange(const RequestHead* head, std::string_view id,
                               std::vector<HttpHeader> headers) {
  headers.push_back({.name = "date", .value = http_date()});
  headers.push_back({.name = "x-request-id", .value = std::string(id)});
  chunked_ = !head || head->minor_version >= 1;
  ExchangeOptions options{.head_only = head && head->method == "HEAD",
                          .chunked = chunked_,
                          .keep_alive = head && head->keep_alive,
                          .draining = &settings_.draining,
                          .buffer_bytes = settings_.stream_buffer_bytes,
                          .headers = std::move(headers)};
  exchange_ = std::make_shared<Exchange>(
      std::move(options), [weak = weak_from_this(), executor = socket_.get_executor()] {
        asio::post(executor, [weak] {
          if (const auto self = weak.lock()) self->notify();
        });
      });
}

void Connection::call_handler(const Route& route, HttpRequest request) {
  try {
    route.handler(std::move(request), ResponseWriter(exchange_));
  } catch (...) {  // NOLINT(bugprone-empty-catch): its writer is gone by now, which answers 500
  }
}

/// A refusal of a request whose body is not read, or that could not be read itself, ends the
/// connection: what follows on it cannot be told from the body.
Connection::Awaitable<Connection::Next> Connection::refuse(const RequestHead* head,
                                                           AccessRecord record,
                                                           GateAnswer& admission) {
  const HttpError& error = *admission.refusal;
  const std::string id = head ? std::string(record.id) : make_request_id();
  record.id = id;
  if (error.retry_after_s > 0) {
    admission.headers.push_back(
        {.name = "retry-after", .value = std::to_string(error.retry_after_s)});
  }
  open_exchange(head, id, std::move(admission.headers));
  if (!head || head->body != RequestHead::Body::none || error.status == 400) {
    exchange_->close_after();
    lingers_ = true;
  }
  exchange_->respond(error.status, "application/json", error_json(error), {});
  co_return co_await answer(record, Clock::now());
}

Connection::Awaitable<Connection::Next> Connection::answer(AccessRecord record,
                                                           Clock::time_point begin) {
  co_await pump();
  co_await stop_watch();
  const std::optional<CancelReason> cancelled = exchange_->cancelled();
  const bool left = cancelled && *cancelled != CancelReason::shutdown;
  record.status = left ? kClientClosed : exchange_->status();
  record.body_bytes = exchange_->body_bytes();
  record.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  settings_.on_request(record);
  const bool keep = !lost_ && exchange_->keeps_alive();
  exchange_->detach();
  exchange_.reset();
  co_return keep ? Next::request : Next::close;
}

/// Sends what the handler writes until the answer is complete or nobody is there.
///
/// A client that has shut down its sending side and still reads sends the same FIN as one that has
/// closed its socket; only the second resets the connection when more bytes come. So the end of
/// input cancels nothing. It is followed by a few bytes that every client skips: "100 Continue"
/// before an answer that has not begun (RFC 9110, 15.2), a comment in a stream of events. Other
/// streams are probed by their own next bytes.
Connection::Awaitable<void> Connection::pump() {
  Clock::time_point last_sent = Clock::now();
  bool probed = false;
  while (!lost_) {
    const Exchange::Output output = exchange_->take();
    if (!output.bytes.empty()) {
      const bool sent = co_await send(output.bytes, exchange_.get());
      if (!sent) {
        lose(timed_out_ ? CancelReason::stalled : CancelReason::disconnected);
        co_return;
      }
      last_sent = Clock::now();
    }
    if (output.complete) co_return;
    if (output.aborted) {
      if (!chunked_)
        reset_on_close();  // else an answer that the end of the connection ends looks whole
      lost_ = true;
      co_return;
    }
    if (!output.bytes.empty()) continue;
    if (!watching_) {
      watching_ = true;
      stop_watching_ = false;
      asio::co_spawn(
          thread_.context, [self = shared_from_this()] { return self->watch(); }, asio::detached);
    }
    const bool interim = input_ended_ && !output.started && chunked_;
    Clock::time_point until = Clock::time_point::max();
    if (output.pings || interim) {
      const bool probe = input_ended_ && !probed;
      until = last_sent + (probe ? settings_.timeouts.half_close : settings_.timeouts.silence);
    }
    co_await wait_for_wake(std::min(until, Clock::now() + settings_.timeouts.vanished));
    if (has_peer_vanished()) lose(CancelReason::disconnected);
    if (Clock::now() < until || lost_) continue;
    probed = input_ended_;
    last_sent = Clock::now();
    if (output.pings) {
      exchange_->ping();
    } else {
      const bool sent = co_await send(kContinue, nullptr);
      if (!sent) lose(CancelReason::disconnected);
    }
  }
}

/// Reads ahead while an answer is made, to see the client leave; up to a limit, so that pipelined
/// requests wait in the client's socket and not here. A socket whose input has ended, or is not
/// read, is watched for errors; urgent data counts as one.
Connection::Awaitable<void> Connection::watch() {
  while (!stop_watching_ && !lost_) {
    if (input_ended_ || unread().size() >= kPipelinedBytes) {
      const auto [error] = co_await socket_.async_wait(Socket::wait_error, kAwait);
      if (!error && !stop_watching_) lose(CancelReason::disconnected);
      break;
    }
    const bool received = co_await receive();
    if (stop_watching_) break;
    if (lost_) lose(CancelReason::disconnected);
    if (!received && !input_ended_) break;
    if (input_ended_) notify();
  }
  watching_ = false;
  notify();
}

Connection::Awaitable<void> Connection::stop_watch() {
  stop_watching_ = true;
  while (watching_) {
    boost::system::error_code ignored;
    socket_.cancel(ignored);
    co_await wait_for_wake(Clock::time_point::max());
  }
}

/// A socket that is closed with bytes unread resets the connection, which may take the answer from
/// the client before it is read: so the rest is read and thrown away, for a while.
Connection::Awaitable<void> Connection::linger() {
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  set_deadline(Clock::now() + settings_.timeouts.linger);
  size_t thrown = unread().size();
  while (thrown < kLingerBytes) {
    consume(unread().size());
    const bool received = co_await receive();
    if (!received) break;
    thrown += unread().size();
  }
}

/// False if the input has ended, its time is over, or the connection is lost.
Connection::Awaitable<bool> Connection::receive() {
  while (!timed_out_ && !input_ended_ && !lost_) {
    const auto [wait_error] = co_await socket_.async_wait(Socket::wait_read, kAwait);
    if (wait_error || timed_out_) break;
    error_code error;
    const size_t count = socket_.read_some(asio::buffer(thread_.scratch), error);
    if (error == asio::error::would_block) continue;
    if (error) {
      input_ended_ = true;
      lost_ = lost_ || error != asio::error::eof;
      break;
    }
    input_.erase(0, input_begin_);
    input_begin_ = 0;
    input_.append(thread_.scratch.data(), count);
    co_return true;
  }
  co_return false;
}

/// False if not all of it could be sent, or not in time.
Connection::Awaitable<bool> Connection::send(std::string_view bytes, Exchange* exchange) {
  while (!bytes.empty()) {
    set_deadline(Clock::now() + settings_.timeouts.write_stall);
    const auto [error, count] =
        co_await socket_.async_write_some(asio::buffer(bytes.data(), bytes.size()), kAwait);
    clear_deadline();
    if (error || timed_out_) co_return false;
    bytes.remove_prefix(count);
    if (exchange) exchange->sent(count);
  }
  co_return true;
}

Connection::Awaitable<void> Connection::wait_for_wake(Clock::time_point until) {
  if (!woken_) {
    wake_timer_.expires_at(until);
    co_await wake_timer_.async_wait(kAwait);
  }
  woken_ = false;
}

void Connection::notify() {
  woken_ = true;
  wake_timer_.cancel();
}

/// A client that reads nothing still confirms what the kernel asks it (its window is shut); one
/// that is not there does not.
bool Connection::has_peer_vanished() {
  tcp_info info{};
  socklen_t bytes = sizeof(info);
  // Fails for a Unix socket, whose other end cannot vanish.
  const int fd = socket_.native_handle();
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return false;
  return info.tcpi_retransmits > 0 &&
         std::chrono::milliseconds(info.tcpi_last_ack_recv) >= settings_.timeouts.vanished;
}

void Connection::lose(CancelReason reason) {
  lost_ = true;
  if (reason == CancelReason::stalled) reset_on_close();
  if (exchange_) exchange_->cancel(reason);
  error_code ignored;
  socket_.cancel(ignored);
  notify();
}

/// What the kernel still holds for a client that does not read is dropped with the connection.
void Connection::reset_on_close() {
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
}

void Connection::consume(size_t bytes) {
  input_begin_ += bytes;
  if (input_begin_ < input_.size()) return;
  input_begin_ = 0;
  if (input_.capacity() > kKeptBytes) {
    input_ = std::string();
  } else {
    input_.clear();
  }
}

/// The timer is only moved when a deadline comes earlier; one that is put off is looked at when the
/// timer rings. Most deadlines are put off many times and never come.
void Connection::set_deadline(Clock::time_point deadline) {
  deadline_ = deadline;
  if (deadline < armed_) arm(deadline);
}

void Connection::clear_deadline() { deadline_ = Clock::time_point::max(); }

void Connection::arm(Clock::time_point time) {
  if (lost_) return;  // nothing is waited for, and a timer would keep its thread from ending
  armed_ = time;
  deadline_timer_.expires_at(time);
  deadline_timer_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (error || !self) return;
    self->armed_ = Clock::time_point::max();
    if (Clock::now() < self->deadline_) {
      self->set_deadline(self->deadline_);
      return;
    }
    self->deadline_ = Clock::time_point::max();
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
    self->notify();
  });
}

}  // namespace qvl

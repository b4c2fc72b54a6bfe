#include "server/exchange.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace qvl {

Exchange::Exchange(ExchangeOptions options, std::function<void()> wake)
    : options_(std::move(options)), wake_(std::move(wake)), keep_alive_(options_.keep_alive) {}

void Exchange::wake() {
  if (wake_posted_ || !wake_) return;
  wake_posted_ = true;
  wake_();
}

bool Exchange::is_unheard() const {
  return cancel_reason_ && *cancel_reason_ != CancelReason::shutdown;
}

void Exchange::append_head(int status, std::string_view content_type,
                           const std::vector<HttpHeader>& headers, std::optional<uint64_t> length) {
  status_ = status;
  const bool has_body = status != 204 && status != 304;
  if (!length && !options_.chunked) keep_alive_ = false;
  if (options_.draining != nullptr && *options_.draining) keep_alive_ = false;
  auto out = std::back_inserter(pending_);
  fmt::format_to(out, "HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
  if (has_body && length) fmt::format_to(out, "content-length: {}\r\n", *length);
  if (has_body && !length && options_.chunked) pending_ += "transfer-encoding: chunked\r\n";
  if (has_body) fmt::format_to(out, "content-type: {}\r\n", content_type);
  for (const std::vector<HttpHeader>* list : {&options_.headers, &headers}) {
    for (const HttpHeader& header : *list) {
      fmt::format_to(out, "{}: {}\r\n", header.name, header.value);
    }
  }
  pending_ += keep_alive_ ? "\r\n" : "connection: close\r\n\r\n";
}

void Exchange::append_body(std::string_view bytes) {
  body_bytes_ += bytes.size();
  if (options_.head_only || bytes.empty()) return;
  if (options_.chunked) {
    fmt::format_to(std::back_inserter(pending_), "{:x}\r\n{}\r\n", bytes.size(), bytes);
  } else {
    pending_ += bytes;
  }
}

void Exchange::respond(int status, std::string_view content_type, std::string_view body,
                       const std::vector<HttpHeader>& headers) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::waiting || detached_) return;
  append_head(status, content_type, headers, body.size());
  body_bytes_ = body.size();
  if (!options_.head_only && status != 204 && status != 304) pending_ += body;
  state_ = State::complete;
  wake();
}

void Exchange::start(int status, std::string_view content_type,
                     const std::vector<HttpHeader>& headers, Ping ping) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::waiting || detached_) return;
  append_head(status, content_type, headers, std::nullopt);
  pings_ = ping == Ping::on && !options_.head_only;
  state_ = State::streaming;
  wake();
}

Written Exchange::write(std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::streaming || detached_ || is_unheard()) return Written::gone;
  const size_t buffered = pending_.size() + in_flight_;
  if (buffered > 0 && buffered + bytes.size() > options_.buffer_bytes) return Written::full;
  append_body(bytes);
  wake();
  return Written::accepted;
}

void Exchange::ping() {
  const std::lock_guard lock(mutex_);
  if (state_ != State::streaming || !pings_ || !pending_.empty()) return;
  append_body(": ping\n\n");
}

void Exchange::finish() {
  const std::lock_guard lock(mutex_);
  if (state_ != State::streaming || detached_) return;
  if (options_.chunked && !options_.head_only) pending_ += "0\r\n\r\n";
  state_ = State::complete;
  wake();
}

void Exchange::abort() {
  const std::lock_guard lock(mutex_);
  if (state_ == State::complete || state_ == State::aborted || detached_) return;
  state_ = State::aborted;
  wake();
}

void Exchange::abandon() {
  bool answered = false;
  {
    const std::lock_guard lock(mutex_);
    answered = state_ != State::waiting;
  }
  if (answered) {
    abort();
  } else {
    const HttpError error{.status = 500, .message = "the request was dropped without an answer"};
    respond(error.status, "application/json", error_json(error), {});
  }
}

void Exchange::on_writable(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (detached_ || is_unheard()) return;
    if (pending_.size() + in_flight_ > options_.buffer_bytes / 2) {
      on_writable_ = std::move(callback);
      return;
    }
  }
  callback();
}

void Exchange::on_cancel(std::function<void(CancelReason)> callback) {
  CancelReason reason = CancelReason::disconnected;
  {
    const std::lock_guard lock(mutex_);
    if (!cancel_reason_) {
      if (!detached_) on_cancel_ = std::move(callback);
      return;
    }
    reason = *cancel_reason_;
  }
  callback(reason);
}

std::optional<CancelReason> Exchange::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancel_reason_;
}

Exchange::Output Exchange::take() {
  const std::lock_guard lock(mutex_);
  wake_posted_ = false;
  Output output{.bytes = std::exchange(pending_, {}),
                .complete = state_ == State::complete,
                .aborted = state_ == State::aborted,
                .started = state_ != State::waiting,
                .pings = pings_ && state_ == State::streaming};
  in_flight_ += output.bytes.size();
  return output;
}

void Exchange::sent(size_t bytes) {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    in_flight_ -= bytes;
    if (pending_.size() + in_flight_ <= options_.buffer_bytes / 2) {
      callback = std::exchange(on_writable_, nullptr);
    }
  }
  if (callback) callback();
}

void Exchange::cancel(CancelReason reason) {
  std::function<void(CancelReason)> callback;
  std::function<void()> dropped;  // destroyed without the lock: it may hold the last writer
  {
    const std::lock_guard lock(mutex_);
    if (cancel_reason_ || detached_ || state_ == State::complete || state_ == State::aborted)
      return;
    cancel_reason_ = reason;
    callback = std::exchange(on_cancel_, nullptr);
    if (reason != CancelReason::shutdown) dropped = std::exchange(on_writable_, nullptr);
  }
  if (callback) callback(reason);
}

void Exchange::detach() {
  std::function<void()> wake, writable;
  std::function<void(CancelReason)> cancel;
  const std::lock_guard lock(mutex_);
  detached_ = true;
  wake.swap(wake_);
  writable.swap(on_writable_);
  cancel.swap(on_cancel_);
  pending_ = {};
}

void Exchange::close_after() {
  const std::lock_guard lock(mutex_);
  keep_alive_ = false;
}

bool Exchange::keeps_alive() const {
  const std::lock_guard lock(mutex_);
  return keep_alive_;
}

int Exchange::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

uint64_t Exchange::body_bytes() const {
  const std::lock_guard lock(mutex_);
  return body_bytes_;
}

}  // namespace qvl

#include "server/response_writer.h"

#include <utility>

#include "server/exchange.h"

namespace qvl {

/// Shared by the copies of one writer: its end means that no answer can come any more.
struct ResponseWriter::Handle {
  explicit Handle(std::shared_ptr<Exchange> e) : exchange(std::move(e)) {}
  ~Handle() { exchange->abandon(); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  std::shared_ptr<Exchange> exchange;
};

ResponseWriter::ResponseWriter(std::shared_ptr<Exchange> exchange)
    : handle_(std::make_shared<Handle>(std::move(exchange))) {}

void ResponseWriter::respond(int status, std::string_view content_type, std::string_view body,
                             const std::vector<HttpHeader>& headers) const {
  handle_->exchange->respond(status, content_type, body, headers);
}

void ResponseWriter::fail(const HttpError& error) const {
  std::vector<HttpHeader> headers;
  if (error.retry_after_s > 0) {
    headers.push_back({.name = "retry-after", .value = std::to_string(error.retry_after_s)});
  }
  respond(error.status, "application/json", error_json(error), headers);
}

void ResponseWriter::start(int status, std::string_view content_type,
                           const std::vector<HttpHeader>& headers) const {
  handle_->exchange->start(status, content_type, headers, Ping::off);
}

void ResponseWriter::start_events(Ping ping) const {
  // Proxies that collect an answer before they pass it on are asked not to.
  handle_->exchange->start(200, "text/event-stream; charset=utf-8",
                           {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}}, ping);
}

Written ResponseWriter::write(std::string_view bytes) const {
  return handle_->exchange->write(bytes);
}

Written ResponseWriter::event(std::string_view text) const {
  std::string frame = "data: ";
  for (const char c : text) {
    frame += c;
    if (c == '\n') frame += "data: ";
  }
  return write(frame += "\n\n");
}

void ResponseWriter::finish() const { handle_->exchange->finish(); }
void ResponseWriter::abort() const { handle_->exchange->abort(); }

void ResponseWriter::on_writable(std::function<void()> callback) const {
  handle_->exchange->on_writable(std::move(callback));
}

void ResponseWriter::on_cancel(std::function<void(CancelReason)> callback) const {
  handle_->exchange->on_cancel(std::move(callback));
}

std::optional<CancelReason> ResponseWriter::cancelled() const {
  return handle_->exchange->cancelled();
}

}  // namespace qvl

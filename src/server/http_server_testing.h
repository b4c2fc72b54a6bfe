#pragma once

/// A server for the tests of what it does with requests, streams, clients and connections.

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "server/http_server.h"
#include "server/http_testing.h"

namespace qvl {

/// A server with a few routes. Each test sets what it needs before the first `address()`.
class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    options.port = 0;
    options.on_request = [this](const AccessRecord& record) {
      const std::lock_guard lock(mutex);
      records.push_back(std::string(record.method) + " " + std::string(record.route) + " " +
                        std::to_string(record.status));
    };
    const auto echo = [this](const HttpRequest& request, const ResponseWriter& writer) {
      ++handled;
      writer.respond(200, "text/plain", request.head.query + request.rest + request.body);
    };
    add("GET", "/echo", echo);
    add("GET", "/echo/{rest}", echo);
    add("POST", "/echo", echo);
    add("GET", "/later",
        [this](const HttpRequest&, const ResponseWriter& writer) { keep(writer); });
    add("POST", "/later",
        [this](const HttpRequest&, const ResponseWriter& writer) { keep(writer); });
    add("GET", "/events", [this](const HttpRequest&, const ResponseWriter& writer) {
      writer.start_events();
      keep(writer);
    });
    add("GET", "/stream", [this](const HttpRequest&, const ResponseWriter& writer) {
      writer.start(200, "text/plain");
      keep(writer);
    });
  }
  ~HttpServerTest() override {
    server.reset();
    kept.clear();
  }

  void add(const std::string& method, const std::string& path, HttpHandler handler) {
    router.add({.method = method,
                .path = path,
                .access = Access::open,
                .body = method == "POST" ? BodyRule::json : BodyRule::none,
                .handler = std::move(handler)});
  }

  void keep(const ResponseWriter& writer) {
    writer.on_cancel([this](CancelReason reason) {
      const std::lock_guard lock(mutex);
      cancels.push_back(reason);
    });
    const std::lock_guard lock(mutex);
    kept.push_back(writer);
  }
  size_t kept_count() {
    const std::lock_guard lock(mutex);
    return kept.size();
  }
  /// The writer of the request that came last, once it is there.
  ResponseWriter writer(size_t count = 1) {
    EXPECT_TRUE(eventually([&] { return kept_count() >= count; }));
    const std::lock_guard lock(mutex);
    return kept.back();
  }
  std::vector<CancelReason> seen_cancels() {
    const std::lock_guard lock(mutex);
    return cancels;
  }
  bool cancelled_with(CancelReason reason) {
    return eventually([&] { return !seen_cancels().empty(); }) &&
           seen_cancels() == std::vector{reason};
  }
  bool nobody_is_connected() {
    return eventually([this] { return server->connections() == 0; });
  }

  std::string address() {
    if (!server) {
      auto started = HttpServer::start(options, std::move(router));
      if (!started) throw std::runtime_error(started.error().message());
      server = std::move(*started);
    }
    return server->addresses().front();
  }

  HttpServerOptions options;
  Router router;
  std::unique_ptr<HttpServer> server;
  std::atomic<int> handled = 0;
  std::mutex mutex;
  std::vector<ResponseWriter> kept;
  std::vector<CancelReason> cancels;
  std::vector<std::string> records;
};

inline std::string request(const std::string& method, const std::string& path,
                           const std::string& headers = "", const std::string& body = "") {
  std::string text = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
  if (method == "POST") text += "Content-Type: application/json\r\n";
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}

inline std::string status_line(const std::string& response) {
  return response.substr(0, response.find("\r\n"));
}
inline std::string body_of(const std::string& response) {
  const size_t end = response.find("\r\n\r\n");
  return end == std::string::npos ? "" : response.substr(end + 4);
}
inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace qvl

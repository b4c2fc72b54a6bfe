#include "server/http_server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <future>
#include <mutex>

#include "server/http_testing.h"
#include "server/malformed_requests.h"

namespace qvl {
namespace {

using std::chrono::milliseconds;

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

std::string request(const std::string& method, const std::string& path,
                    const std::string& headers = "", const std::string& body = "") {
  std::string text = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
  if (method == "POST") text += "Content-Type: application/json\r\n";
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}

std::string status_line(const std::string& response) {
  return response.substr(0, response.find("\r\n"));
}
std::string body_of(const std::string& response) {
  const size_t end = response.find("\r\n\r\n");
  return end == std::string::npos ? "" : response.substr(end + 4);
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(HttpServerTest, AnswersRequestsOfOneConnectionInTurn) {
  TestClient client(address());
  EXPECT_EQ(body_of(client.get("/echo?first")), "first");
  EXPECT_EQ(body_of(client.get("/echo/a/b")), "a/b");
  client.send(request("POST", "/echo", "", "{\"a\": 1}"));
  const std::string response = client.read_response();
  EXPECT_EQ(status_line(response), "HTTP/1.1 200 OK");
  EXPECT_EQ(body_of(response), "{\"a\": 1}");
  EXPECT_TRUE(has(response, "content-type: text/plain\r\n"));
  EXPECT_TRUE(has(response, "\r\ndate: "));
  EXPECT_FALSE(has(response, "connection: close"));
  client.send(request("GET", "/echo", "Connection: close\r\n"));
  EXPECT_TRUE(has(client.read_all(), "connection: close\r\n"));
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(nobody_is_connected());
}

TEST_F(HttpServerTest, EveryMalformedRequestIsRefusedAndEndsTheConnection) {
  options.timeouts.linger = milliseconds(20);
  for (const MalformedRequest& malformed : malformed_requests()) {
    TestClient client(address());
    client.send(malformed.bytes + request("GET", "/echo?smuggled"));
    const std::string response = client.read_all();
    EXPECT_EQ(status_line(response).substr(0, 12), "HTTP/1.1 " + std::to_string(malformed.status))
        << malformed.name;
    EXPECT_TRUE(has(response, "\"code\":" + std::to_string(malformed.status))) << malformed.name;
    EXPECT_TRUE(has(response, "connection: close\r\n")) << malformed.name;
    EXPECT_FALSE(has(response, "smuggled")) << malformed.name;
    EXPECT_TRUE(client.closed()) << malformed.name;
  }
  EXPECT_EQ(handled, 0);
}

TEST_F(HttpServerTest, ErrorsAreObjectsOfVllmsShape) {
  TestClient client(address());
  const std::string missing = client.get("/nothing");
  EXPECT_EQ(status_line(missing), "HTTP/1.1 404 Not Found");
  EXPECT_EQ(body_of(missing),
            "{\"error\":{\"message\":\"there is no such path\",\"type\":\"NotFoundError\","
            "\"param\":null,\"code\":404}}");
  client.send(request("DELETE", "/echo"));
  const std::string method = client.read_response();
  EXPECT_EQ(status_line(method), "HTTP/1.1 405 Method Not Allowed");
  EXPECT_TRUE(has(method, "allow: GET, HEAD, POST, OPTIONS\r\n"));
  EXPECT_EQ(status_line(client.get("/echo")), "HTTP/1.1 200 OK");  // the connection went on
}

TEST_F(HttpServerTest, HeadGivesTheHeadOfGetAndOptionsTheMethods) {
  TestClient client(address());
  client.send(request("HEAD", "/echo?four") + request("OPTIONS", "/echo") +
              request("GET", "/echo?next"));
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_TRUE(has(head, "content-length: 4\r\n"));
  const std::string options_head = client.read_until("\r\n\r\n");
  EXPECT_EQ(status_line(options_head), "HTTP/1.1 204 No Content");
  EXPECT_TRUE(has(options_head, "allow: GET, HEAD, POST, OPTIONS\r\n"));
  EXPECT_FALSE(has(options_head, "content-length"));
  EXPECT_EQ(body_of(client.read_response()), "next");
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  constexpr int kRequests = 10'000;
  TestClient client(address());
  std::thread sender([&] {
    std::string all;
    for (int i = 0; i < kRequests; ++i) all += request("GET", "/echo?" + std::to_string(i));
    client.send(all);
  });
  int right = 0;
  for (int i = 0; i < kRequests; ++i) right += body_of(client.read_response()) == std::to_string(i);
  sender.join();
  EXPECT_EQ(right, kRequests);
}

TEST_F(HttpServerTest, WhatIsPipelinedBehindALongAnswerWaitsInTheClient) {
  TestClient client(address());
  client.send(request("GET", "/later"));
  const ResponseWriter answer = writer();
  const timeval patience{.tv_sec = 0, .tv_usec = 100'000};
  setsockopt(client.fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  const std::string many(1 << 20, 'x');
  size_t sent = 0;
  ssize_t count = 0;
  while (sent < (64U << 20) &&
         (count = ::send(client.fd(), many.data(), many.size(), MSG_NOSIGNAL)) > 0) {
    sent += static_cast<size_t>(count);
  }
  EXPECT_LT(sent, 64U << 20);  // what the two sockets hold, and 64 KiB here
  answer.respond(200, "text/plain", "done");
  EXPECT_EQ(body_of(client.read_response()), "done");
}

TEST_F(HttpServerTest, RequestIdsAreEchoedIfTheyCanBePrinted) {
  TestClient client(address());
  client.send(request("GET", "/echo", "X-Request-Id: my-id_1\r\n"));
  EXPECT_TRUE(has(client.read_response(), "x-request-id: my-id_1\r\n"));
  for (const std::string& id : {std::string("two words"), std::string("caf\xc3\xa9"),
                                std::string(129, 'a'), std::string()}) {
    client.send(request("GET", "/echo", "X-Request-Id: " + id + "\r\n"));
    const std::string response = client.read_response();
    const size_t begin = response.find("x-request-id: ") + 14;
    EXPECT_EQ(response.find("\r\n", begin) - begin, 32U) << id;
  }
}

TEST_F(HttpServerTest, AHeadThatDripsIsRefusedWhenItsTimeIsOver) {
  options.timeouts.head = milliseconds(40);
  TestClient client(address());
  client.send("GET /echo HTTP/1.1\r\n");
  std::atomic<bool> stop = false;
  std::thread drip([&] {
    while (!stop && client.send("X: y\r\n")) std::this_thread::sleep_for(milliseconds(5));
  });
  const std::string response = client.read_until("}}");
  stop = true;
  drip.join();
  EXPECT_EQ(status_line(response), "HTTP/1.1 408 Request Timeout");
  EXPECT_EQ(handled, 0);
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosedWithoutAWord) {
  options.timeouts.idle = milliseconds(30);
  options.timeouts.linger = milliseconds(10);
  TestClient client(address());
  EXPECT_EQ(body_of(client.get("/echo?a")), "a");
  EXPECT_EQ(client.read_all(), "");
  EXPECT_TRUE(client.closed());
  TestClient silent(address());
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_TRUE(nobody_is_connected());
}

TEST_F(HttpServerTest, ABodyThatDripsIsRefused) {
  options.timeouts.body_grace = milliseconds(40);
  options.timeouts.linger = milliseconds(10);
  TestClient client(address());
  client.send(request("POST", "/echo", "Content-Length: 100000\r\n"));
  std::atomic<bool> stop = false;
  std::thread drip([&] {
    while (!stop && client.send("x")) std::this_thread::sleep_for(milliseconds(5));
  });
  const std::string response = client.read_until("}}");
  stop = true;
  drip.join();
  EXPECT_EQ(status_line(response), "HTTP/1.1 408 Request Timeout");
  EXPECT_EQ(handled, 0);
}

TEST_F(HttpServerTest, ABodyThatComesFastEnoughMayTakeLong) {
  options.timeouts.body_grace = milliseconds(20);
  options.timeouts.body_bytes_per_second = 1'000;
  TestClient client(address());
  client.send(request("POST", "/echo", "Content-Length: 400\r\n"));
  for (int i = 0; i < 4; ++i) {  // 100 bytes buy 100 ms
    client.send(std::string(100, 'x'));
    std::this_thread::sleep_for(milliseconds(15));
  }
  EXPECT_EQ(body_of(client.read_response()), std::string(400, 'x'));
}

TEST_F(HttpServerTest, ALargeBodyIsRefusedBeforeItIsRead) {
  options.limits.body_bytes = 1'000;
  TestClient client(address());
  client.send(request("POST", "/echo", "Content-Length: 1001\r\n"));  // and not one byte of it
  EXPECT_EQ(status_line(client.read_response()), "HTTP/1.1 413 Content Too Large");
  TestClient exact(address());
  exact.send(request("POST", "/echo", "", std::string(1'000, 'x')));
  EXPECT_EQ(body_of(exact.read_response()).size(), 1'000U);
}

TEST_F(HttpServerTest, OneByteChunksAreCounted) {
  TestClient client(address());
  client.send(request("POST", "/echo", "Transfer-Encoding: chunked\r\n"));
  std::string chunks;
  for (int i = 0; i < 65'537; ++i) chunks += "1\r\na\r\n";
  client.send(chunks);
  EXPECT_EQ(status_line(client.read_response()), "HTTP/1.1 400 Bad Request");
}

TEST_F(HttpServerTest, BodiesTogetherStayWithinTheirBudget) {
  options.body_budget_bytes = 200'000;
  options.limits.body_bytes = 150'000;
  TestClient first(address()), second(address());
  first.send(request("POST", "/echo", "Content-Length: 150000\r\n") + std::string(149'999, 'x'));
  TestClient probe(address());
  // The second body has no room while the first is here.
  EXPECT_TRUE(eventually([&] {
    TestClient other(address());
    other.send(request("POST", "/echo", "", std::string(120'000, 'y')));
    return status_line(other.read_response()) == "HTTP/1.1 429 Too Many Requests";
  }));
  first.send("x");
  EXPECT_EQ(body_of(first.read_response()).size(), 150'000U);
  second.send(request("POST", "/echo", "", std::string(120'000, 'y')));
  EXPECT_EQ(body_of(second.read_response()).size(), 120'000U);
}

TEST_F(HttpServerTest, ABodyThatWaitsForContinueIsAskedFor) {
  TestClient client(address());
  client.send(request("POST", "/echo", "Expect: 100-continue\r\nContent-Length: 2\r\n"));
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("{}");
  EXPECT_EQ(body_of(client.read_response()), "{}");
  client.send(
      "POST /nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
      "Content-Length: 2\r\n\r\n");
  EXPECT_EQ(status_line(client.read_response()), "HTTP/1.1 404 Not Found");
}

TEST_F(HttpServerTest, AHandlerMayAnswerLaterFromAnotherThread) {
  TestClient client(address());
  client.send(request("GET", "/later"));
  const ResponseWriter answer = writer();
  std::thread([&] { answer.json(200, "{}"); }).join();
  EXPECT_EQ(body_of(client.read_response()), "{}");
  EXPECT_EQ(body_of(client.get("/echo?next")), "next");
  answer.json(200, "again");  // harmless: the answer is complete
  EXPECT_EQ(answer.write("more"), Written::gone);
  EXPECT_EQ(body_of(client.get("/echo?last")), "last");
}

TEST_F(HttpServerTest, ARequestThatIsDroppedIsAnswered500) {
  add("GET", "/drop", [](const HttpRequest&, const ResponseWriter&) {});
  add("GET", "/throw",
      [](const HttpRequest&, const ResponseWriter&) { throw std::runtime_error("secret /path"); });
  add("GET", "/half", [](const HttpRequest&, const ResponseWriter& writer) {
    writer.start(200, "text/plain");
    writer.write("half");
  });
  TestClient client(address());
  EXPECT_EQ(status_line(client.get("/drop")), "HTTP/1.1 500 Internal Server Error");
  const std::string thrown = client.get("/throw");
  EXPECT_EQ(status_line(thrown), "HTTP/1.1 500 Internal Server Error");
  EXPECT_FALSE(has(thrown, "secret"));
  client.send(request("GET", "/half"));
  const std::string half = client.read_all();
  EXPECT_TRUE(has(half, "4\r\nhalf\r\n"));
  EXPECT_FALSE(has(half, "\r\n0\r\n\r\n"));  // the client can tell that it is not complete
}

TEST_F(HttpServerTest, StreamsAreChunkedForHttp11) {
  TestClient client(address());
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  const std::string head = client.read_until("\r\n\r\n");  // before anything is written
  EXPECT_TRUE(has(head, "transfer-encoding: chunked\r\n"));
  EXPECT_EQ(stream.write("first"), Written::accepted);
  EXPECT_EQ(client.read_until("first\r\n"), "5\r\nfirst\r\n");
  EXPECT_EQ(stream.write(""), Written::accepted);
  EXPECT_EQ(stream.write(std::string(17, 'x')), Written::accepted);
  stream.finish();
  EXPECT_EQ(client.read_until("\r\n0\r\n\r\n"), "11\r\nxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
  EXPECT_EQ(body_of(client.get("/echo?next")), "next");
}

TEST_F(HttpServerTest, StreamsOfHttp10EndWithTheConnection) {
  options.timeouts.linger = milliseconds(10);
  TestClient client(address());
  client.send("GET /stream HTTP/1.0\r\nHost: localhost\r\n\r\n");
  const ResponseWriter stream = writer();
  stream.write("first");
  stream.finish();
  const std::string response = client.read_all();
  EXPECT_TRUE(has(response, "connection: close\r\n"));
  EXPECT_FALSE(has(response, "chunked"));
  EXPECT_EQ(body_of(response), "first");
}

TEST_F(HttpServerTest, EventsHavePrefixesAndPingsFillSilence) {
  options.timeouts.silence = milliseconds(20);
  TestClient client(address());
  client.send(request("GET", "/events"));
  const ResponseWriter stream = writer();
  EXPECT_TRUE(has(client.read_until("\r\n\r\n"), "content-type: text/event-stream"));
  EXPECT_EQ(client.read_until(": ping\n\n\r\n"), "8\r\n: ping\n\n\r\n");
  stream.event("{\"a\":1}");
  EXPECT_TRUE(client.read_until("data: {\"a\":1}\n\n").ends_with("\r\ndata: {\"a\":1}\n\n"));
  stream.event("two\nlines");
  EXPECT_TRUE(has(client.read_until("lines\n\n"), "data: two\ndata: lines\n\n"));
  stream.finish();
  EXPECT_TRUE(has(client.read_until("\r\n0\r\n\r\n"), "0\r\n\r\n"));
}

TEST_F(HttpServerTest, AnAbortedStreamHasNoEnd) {
  TestClient client(address());
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  stream.write("half");
  stream.abort();
  const std::string response = client.read_all();
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(has(response, "4\r\nhalf\r\n"));
  EXPECT_FALSE(has(response, "\r\n0\r\n\r\n"));
  EXPECT_TRUE(seen_cancels().empty());
}

TEST_F(HttpServerTest, ASlowReaderMakesTheWriterWait) {
  options.stream_buffer_bytes = 10'000;
  TestClient client(address(), 64 << 10);
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  const std::string piece(1'000, 'x');
  size_t accepted = 0;
  const auto fill = [&] {
    while (stream.write(piece) == Written::accepted) ++accepted;
  };
  // The sockets take some of it first; then the buffer stays full.
  size_t before = 0;
  do {
    before = accepted;
    for (int i = 0; i < 20; ++i) {
      fill();
      std::this_thread::sleep_for(milliseconds(1));
    }
  } while (accepted != before);
  std::promise<void> writable;
  stream.on_writable([&] { writable.set_value(); });
  auto ready = writable.get_future();
  EXPECT_EQ(ready.wait_for(milliseconds(20)), std::future_status::timeout);
  std::thread reader([&] { client.read_until("\r\n0\r\n\r\n"); });
  EXPECT_EQ(ready.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(stream.write(piece), Written::accepted);
  stream.finish();
  reader.join();
  EXPECT_TRUE(seen_cancels().empty());
}

TEST_F(HttpServerTest, AReaderThatReadsNothingIsGivenUp) {
  options.stream_buffer_bytes = 10'000;
  options.timeouts.write_stall = milliseconds(50);
  TestClient client(address(), 4'096);
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  const std::string piece(10'000, 'x');
  EXPECT_TRUE(eventually([&] {
    stream.write(piece);
    return !seen_cancels().empty();
  }));
  EXPECT_TRUE(cancelled_with(CancelReason::stalled));
  EXPECT_EQ(stream.write(piece), Written::gone);
  EXPECT_TRUE(nobody_is_connected());
}

TEST_F(HttpServerTest, AClientThatLeavesWhileItsBodyIsReadCallsNoHandler) {
  for (const bool reset : {false, true}) {
    TestClient client(address());
    client.send(request("POST", "/echo", "Content-Length: 10\r\n") + "half");
    EXPECT_TRUE(eventually([&] { return server->connections() == 1; }));
    reset ? client.reset() : client.close();
    EXPECT_TRUE(nobody_is_connected());
  }
  EXPECT_EQ(handled, 0);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(records, (std::vector<std::string>(2, "POST /echo 499")));
}

TEST_F(HttpServerTest, AClientThatClosesWhileItWaitsIsNoticedOnce) {
  options.timeouts.half_close = milliseconds(10);
  TestClient client(address());
  client.send(request("POST", "/later", "", "{}"));
  const ResponseWriter answer = writer();
  client.close();
  EXPECT_TRUE(cancelled_with(CancelReason::disconnected));
  EXPECT_TRUE(nobody_is_connected());
  answer.json(200, "{}");
  EXPECT_EQ(seen_cancels().size(), 1U);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(records, (std::vector<std::string>{"POST /later 499"}));
}

TEST_F(HttpServerTest, AResetWhileWaitingIsNoticedOnce) {
  TestClient client(address());
  client.send(request("GET", "/later"));
  writer();
  client.reset();
  EXPECT_TRUE(cancelled_with(CancelReason::disconnected));
  EXPECT_TRUE(nobody_is_connected());
}

TEST_F(HttpServerTest, AResetBehindAHalfCloseIsNoticed) {
  options.timeouts.half_close = std::chrono::hours(1);  // no probe helps
  TestClient client(address());
  client.send(request("GET", "/later"));
  writer();
  client.shutdown_write();
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_TRUE(seen_cancels().empty());
  client.reset();
  EXPECT_TRUE(cancelled_with(CancelReason::disconnected));
}

TEST_F(HttpServerTest, AClientThatClosesAStreamIsNoticedOnce) {
  options.timeouts.half_close = milliseconds(10);
  TestClient client(address());
  client.send(request("GET", "/events"));
  const ResponseWriter stream = writer();
  client.read_until("\r\n\r\n");
  client.close();  // nothing is written: a ping finds it
  EXPECT_TRUE(cancelled_with(CancelReason::disconnected));
  EXPECT_TRUE(nobody_is_connected());
  EXPECT_EQ(stream.event("{}"), Written::gone);
}

TEST_F(HttpServerTest, AResetWhileStreamingIsNoticedOnce) {
  TestClient client(address());
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  stream.write("first");
  client.read_until("first");
  client.reset();
  EXPECT_TRUE(cancelled_with(CancelReason::disconnected));
  EXPECT_TRUE(nobody_is_connected());
}

TEST_F(HttpServerTest, AClientThatVanishesIsNoticedThoughItSaysNothing) {
  options.timeouts.vanished = milliseconds(250);
  TestClient client(address());
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  client.read_until("\r\n\r\n");
  client.vanish();
  EXPECT_EQ(stream.write("lost"), Written::accepted);
  EXPECT_TRUE(cancelled_with(CancelReason::disconnected));
  EXPECT_TRUE(nobody_is_connected());
}

TEST_F(HttpServerTest, AReaderThatPausesHasNotVanished) {
  options.stream_buffer_bytes = 10'000;
  options.timeouts.vanished = milliseconds(50);
  TestClient client(address(), 4'096);
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  const std::string piece(10'000, 'x');
  for (int i = 0; i < 300; ++i) {
    stream.write(piece);
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_TRUE(seen_cancels().empty());
}

TEST_F(HttpServerTest, ACancelThatIsAskedForLateComesAtOnce) {
  std::promise<ResponseWriter> promise;
  add("GET", "/bare", [&](const HttpRequest&, const ResponseWriter& w) { promise.set_value(w); });
  TestClient client(address());
  client.send(request("GET", "/bare"));
  const ResponseWriter answer = promise.get_future().get();
  client.reset();
  EXPECT_TRUE(eventually([&] { return answer.cancelled().has_value(); }));
  int calls = 0;
  answer.on_cancel([&](CancelReason) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST_F(HttpServerTest, AHalfCloseStillGetsTheWholeAnswer) {
  options.timeouts.half_close = milliseconds(5);
  options.timeouts.silence = milliseconds(5);
  TestClient client(address());
  client.send(request("GET", "/later"));
  client.shutdown_write();
  const ResponseWriter answer = writer();
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");  // is anybody there?
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  answer.respond(200, "text/plain", std::string(1 << 20, 'x'));
  const std::string all = client.read_all();
  EXPECT_TRUE(has(all, "HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(all.ends_with(std::string(1 << 20, 'x')));
  EXPECT_TRUE(seen_cancels().empty());
}

TEST_F(HttpServerTest, AHalfCloseStillGetsTheWholeStream) {
  options.timeouts.half_close = milliseconds(5);
  TestClient client(address());
  client.send(request("GET", "/events"));
  client.shutdown_write();
  const ResponseWriter stream = writer();
  client.read_until(": ping\n\n");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(stream.event(std::to_string(i)), Written::accepted);
    EXPECT_TRUE(has(client.read_until("data: " + std::to_string(i)), "data: "));
  }
  stream.finish();
  EXPECT_TRUE(client.read_all().ends_with("0\r\n\r\n"));
  EXPECT_TRUE(seen_cancels().empty());
}

TEST_F(HttpServerTest, QuickAnswersAreNotPrecededByAProbe) {
  TestClient client(address());
  client.send(request("GET", "/echo?a") + request("GET", "/echo?b"));
  client.shutdown_write();
  const std::string all = client.read_all();
  EXPECT_FALSE(has(all, "100 Continue"));
  EXPECT_TRUE(has(all, "\r\n\r\na"));
  EXPECT_TRUE(has(all, "\r\n\r\nb"));
}

TEST_F(HttpServerTest, AWriterMayOutliveItsServer) {
  TestClient client(address());
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  server.reset();
  EXPECT_EQ(stream.write("a"), Written::gone);
  stream.on_writable([] {});
  stream.on_cancel([](CancelReason) {});
  stream.finish();
  stream.abort();
}

TEST_F(HttpServerTest, AWriteToAClosedSocketRaisesNoSignal) {
  const auto before = std::signal(SIGPIPE, SIG_DFL);
  TestClient client(address());
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  client.close();
  EXPECT_TRUE(eventually([&] { return stream.write("x") == Written::gone; }));
  std::signal(SIGPIPE, before);
}

TEST_F(HttpServerTest, TwoThousandStreamsAreServedAtOnce) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  ASSERT_GE(files.rlim_cur, 4'200U) << "raise the limit of open files: ulimit -Hn 8192";
  constexpr size_t kStreams = 2'000;
  address();
  std::vector<TestClient> clients;
  clients.reserve(kStreams);
  for (size_t i = 0; i < kStreams; ++i) {
    clients.emplace_back(address());
    ASSERT_TRUE(clients.back().send(request("GET", "/events")));
  }
  ASSERT_TRUE(eventually([&] { return kept_count() == kStreams; }));
  const std::vector<ResponseWriter> streams = kept;
  std::vector<std::thread> writers;
  for (size_t t = 0; t < 2; ++t) {
    writers.emplace_back([&, t] {
      for (int event = 0; event < 5; ++event) {
        for (size_t i = t; i < kStreams; i += 2) streams[i].event("token");
      }
      for (size_t i = t; i < kStreams; i += 2) streams[i].finish();
    });
  }
  for (std::thread& thread : writers) thread.join();
  size_t complete = 0;
  for (TestClient& client : clients) {
    const std::string all = client.read_until("\r\n0\r\n\r\n");
    size_t events = 0;
    for (size_t at = 0; (at = all.find("data: token\n\n", at)) != std::string::npos; ++at) ++events;
    complete += events == 5;
  }
  EXPECT_EQ(complete, kStreams);
  EXPECT_EQ(server->connections(), kStreams);
}

TEST_F(HttpServerTest, ConnectionsAboveTheLimitWaitForTheirTurn) {
  options.max_connections = 2;
  TestClient first(address()), second(address());
  EXPECT_EQ(body_of(first.get("/echo?1")), "1");
  EXPECT_EQ(body_of(second.get("/echo?2")), "2");
  TestClient third(address());
  EXPECT_TRUE(third.connected());  // by the kernel
  third.send(request("GET", "/echo?3"));
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(server->connections(), 2U);
  first.close();
  EXPECT_EQ(body_of(third.read_response()), "3");
}

TEST_F(HttpServerTest, OnePeerHasOnlyItsShareOfConnections) {
  options.max_connections_per_local_peer = 2;
  TestClient first(address()), second(address());
  EXPECT_EQ(body_of(first.get("/echo?1")), "1");
  EXPECT_EQ(body_of(second.get("/echo?2")), "2");
  EXPECT_EQ(TestClient(address()).get("/echo?3"), "");
  first.close();
  EXPECT_TRUE(eventually([&] { return server->connections() == 1; }));
  EXPECT_EQ(body_of(TestClient(address()).get("/echo?4")), "4");
}

TEST_F(HttpServerTest, WithoutFilesToOpenItPausesAndRecovers) {
  address();
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  TestClient waiting(address());  // the server has it, or will have it, before files run out
  EXPECT_EQ(body_of(waiting.get("/echo?0")), "0");
  const int lowest = dup(0);
  close(lowest);
  const rlimit tight{.rlim_cur = static_cast<rlim_t>(lowest) + 1, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &tight);
  TestClient client(address());  // takes the last file
  ASSERT_TRUE(client.connected());
  client.send(request("GET", "/echo?1"));
  const auto cpu = std::clock();
  std::this_thread::sleep_for(milliseconds(120));
  EXPECT_LT(static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC, 0.06);  // it does not spin
  EXPECT_EQ(server->connections(), 1U);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(body_of(client.read_response()), "1");
}

TEST_F(HttpServerTest, DrainClosesWhatIsIdleAndWaitsForTheRest) {
  TestClient idle(address()), busy(address());
  EXPECT_EQ(body_of(idle.get("/echo?a")), "a");
  busy.send(request("GET", "/later"));
  const ResponseWriter answer = writer();
  auto drained =
      std::async(std::launch::async, [&] { return server->drain(std::chrono::hours(1)); });
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_TRUE(idle.closed());
  EXPECT_TRUE(eventually([&] { return !TestClient(address()).connected(); }));
  EXPECT_TRUE(eventually([&] { return server->connections() == 1; }));
  answer.json(200, "{}");
  const std::string response = busy.read_all();
  EXPECT_TRUE(has(response, "connection: close\r\n"));
  EXPECT_EQ(body_of(response), "{}");
  EXPECT_TRUE(drained.get());
  EXPECT_TRUE(seen_cancels().empty());
}

TEST_F(HttpServerTest, DrainGivesRunningStreamsALastWord) {
  TestClient client(address());
  client.send(request("GET", "/events"));
  const ResponseWriter stream = writer();
  stream.on_cancel([&](CancelReason reason) {
    EXPECT_EQ(reason, CancelReason::shutdown);
    EXPECT_EQ(stream.event("{\"error\":{}}"), Written::accepted);
    stream.finish();
  });
  EXPECT_FALSE(server->drain(milliseconds(20)));
  EXPECT_TRUE(has(client.read_all(), "data: {\"error\":{}}\n\n\r\n0\r\n\r\n"));
  EXPECT_EQ(server->connections(), 0U);
}

TEST_F(HttpServerTest, DrainEndsHandlersThatDoNotAnswer) {
  options.timeouts.shutdown = milliseconds(20);
  TestClient client(address()), sender(address());
  client.send(request("GET", "/stream"));
  writer();
  sender.send(request("POST", "/echo", "Content-Length: 10\r\n") + "half");
  EXPECT_TRUE(eventually([&] { return server->connections() == 2; }));
  EXPECT_FALSE(server->drain(milliseconds(20)));
  EXPECT_FALSE(has(client.read_all(), "\r\n0\r\n\r\n"));
  EXPECT_TRUE(cancelled_with(CancelReason::shutdown));
}

TEST_F(HttpServerTest, ListensOnSeveralAddressesAndAUnixSocket) {
  const std::string path = ::testing::TempDir() + "qvl_http_test.sock";
  options.addresses = {"127.0.0.1", "127.0.0.2", path};
  address();
  ASSERT_EQ(server->addresses().size(), 3U);
  EXPECT_NE(server->addresses()[0], server->addresses()[1]);
  EXPECT_EQ(body_of(TestClient(server->addresses()[0]).get("/echo?tcp")), "tcp");
  EXPECT_EQ(body_of(TestClient(path).get("/echo?unix")), "unix");
  EXPECT_EQ(std::filesystem::status(path).permissions() & std::filesystem::perms::all,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  const auto taken = HttpServer::start({.addresses = {path}}, Router());
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::listen_failed);
  server.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(HttpServerTest, AnAddressThatIsTakenOrUnknownIsAnError) {
  const std::string port = address().substr(address().find(':') + 1);
  const auto taken = HttpServer::start({.port = static_cast<uint16_t>(std::stoi(port))}, Router());
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::listen_failed);
  EXPECT_TRUE(has(taken.error().message(), "127.0.0.1:" + port));
  const auto exposed = HttpServer::start({.addresses = {"0.0.0.0"}, .port = 0}, Router());
  ASSERT_FALSE(exposed);
  EXPECT_EQ(exposed.error().code, ErrorCode::open_without_key);
}

TEST_F(HttpServerTest, RecordsHaveTheRouteAndNotThePath) {
  TestClient client(address());
  client.get("/echo/secret?secret");
  client.get("/secret");
  client.send("secret\r\n\r\n");
  client.read_all();
  const std::lock_guard lock(mutex);
  EXPECT_EQ(records, (std::vector<std::string>{"GET /echo/{rest} 200", "GET - 404", "- - 400"}));
}

}  // namespace
}  // namespace qvl

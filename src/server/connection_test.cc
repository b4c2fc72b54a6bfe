/// What a connection does with requests, whole, late, broken and one behind the other.

#include "server/connection.h"

#include "server/http_server_testing.h"
#include "server/malformed_requests.h"

namespace qvl {
namespace {

using std::chrono::milliseconds;
using ConnectionTest = HttpServerTest;

TEST_F(ConnectionTest, AnswersRequestsOfOneConnectionInTurn) {
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

TEST_F(ConnectionTest, EveryMalformedRequestIsRefusedAndEndsTheConnection) {
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

TEST_F(ConnectionTest, ErrorsAreObjectsOfVllmsShape) {
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

TEST_F(ConnectionTest, HeadGivesTheHeadOfGetAndOptionsTheMethods) {
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

TEST_F(ConnectionTest, PipelinedRequestsAreAnsweredInOrder) {
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

TEST_F(ConnectionTest, WhatIsPipelinedBehindALongAnswerWaitsInTheClient) {
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

TEST_F(ConnectionTest, RequestIdsAreEchoedIfTheyCanBePrinted) {
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

TEST_F(ConnectionTest, AHeadThatDripsIsRefusedWhenItsTimeIsOver) {
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

TEST_F(ConnectionTest, AnIdleConnectionIsClosedWithoutAWord) {
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

TEST_F(ConnectionTest, ABodyThatDripsIsRefused) {
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

TEST_F(ConnectionTest, ABodyThatComesFastEnoughMayTakeLong) {
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

TEST_F(ConnectionTest, ALargeBodyIsRefusedBeforeItIsRead) {
  options.limits.body_bytes = 1'000;
  TestClient client(address());
  client.send(request("POST", "/echo", "Content-Length: 1001\r\n"));  // and not one byte of it
  EXPECT_EQ(status_line(client.read_response()), "HTTP/1.1 413 Content Too Large");
  TestClient exact(address());
  exact.send(request("POST", "/echo", "", std::string(1'000, 'x')));
  EXPECT_EQ(body_of(exact.read_response()).size(), 1'000U);
}

TEST_F(ConnectionTest, OneByteChunksAreCounted) {
  TestClient client(address());
  client.send(request("POST", "/echo", "Transfer-Encoding: chunked\r\n"));
  std::string chunks;
  for (int i = 0; i < 65'537; ++i) chunks += "1\r\na\r\n";
  client.send(chunks);
  EXPECT_EQ(status_line(client.read_response()), "HTTP/1.1 400 Bad Request");
}

TEST_F(ConnectionTest, BodiesTogetherStayWithinTheirBudget) {
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

TEST_F(ConnectionTest, ABodyThatWaitsForContinueIsAskedFor) {
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

TEST_F(ConnectionTest, AHandlerMayAnswerLaterFromAnotherThread) {
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

TEST_F(ConnectionTest, ARequestThatIsDroppedIsAnswered500) {
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

}  // namespace
}  // namespace qvl

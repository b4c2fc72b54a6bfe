/// Clients that leave, in whichever phase and way.

#include <csignal>
#include <future>

#include "server/http_server_testing.h"

namespace qvl {
namespace {

using std::chrono::milliseconds;
using ClientLossTest = HttpServerTest;

TEST_F(ClientLossTest, AClientThatLeavesWhileItsBodyIsReadCallsNoHandler) {
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

TEST_F(ClientLossTest, AClientThatClosesWhileItWaitsIsNoticedOnce) {
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

TEST_F(ClientLossTest, AResetWhileWaitingIsNoticedOnce) {
  TestClient client(address());
  client.send(request("GET", "/later"));
  writer();
  client.reset();
  EXPECT_TRUE(cancelled_with(CancelReason::disconnected));
  EXPECT_TRUE(nobody_is_connected());
}

TEST_F(ClientLossTest, AResetBehindAHalfCloseIsNoticed) {
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

TEST_F(ClientLossTest, AClientThatClosesAStreamIsNoticedOnce) {
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

TEST_F(ClientLossTest, AResetWhileStreamingIsNoticedOnce) {
  TestClient client(address());
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  stream.write("first");
  client.read_until("first");
  client.reset();
  EXPECT_TRUE(cancelled_with(CancelReason::disconnected));
  EXPECT_TRUE(nobody_is_connected());
}

TEST_F(ClientLossTest, AClientThatVanishesIsNoticedThoughItSaysNothing) {
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

TEST_F(ClientLossTest, AReaderThatPausesHasNotVanished) {
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

TEST_F(ClientLossTest, ACancelThatIsAskedForLateComesAtOnce) {
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

TEST_F(ClientLossTest, AHalfCloseStillGetsTheWholeAnswer) {
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

TEST_F(ClientLossTest, AHalfCloseStillGetsTheWholeStream) {
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

TEST_F(ClientLossTest, QuickAnswersAreNotPrecededByAProbe) {
  TestClient client(address());
  client.send(request("GET", "/echo?a") + request("GET", "/echo?b"));
  client.shutdown_write();
  const std::string all = client.read_all();
  EXPECT_FALSE(has(all, "100 Continue"));
  EXPECT_TRUE(has(all, "\r\n\r\na"));
  EXPECT_TRUE(has(all, "\r\n\r\nb"));
}

TEST_F(ClientLossTest, AWriterMayOutliveItsServer) {
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

TEST_F(ClientLossTest, AWriteToAClosedSocketRaisesNoSignal) {
  const auto before = std::signal(SIGPIPE, SIG_DFL);
  TestClient client(address());
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  client.close();
  EXPECT_TRUE(eventually([&] { return stream.write("x") == Written::gone; }));
  std::signal(SIGPIPE, before);
}

}  // namespace
}  // namespace qvl

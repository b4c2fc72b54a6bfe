/// Streams and who reads them.

#include "server/response_writer.h"

#include <future>
#include <memory>

#include "server/http_server_testing.h"

namespace qvl {
namespace {

using std::chrono::milliseconds;
using ResponseWriterTest = HttpServerTest;

TEST_F(ResponseWriterTest, StreamsAreChunkedForHttp11) {
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

TEST_F(ResponseWriterTest, StreamsOfHttp10EndWithTheConnection) {
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

TEST_F(ResponseWriterTest, EventsHavePrefixesAndPingsFillSilence) {
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

TEST_F(ResponseWriterTest, AnAbortedStreamHasNoEnd) {
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

TEST_F(ResponseWriterTest, ASlowReaderMakesTheWriterWait) {
  options.stream_buffer_bytes = 10'000;
  TestClient client(address(), 64 << 10);
  client.send(request("GET", "/stream"));
  const ResponseWriter stream = writer();
  const std::string piece(1'000, 'x');
  // The sockets take some of it first; then the buffer stays full.
  std::future<void> ready;
  do {
    while (stream.write(piece) == Written::accepted) {
    }
    const auto writable = std::make_shared<std::promise<void>>();
    ready = writable->get_future();
    stream.on_writable([writable] { writable->set_value(); });
  } while (ready.wait_for(milliseconds(300)) == std::future_status::ready);
  std::thread reader([&] { client.read_until("\r\n0\r\n\r\n"); });
  EXPECT_EQ(ready.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(stream.write(piece), Written::accepted);
  stream.finish();
  reader.join();
  EXPECT_TRUE(seen_cancels().empty());
}

TEST_F(ResponseWriterTest, AReaderThatReadsNothingIsGivenUp) {
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

}  // namespace
}  // namespace qvl

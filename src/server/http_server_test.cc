#include "server/http_server.h"

#include <sys/resource.h>

#include <filesystem>
#include <future>

#include "server/http_server_testing.h"

namespace qvl {
namespace {

using std::chrono::milliseconds;

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
  // It does not spin: three attempts have two pauses between them, on any machine.
  const auto begin = std::chrono::steady_clock::now();
  const uint64_t earlier = server->failed_accepts();
  EXPECT_TRUE(eventually([&] { return server->failed_accepts() >= earlier + 3; }));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 2 * options.timeouts.accept_pause);
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

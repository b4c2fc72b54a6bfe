#include "server/http_server.h"

#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

namespace qvl {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using UnixProtocol = asio::local::stream_protocol;
using std::chrono::milliseconds;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReservedFiles = 64;  ///< for weights, pictures and logs, beside connections
constexpr const char* kUnixPeer = "unix";

Error listen_error(const std::string& address, const std::string& why) {
  return {ErrorCode::listen_failed, why, address};
}

/// Connections that this process has files for.
size_t connection_budget(size_t wanted) {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return wanted;
  const size_t most = files.rlim_cur > kReservedFiles ? files.rlim_cur - kReservedFiles : 0;
  return std::min(wanted, most);
}

/// What counts as one peer: an IPv4 address or the /64 network of an IPv6 address.
std::string peer_key(const asio::ip::address& address) {
  if (address.is_v4()) return address.to_string();
  const auto bytes = address.to_v6().to_bytes();
  return {bytes.begin(), bytes.begin() + 8};
}

/// A peer that vanished is noticed by keep-alive probes within ten seconds, as long as nothing is
/// on its way to it; then by HttpTimeouts::vanished. TCP_USER_TIMEOUT would end both waits, but it
/// also ends connections whose window stays shut, which slow readers may do for longer.
void set_tcp_options(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const int fd = socket.native_handle();
  const auto set = [fd](int option, int value) {
    setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
  };
  set(TCP_KEEPIDLE, 5);
  set(TCP_KEEPINTVL, 1);
  set(TCP_KEEPCNT, 5);
}

}  // namespace

struct HttpServer::State {
  State(HttpServerOptions given, Router router)
      : options(std::move(given)),
        settings{.limits = options.limits,
                 .timeouts = options.timeouts,
                 .stream_buffer_bytes = options.stream_buffer_bytes,
                 .gate = RequestGate(options.addresses, options.auth, std::move(router)),
                 .body_budget = std::make_shared<ByteBudget>(options.body_budget_bytes),
                 .on_request = options.on_request},
        max_connections(connection_budget(options.max_connections)) {
    for (int i = 0; i < std::max(options.threads, 1); ++i) {
      io.push_back(std::make_unique<IoThread>());
      work.push_back(asio::make_work_guard(io.back()->context));
    }
    room = std::make_unique<asio::steady_timer>(io.front()->context,
                                                std::chrono::steady_clock::time_point::max());
  }

  Status listen(const std::string& address);
  Status listen_tcp(const std::string& address, const tcp::endpoint& endpoint);
  Status listen_unix(const std::string& path);
  void run();
  void stop();
  void stop_listening();
  void wait_for_none(milliseconds limit);
  template <class Function>
  void for_each_connection(Function function);

  template <class Acceptor>
  asio::awaitable<void> accept_loop(Acceptor& acceptor);
  void adopt(tcp::socket socket, IoThread& thread);
  void adopt(UnixProtocol::socket socket, IoThread& thread);
  void serve(Connection::Socket socket, std::string peer, std::string key, IoThread& thread);
  bool enter(const std::string& key, bool local);
  void leave(const std::string& key);

  const HttpServerOptions options;
  ConnectionSettings settings;
  const size_t max_connections;
  std::vector<std::string> addresses;
  std::vector<std::string> unix_paths;

  std::vector<std::unique_ptr<IoThread>> io;
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::vector<std::thread> threads;

  // Of the first I/O thread, where connections are accepted.
  std::vector<std::unique_ptr<tcp::acceptor>> tcp_acceptors;
  std::vector<std::unique_ptr<UnixProtocol::acceptor>> unix_acceptors;
  std::unique_ptr<asio::steady_timer> room;  ///< never rings; cancelled when a connection ends
  size_t next_thread = 0;
  std::atomic<uint64_t> failed_accepts = 0;

  std::mutex mutex;
  std::condition_variable left;
  size_t count = 0;                     ///< guarded by mutex
  std::map<std::string, size_t> peers;  ///< guarded by mutex; connections of each
};

Status HttpServer::State::listen(const std::string& address) {
  if (address.starts_with('/')) return listen_unix(address);
  error_code error;
  tcp::resolver resolver(io.front()->context);
  const auto found =
      resolver.resolve(address, std::to_string(options.port),
                       tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error) return listen_error(address, "no such address: " + error.message());
  std::vector<tcp::endpoint> endpoints(found.begin(), found.end());
  std::ranges::sort(endpoints);
  endpoints.erase(std::unique(endpoints.begin(), endpoints.end()), endpoints.end());
  // A name may have an address of a kind that this machine does not use; one is enough.
  Status status = listen_error(address, "the name has no address");
  bool listens = false;
  for (const tcp::endpoint& endpoint : endpoints) {
    status = listen_tcp(address, endpoint);
    listens = listens || static_cast<bool>(status);
  }
  if (listens) return {};
  return status;
}

Status HttpServer::State::listen_tcp(const std::string& address, const tcp::endpoint& endpoint) {
  auto acceptor = std::make_unique<tcp::acceptor>(io.front()->context);
  error_code error;
  acceptor->open(endpoint.protocol(), error);
  if (!error) acceptor->set_option(asio::socket_base::reuse_address(true), error);
  if (!error && endpoint.address().is_v6()) acceptor->set_option(asio::ip::v6_only(true), error);
  if (!error) acceptor->bind(endpoint, error);
  if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
  if (error) return listen_error(address + ":" + std::to_string(options.port), error.message());
  const tcp::endpoint local = acceptor->local_endpoint();
  const std::string host = local.address().to_string();
  addresses.push_back((local.address().is_v6() ? "[" + host + "]" : host) + ":" +
                      std::to_string(local.port()));
  tcp_acceptors.push_back(std::move(acceptor));
  return {};
}

Status HttpServer::State::listen_unix(const std::string& path) {
  UnixProtocol::endpoint endpoint;
  try {
    endpoint = UnixProtocol::endpoint(path);
  } catch (const boost::system::system_error&) {
    return listen_error(path, "the path is too long for a Unix socket");
  }
  error_code error;
  struct stat found {};
  if (lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) {
    UnixProtocol::socket probe(io.front()->context);
    probe.connect(endpoint, error);
    if (!error) return listen_error(path, "another program listens there");
    unlink(path.c_str());  // nobody listens: a server that did not end well has left it
  }
  auto acceptor = std::make_unique<UnixProtocol::acceptor>(io.front()->context);
  error = {};
  acceptor->open(UnixProtocol(), error);
  // Before bind, so that there is no moment in which another user may connect.
  if (!error) fchmod(acceptor->native_handle(), 0600);
  if (!error) acceptor->bind(endpoint, error);
  if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
  if (error) return listen_error(path, error.message());
  addresses.push_back(path);
  unix_paths.push_back(path);
  unix_acceptors.push_back(std::move(acceptor));
  return {};
}

void HttpServer::State::run() {
  asio::io_context& context = io.front()->context;
  for (auto& acceptor : tcp_acceptors) {
    asio::co_spawn(context, accept_loop(*acceptor), asio::detached);
  }
  for (auto& acceptor : unix_acceptors) {
    asio::co_spawn(context, accept_loop(*acceptor), asio::detached);
  }
  for (auto& thread : io) threads.emplace_back([&thread] { thread->context.run(); });
}

void HttpServer::State::stop_listening() {
  settings.draining = true;
  asio::post(io.front()->context, [this] {
    error_code ignored;
    for (auto& acceptor : tcp_acceptors) acceptor->close(ignored);
    for (auto& acceptor : unix_acceptors) acceptor->close(ignored);
    room->cancel();
  });
  for (const std::string& path : unix_paths) unlink(path.c_str());
  unix_paths.clear();
}

void HttpServer::State::stop() {
  stop_listening();
  for_each_connection([](Connection& connection) { connection.close(); });
  work.clear();
  for (std::thread& thread : threads) thread.join();
}

template <class Function>
void HttpServer::State::for_each_connection(Function function) {
  for (auto& thread : io) {
    asio::post(thread->context, [&thread, function] {
      const std::vector<std::shared_ptr<Connection>> all(thread->connections.begin(),
                                                         thread->connections.end());
      for (const std::shared_ptr<Connection>& connection : all) function(*connection);
    });
  }
}

void HttpServer::State::wait_for_none(milliseconds limit) {
  std::unique_lock lock(mutex);
  left.wait_for(lock, limit, [this] { return count == 0; });
}

template <class Acceptor>
asio::awaitable<void> HttpServer::State::accept_loop(Acceptor& acceptor) {
  while (acceptor.is_open()) {
    bool full = false;
    {
      const std::lock_guard lock(mutex);
      full = count >= max_connections;
    }
    if (full) {
      co_await room->async_wait(kAwait);
      continue;
    }
    IoThread& thread = *io[next_thread++ % io.size()];
    auto [error, socket] = co_await acceptor.async_accept(thread.context, kAwait);
    if (!error) {
      adopt(std::move(socket), thread);
    } else if (acceptor.is_open()) {
      ++failed_accepts;
      asio::steady_timer pause(io.front()->context, options.timeouts.accept_pause);
      co_await pause.async_wait(kAwait);
    }
  }
}

void HttpServer::State::adopt(tcp::socket socket, IoThread& thread) {
  error_code error;
  tcp::endpoint remote = socket.remote_endpoint(error);
  if (error) return;  // gone already
  asio::ip::address address = remote.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  const std::string key = peer_key(address);
  if (!enter(key, address.is_loopback())) return;
  set_tcp_options(socket);
  serve(std::move(socket), address.to_string(), key, thread);
}

void HttpServer::State::adopt(UnixProtocol::socket socket, IoThread& thread) {
  if (enter(kUnixPeer, true)) serve(std::move(socket), kUnixPeer, kUnixPeer, thread);
}

void HttpServer::State::serve(Connection::Socket socket, std::string peer, std::string key,
                              IoThread& thread) {
  error_code ignored;
  socket.non_blocking(true, ignored);
  auto connection =
      std::make_shared<Connection>(std::move(socket), std::move(peer), thread, settings,
                                   [this, key = std::move(key)] { leave(key); });
  asio::post(thread.context, [connection] { connection->start(); });
}

bool HttpServer::State::enter(const std::string& key, bool local) {
  const std::lock_guard lock(mutex);
  const size_t limit =
      local ? options.max_connections_per_local_peer : options.max_connections_per_peer;
  size_t& of_peer = peers[key];
  if (of_peer >= limit) return false;
  ++of_peer;
  ++count;
  return true;
}

void HttpServer::State::leave(const std::string& key) {
  {
    const std::lock_guard lock(mutex);
    if (const auto found = peers.find(key); --found->second == 0) peers.erase(found);
    if (count-- == max_connections) {
      asio::post(io.front()->context, [this] { room->cancel(); });
    }
    if (count > 0) return;
  }
  left.notify_all();
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options, Router router) {
  if (Status safe = check_exposure(options.addresses, options.auth); !safe) return safe.error();
  auto state = std::make_unique<State>(std::move(options), std::move(router));
  if (state->max_connections == 0) {
    return Error{ErrorCode::listen_failed, "the process may open too few files; raise ulimit -n"};
  }
  for (const std::string& address : state->options.addresses) {
    if (Status listening = state->listen(address); !listening) return listening.error();
  }
  state->run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

// NOLINTNEXTLINE(bugprone-exception-escape): without memory to post a word, the process ends.
HttpServer::~HttpServer() { state_->stop(); }

const std::vector<std::string>& HttpServer::addresses() const { return state_->addresses; }

size_t HttpServer::connections() const {
  const std::lock_guard lock(state_->mutex);
  return state_->count;
}

uint64_t HttpServer::failed_accepts() const { return state_->failed_accepts; }

bool HttpServer::drain(milliseconds grace) {
  state_->stop_listening();
  state_->for_each_connection([](Connection& connection) { connection.drain(); });
  state_->wait_for_none(grace);
  if (connections() == 0) return true;
  state_->for_each_connection([](Connection& connection) { connection.cancel_for_shutdown(); });
  state_->wait_for_none(state_->options.timeouts.shutdown);
  state_->for_each_connection([](Connection& connection) { connection.close(); });
  std::unique_lock lock(state_->mutex);
  state_->left.wait(lock, [this] { return state_->count == 0; });
  return false;
}

}  // namespace qvl

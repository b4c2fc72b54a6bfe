#pragma once

/// A client on a bare socket, for the tests of the server: it sends what no library would.

#include <arpa/inet.h>
#include <linux/filter.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace qvl {

class TestClient {
 public:
  /// `address` as HttpServer reports it. `receive_bytes`: of the socket's buffer; 0: the system's.
  explicit TestClient(const std::string& address, int receive_bytes = 0) {
    const bool is_unix = address.front() == '/';
    fd_ = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_bytes > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    if (is_unix) {
      sockaddr_un to{.sun_family = AF_UNIX};
      address.copy(to.sun_path, sizeof(to.sun_path) - 1);
      connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
    } else {
      sockaddr_in to{.sin_family = AF_INET};
      to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
      inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
      connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
    }
  }
  ~TestClient() { close(); }
  TestClient(TestClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        input_(std::move(other.input_)) {}

  bool connected() const { return connected_; }
  /// How long it waits for bytes.
  void set_patience(std::chrono::milliseconds patience) { patience_ = patience; }
  int fd() const { return fd_; }

  /// False if the server has closed meanwhile.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  void shutdown_write() { shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  /// Receives nothing any more, not even in the kernel: as if the machine had lost its network.
  void vanish() {
    sock_filter drop_all{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
    const sock_fprog program{.len = 1, .filter = &drop_all};
    setsockopt(fd_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
  }
  void reset() {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close();
  }

  /// Everything up to and with `end`; what came until the connection ended or nothing came for as
  /// long as it waits if `end` is not there.
  std::string read_until(std::string_view end) {
    size_t found = 0;
    while ((found = input_.find(end)) == std::string::npos) {
      if (!receive()) return std::exchange(input_, {});
    }
    std::string result = input_.substr(0, found + end.size());
    input_.erase(0, result.size());
    return result;
  }
  /// Everything until the server closes. `closed()` says whether it did.
  std::string read_all() {
    while (receive()) {
    }
    return std::exchange(input_, {});
  }
  /// One answer with a Content-Length: its head, an empty line and its body.
  std::string read_response() {
    std::string response = read_until("\r\n\r\n");
    const size_t length = response.find("content-length: ");
    if (length == std::string::npos) return response;
    const size_t bytes = std::stoul(response.substr(length + 16));
    while (input_.size() < bytes) {
      if (!receive()) break;
    }
    response += input_.substr(0, bytes);
    input_.erase(0, bytes);
    return response;
  }
  bool closed() const { return closed_; }

  std::string get(const std::string& path) {
    send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return read_response();
  }

 private:
  bool receive() {
    pollfd waits{.fd = fd_, .events = POLLIN};
    if (poll(&waits, 1, static_cast<int>(patience_.count())) != 1) return false;
    char buffer[16 << 10];
    const ssize_t count = recv(fd_, buffer, sizeof(buffer), 0);
    if (count <= 0) {
      closed_ = true;
      return false;
    }
    input_.append(buffer, static_cast<size_t>(count));
    return true;
  }

  int fd_ = -1;
  bool connected_ = false;
  bool closed_ = false;
  std::chrono::milliseconds patience_ = std::chrono::seconds(10);
  std::string input_;
};

/// Waits until `condition` holds; false after a minute.
template <class Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace qvl

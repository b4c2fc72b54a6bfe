#pragma once

/// `qvl serve` beside a test, and a small client for it.

#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "server/http_testing.h"

namespace qvl {

using Json = nlohmann::json;

/// The program with these words behind `serve`, with one thread, on a free port unless they name
/// one.
class ServerProcess {
 public:
  /// Returns when it listens. Its address is empty if it ended instead.
  explicit ServerProcess(const std::vector<std::string>& arguments);
  /// Kills it, unless it has ended.
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }
  /// All that it wrote to standard error so far.
  std::string log() const;
  /// Waits until standard error has this text; false if the program ends before.
  bool has_said(const std::string& text) const;
  bool is_ready() const { return has_said("qvl: ready\n"); }

  void signal(int number) const;
  /// Waits for its end. The exit status, or 128 + signal.
  int wait();

 private:
  pid_t pid_ = -1;
  int status_ = -1;
  std::string address_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string log_;         // guarded by mutex_
  bool has_ended_ = false;  // guarded by mutex_
  std::thread reader_;
};

struct HttpReply {
  int status = 0;  ///< 0: no answer came
  std::string head;
  std::string body;  ///< chunks are joined

  /// The value of a header, its name in lower case; empty if it is not there.
  std::string header(const std::string& name) const;
  Json json() const;
  /// The error object's message, or what the body is instead.
  std::string error() const;
  /// What stands behind "data: " in a stream of events; comments are left out.
  std::vector<std::string> events() const;
};

/// The bytes of a request with a JSON body that ends its connection. `headers`: more lines.
std::string post_bytes(const std::string& path, const std::string& body,
                       const std::string& headers = "");
/// Sends these bytes on a connection of its own and reads until the server closes it.
HttpReply send_bytes(const std::string& address, const std::string& bytes);
HttpReply parse_reply(const std::string& bytes);
HttpReply post(const std::string& address, const std::string& path, const Json& body,
               const std::string& headers = "");
HttpReply get(const std::string& address, const std::string& path, const std::string& headers = "");

/// One user message.
Json chat_body(const Json& content, Json more = Json::object());
Json text_part(const std::string& text);
/// A picture as a data URL.
Json picture_part(const std::string& path);
/// The text of choice `index` of an answer to a chat, a completion, or a stream of either.
std::string answer_text(const HttpReply& reply, int index = 0);

/// /v1/debug/memory says that nothing of any request is left, at once or soon.
bool holds_nothing(const std::string& address);

}  // namespace qvl

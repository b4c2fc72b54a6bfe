#include "server_process.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "openai/base64_testing.h"
#include "program.h"

namespace qvl {
namespace {

constexpr auto kPatience = std::chrono::minutes(5);  // of a client, on a machine that is busy

}  // namespace

ServerProcess::ServerProcess(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{QVL_PROGRAM, "serve"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  if (std::find(words.begin(), words.end(), "--port") == words.end()) {
    words.insert(words.end(), {"--port", "0"});
  }
  // Several threads wait for each other at every operator, which takes very long while other
  // programs have the cores.
  words.insert(words.end(), {"--threads", "1"});
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (pipe(ends) != 0) return;
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed leaves no server behind
    dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    execv(argv[0], argv.data());
    _exit(127);
  }
  ::close(ends[1]);
  reader_ = std::thread([this, end = ends[0]] {
    char buffer[4096];
    ssize_t count = 0;
    while ((count = read(end, buffer, sizeof(buffer))) > 0) {
      const std::lock_guard lock(mutex_);
      log_.append(buffer, static_cast<size_t>(count));
      changed_.notify_all();
    }
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
    changed_.notify_all();
    ::close(end);
  });
  const std::string before = "qvl: listening on ";
  if (!has_said(before)) return;
  const std::string text = log();
  const size_t begin = text.find(before) + before.size();
  address_ = text.substr(begin, text.find(',', begin) - begin);
}

ServerProcess::~ServerProcess() {
  signal(SIGKILL);
  wait();
  if (reader_.joinable()) reader_.join();
}

std::string ServerProcess::log() const {
  const std::lock_guard lock(mutex_);
  return log_;
}

bool ServerProcess::has_said(const std::string& text) const {
  std::unique_lock lock(mutex_);
  const auto has = [&] {
    const size_t found = log_.find(text);
    return found != std::string::npos && log_.find('\n', found) != std::string::npos;
  };
  changed_.wait(lock, [&] { return has_ended_ || has(); });
  return has();
}

void ServerProcess::signal(int number) const {
  if (pid_ > 0 && status_ < 0) kill(pid_, number);
}

int ServerProcess::wait() {
  if (pid_ > 0 && status_ < 0) {
    int raw = 0;
    waitpid(pid_, &raw, 0);
    status_ = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
  }
  return status_;
}

std::string HttpReply::header(const std::string& name) const {
  const size_t found = head.find("\r\n" + name + ": ");
  if (found == std::string::npos) return "";
  const size_t begin = found + name.size() + 4;
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

Json HttpReply::json() const { return Json::parse(body, nullptr, /*allow_exceptions=*/false); }

std::string HttpReply::error() const {
  const Json parsed = json();
  if (!parsed.is_object() || !parsed.contains("error")) return body;
  return parsed["error"].value("message", "");
}

std::vector<std::string> HttpReply::events() const {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < body.size();) {
    const size_t end = std::min(body.find("\n\n", begin), body.size());
    const std::string event = body.substr(begin, end - begin);
    if (event.starts_with("data: ")) out.push_back(event.substr(6));
    begin = end + 2;
  }
  return out;
}

std::string post_bytes(const std::string& path, const std::string& body,
                       const std::string& headers) {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" +
         "Content-Type: application/json\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

HttpReply parse_reply(const std::string& bytes) {
  HttpReply reply;
  const size_t end = bytes.find("\r\n\r\n");
  if (!bytes.starts_with("HTTP/1.1 ") || end == std::string::npos) return reply;
  reply.status = std::stoi(bytes.substr(9, 3));
  reply.head = bytes.substr(0, end + 2);
  if (reply.header("transfer-encoding") != "chunked") {
    reply.body = bytes.substr(end + 4);
    return reply;
  }
  for (size_t at = end + 4; at < bytes.size();) {
    const size_t size = std::stoul(bytes.substr(at, 16), nullptr, 16);
    if (size == 0) break;
    at = bytes.find("\r\n", at) + 2;
    reply.body += bytes.substr(at, size);
    at += size + 2;
  }
  return reply;
}

HttpReply send_bytes(const std::string& address, const std::string& bytes) {
  TestClient client(address);
  client.set_patience(kPatience);
  client.send(bytes);
  return parse_reply(client.read_all());
}

HttpReply post(const std::string& address, const std::string& path, const Json& body,
               const std::string& headers) {
  return send_bytes(address, post_bytes(path, body.dump(), headers));
}

HttpReply get(const std::string& address, const std::string& path, const std::string& headers) {
  return send_bytes(
      address,
      "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers + "\r\n");
}

Json chat_body(const Json& content, Json more) {
  more["messages"] = Json::array({{{"role", "user"}, {"content", content}}});
  return more;
}

Json text_part(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

Json picture_part(const std::string& path) {
  return {{"type", "image_url"},
          {"image_url", {{"url", "data:image/png;base64," + encode_base64(read_all(path))}}}};
}

std::string answer_text(const HttpReply& reply, int index) {
  const auto text_of = [](const Json& choice) {
    const Json& holder = choice.contains("delta")     ? choice["delta"]
                         : choice.contains("message") ? choice["message"]
                                                      : choice;
    const char* const name = choice.contains("text") ? "text" : "content";
    const auto found = holder.find(name);
    return found != holder.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  std::string text;
  const auto add = [&](const Json& body) {
    if (!body.is_object() || !body.contains("choices")) return;
    for (const Json& choice : body["choices"]) {
      if (choice["index"] == index) text += text_of(choice);
    }
  };
  if (reply.header("content-type").starts_with("text/event-stream")) {
    for (const std::string& event : reply.events()) {
      add(Json::parse(event, nullptr, /*allow_exceptions=*/false));
    }
  } else {
    add(reply.json());
  }
  return text;
}

bool holds_nothing(const std::string& address) {
  return eventually([&] {
    const Json memory = get(address, "/v1/debug/memory").json();
    if (!memory.is_object()) return false;
    const Json& requests = memory["requests"];
    return memory["kv_pages"]["owned"] == 0 && memory["feature_rows"]["owned"] == 0 &&
           requests["tickets"] == 0 && requests["answers"] == 0 && requests["running"] == 0 &&
           requests["waiting"] == 0 && requests["prompt_tokens"] == 0 &&
           requests["media_bytes"] == 0;
  });
}

}  // namespace qvl

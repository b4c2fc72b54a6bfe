/// What `qvl serve` refuses, with which status, and what its clients read then.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>

#include "openai/base64_testing.h"
#include "program.h"
#include "server_process.h"

namespace qvl {
namespace {

const std::string kDemo = QVL_SOURCE_DIR "/models/demo";
const std::string kSmall = QVL_SOURCE_DIR "/tests/goldens/media/small.png";
const std::string kChat = "/v1/chat/completions";
const std::string kText = "/v1/completions";
const std::string kKey = "Authorization: Bearer right\r\n";

class ServeErrorsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server() = std::make_unique<ServerProcess>(std::vector<std::string>{
        kDemo, "--max-model-len", "32768", "--max-num-seqs", "1", "--max-num-queued-reqs", "1",
        "--api-key", "right", "--disable-uvicorn-access-log"});
    ASSERT_TRUE(server()->is_ready()) << server()->log();
  }
  static void TearDownTestSuite() { server().reset(); }
  /// Whatever was refused, nothing of it is left and the next request is answered.
  void TearDown() override {
    EXPECT_TRUE(eventually([] {
      const Json memory = get(address(), "/v1/debug/memory", kKey).json();
      return memory.is_object() && memory["requests"]["tickets"] == 0 &&
             memory["kv_pages"]["owned"] == 0;
    }));
    EXPECT_EQ(post(address(), kChat, chat_body("hi", {{"max_tokens", 1}}), kKey).status, 200);
  }

  static const std::string& address() { return server()->address(); }

  /// An error object whose message has `words`; `param` names the field, if it is not empty.
  static void expect_refused(const HttpReply& reply, int status, const std::string& words,
                             const std::string& param = "") {
    SCOPED_TRACE(reply.head + "\n" + reply.body);
    EXPECT_EQ(reply.status, status);
    EXPECT_EQ(reply.header("content-type"), "application/json");
    EXPECT_NE(reply.error().find(words), std::string::npos);
    const Json body = reply.json();
    ASSERT_TRUE(body.contains("error"));
    EXPECT_EQ(body["error"]["code"], status);
    EXPECT_TRUE(body["error"]["type"].is_string());
    if (!param.empty()) {
      EXPECT_EQ(body["error"]["param"], param);
    }
  }
  static void expect_refused(const std::string& path, const Json& body, int status,
                             const std::string& words, const std::string& param = "") {
    expect_refused(post(address(), path, body, kKey), status, words, param);
  }

  static std::unique_ptr<ServerProcess>& server() {
    static std::unique_ptr<ServerProcess> one;
    return one;
  }
};

TEST_F(ServeErrorsTest, BodiesThatAreNoRequestAre400) {
  expect_refused(send_bytes(address(), post_bytes(kChat, "{\"messages\": [", kKey)), 400, "JSON");
  expect_refused(send_bytes(address(), post_bytes(kChat, "[]", kKey)), 400, "object");
  expect_refused(send_bytes(address(), post_bytes(kChat, "", kKey)), 400, "JSON");
  expect_refused(kChat, Json::object(), 400, "messages", "messages");
  expect_refused(kText, Json::object(), 400, "prompt", "prompt");
  expect_refused(kChat, chat_body("hi", {{"temperature", "hot"}}), 400, "a number", "temperature");
  expect_refused(kChat, chat_body("hi", {{"temperature", -1}}), 400, "0 to 2", "temperature");
  expect_refused(kChat, chat_body("hi", {{"n", 9}}), 400, "1 to 8", "n");
  expect_refused("/detokenize", {{"tokens", {-1}}}, 400, "ids", "tokens");
}

TEST_F(ServeErrorsTest, WhatDoesNotFitTheContextIs400WithTheArithmetic) {
  expect_refused(kChat, chat_body("hi", {{"max_tokens", 50000}}), 400, "maximum context length",
                 "messages");
  std::string words;
  for (int i = 0; i < 40000; ++i) words += "word ";
  expect_refused(kText, {{"prompt", words}}, 400, "maximum context length", "prompt");
  expect_refused(kText, {{"prompt", words}}, 400, "expected at most 32768");
}

TEST_F(ServeErrorsTest, PicturesThatCannotBeReadAre400AndNameTheirPart) {
  const std::string whole = read_all(kSmall);
  const std::string part = "messages[0].content[0]";
  const auto refused = [&](const std::string& url, const std::string& words) {
    const Json picture = {{"type", "image_url"}, {"image_url", {{"url", url}}}};
    expect_refused(kChat, chat_body({picture, text_part("?")}), 400, words, part);
  };
  const std::string head = "data:image/png;base64,";
  refused(head + encode_base64("no picture"), "");
  refused(head + encode_base64(whole.substr(0, whole.size() / 2)), "decoded");
  refused(head + encode_base64(whole.substr(0, 30)), "");
  refused(head, "");
  refused(head + "%%%", "base64");
  refused("data:image/png," + encode_base64(whole), "base64");
  refused("http://example.com/x.png", "addresses on the network are not read");
  refused("https://example.com/x.png", "addresses on the network are not read");
  refused("file:///etc/passwd", "files of the server are not read");
  refused("data:application/pdf;base64," + encode_base64("%PDF-1.4"), "application/pdf");
}

TEST_F(ServeErrorsTest, WhatIsNotSupportedYetIs400AndNamed) {
  const Json tool = {{"type", "function"}, {"function", {{"name", "f"}}}};
  expect_refused(kChat, chat_body("hi", {{"tools", Json::array({tool})}}), 400, "", "tools");
  expect_refused(kChat, chat_body("hi", {{"response_format", {{"type", "json_object"}}}}), 400, "",
                 "response_format");
  expect_refused(kText, {{"prompt", "abc"}, {"echo", true}, {"logprobs", 1}}, 400,
                 "prompts have no log probabilities", "echo");
  for (const char* type : {"video_url", "input_audio", "file"}) {
    expect_refused(kChat, chat_body(Json::array({{{"type", type}}})), 400, "");
  }
}

TEST_F(ServeErrorsTest, AnUnknownModelIs404AndTheServedOneIsNamed) {
  for (const char* path : {"/v1/chat/completions", "/v1/completions"}) {
    Json body = chat_body("hi", {{"model", "gpt-4o"}});
    if (path == kText) body = {{"prompt", "hi"}, {"model", "gpt-4o"}};
    expect_refused(path, body, 404, "gpt-4o", "model");
    expect_refused(path, body, 404, "models/demo", "model");
  }
}

TEST_F(ServeErrorsTest, UnknownPathsAre404AndOtherMethods405) {
  expect_refused(get(address(), "/v1/nothing", kKey), 404, "no such path");
  const HttpReply reply = get(address(), kChat, kKey);
  expect_refused(reply, 405, "POST");
  EXPECT_NE(reply.header("allow").find("POST"), std::string::npos);
}

TEST_F(ServeErrorsTest, ABodyThatIsNotJsonIs415) {
  const std::string bytes = "POST " + kChat + " HTTP/1.1\r\nHost: localhost\r\n" + kKey +
                            "Connection: close\r\nContent-Type: text/plain\r\n"
                            "Content-Length: 2\r\n\r\n{}";
  expect_refused(send_bytes(address(), bytes), 415, "application/json");
}

TEST_F(ServeErrorsTest, ABodyThatIsTooLargeIs413BeforeItIsSent) {
  const std::string bytes = "POST " + kChat + " HTTP/1.1\r\nHost: localhost\r\n" + kKey +
                            "Content-Type: application/json\r\n"
                            "Content-Length: 99999999999\r\n\r\n";
  expect_refused(send_bytes(address(), bytes), 413, "");
}

TEST_F(ServeErrorsTest, WithoutTheKeyEveryRouteButHealthIs401) {
  for (const char* path : {"/v1/models", "/metrics", "/v1/debug/memory", "/version"}) {
    for (const char* header : {"", "Authorization: Bearer wrong\r\n", "Authorization: right\r\n",
                               "X-Api-Key: righ\r\n", "Authorization: Bearer \r\n"}) {
      const HttpReply reply = get(address(), path, header);
      expect_refused(reply, 401, "key");
      EXPECT_EQ(reply.header("www-authenticate"), "Bearer");
    }
    EXPECT_EQ(get(address(), path, kKey).status, 200) << path;
    EXPECT_EQ(get(address(), path, "X-Api-Key: right\r\n").status, 200) << path;
  }
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"}) {
    expect_refused(post(address(), path, Json::object()), 401, "key");
  }
  EXPECT_EQ(get(address(), "/health").status, 200);
}

TEST_F(ServeErrorsTest, ForeignHostsAndOriginsAreRefused) {
  EXPECT_EQ(send_bytes(address(),
                       "GET /health HTTP/1.1\r\nHost: evil.example\r\n"
                       "Connection: close\r\n\r\n")
                .status,
            400);
  EXPECT_EQ(get(address(), "/v1/models", kKey + "Origin: http://evil.example\r\n").status, 403);
}

/// A stream that nobody reads: it pauses when the buffers are full and never ends.
class OpenStream {
 public:
  explicit OpenStream(const std::string& address) : client_(address, /*receive_bytes=*/4096) {
    const Json body =
        chat_body("go on", {{"stream", true}, {"ignore_eos", true}, {"max_tokens", 30000}});
    client_.send(post_bytes(kChat, body.dump(), kKey));
  }

 private:
  TestClient client_;
};

Json requests(const std::string& address) {
  const Json memory = get(address, "/v1/debug/memory", kKey).json();
  return memory.is_object() ? memory["requests"] : Json::object();
}

TEST_F(ServeErrorsTest, WhoComesWhenTheQueueIsFullGets429AndATime) {
  OpenStream running(address());
  ASSERT_TRUE(eventually([&] { return requests(address())["running"] == 1; }));
  OpenStream waiting(address());
  ASSERT_TRUE(eventually([&] { return requests(address())["answers"] == 2; }));
  const HttpReply reply = post(address(), kChat, chat_body("hi"), kKey);
  expect_refused(reply, 429, "too many requests");
  expect_refused("/tokenize", {{"prompt", "hi"}}, 429, "too many requests");
  expect_refused("/detokenize", {{"tokens", {1}}}, 429, "too many requests");
  ASSERT_FALSE(reply.header("retry-after").empty());
  EXPECT_GE(std::stoi(reply.header("retry-after")), 1);
  EXPECT_LE(std::stoi(reply.header("retry-after")), 60);
  EXPECT_EQ(get(address(), "/health").status, 200);
}

TEST_F(ServeErrorsTest, WhatCouldNeverBeQueuedIsNotToldToTryAgain) {
  // Two places: a request for three answers never finds them.
  const std::string words = "found 3 answers, expected at most 2: all that the queue takes";
  expect_refused(kChat, chat_body("hi", {{"n", 3}, {"max_tokens", 1}}), 400, words);
  expect_refused(kText, {{"prompt", {"a", "b", "c"}}, {"max_tokens", 1}}, 400, words);
  EXPECT_EQ(post(address(), kChat, chat_body("hi", {{"n", 2}, {"max_tokens", 1}}), kKey).status,
            200);
}

TEST(ServeQueue, TokensAndPicturesThatItNeverTakesAre400WithTheArithmetic) {
  const ServerProcess server({kDemo, "--max-num-queued-tokens", "40", "--max-media-bytes", "1000",
                              "--disable-uvicorn-access-log"});
  ASSERT_TRUE(server.is_ready()) << server.log();
  const auto refused = [&](const std::string& path, const Json& body, const std::string& words) {
    const HttpReply reply = post(server.address(), path, body);
    EXPECT_EQ(reply.status, 400) << reply.body;
    EXPECT_NE(reply.error().find(words), std::string::npos) << reply.error();
  };
  std::string words;
  for (int i = 0; i < 50; ++i) words += "word ";
  const std::string tokens = " prompt tokens, expected at most 40: all that the queue takes";
  refused(kText, {{"prompt", words}}, tokens);
  refused(kChat, chat_body(words), tokens);
  refused(kText, {{"prompt", {"one two three", words}}}, tokens);
  refused(kChat, chat_body(Json::array({picture_part(kSmall)})), ": all that the queue takes");
  EXPECT_EQ(post(server.address(), kChat, chat_body("hi", {{"max_tokens", 1}})).status, 200);
  EXPECT_TRUE(holds_nothing(server.address()));
}

/// The program with a standard error that takes only a few lines: it stops where it would say how
/// large the model is, which is after it listens and before it is ready.
TEST(ServeLoading, ARequestThatComesBeforeTheModelIsReadyGets503) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
  const std::string filling(3700, '.');
  ASSERT_EQ(write(ends[1], filling.data(), filling.size()), 3700);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    execl(QVL_PROGRAM, QVL_PROGRAM, "serve", kDemo.c_str(), "--port", "0",
          "--disable-uvicorn-access-log", nullptr);
    _exit(127);
  }
  close(ends[1]);
  // All but the last byte: the pipe keeps its page until that one is read too.
  std::string text;
  ASSERT_TRUE(eventually([&] {
    int count = 0;
    if (ioctl(ends[0], FIONREAD, &count) != 0 || count < 2) return false;
    std::string more(static_cast<size_t>(count - 1), '\0');
    text += more.substr(0, static_cast<size_t>(read(ends[0], more.data(), more.size())));
    return text.find("loading") != std::string::npos;
  })) << text;
  const size_t begin = text.find("listening on ") + 13;
  const std::string address = text.substr(begin, text.find(',', begin) - begin);

  for (const auto& reply : {post(address, kChat, chat_body("hi")), get(address, "/health")}) {
    EXPECT_EQ(reply.status, 503) << reply.body;
    EXPECT_NE(reply.error().find("loading"), std::string::npos) << reply.error();
    EXPECT_FALSE(reply.header("retry-after").empty());
  }
  EXPECT_EQ(get(address, "/live").status, 200);

  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  char buffer[4096];
  EXPECT_TRUE(eventually([&] {
    while (read(ends[0], buffer, sizeof(buffer)) > 0) {
    }
    return get(address, "/health").status == 200;
  }));
  EXPECT_EQ(post(address, kChat, chat_body("hi", {{"max_tokens", 1}})).status, 200);
  kill(pid, SIGTERM);
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  close(ends[0]);
}

TEST(ServeStart, AnOpenAddressWithoutAKeyIsRefused) {
  const Outcome outcome = qvl_program({"serve", kDemo, "--host", "0.0.0.0", "--port", "0"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.err.find("--api-key"), std::string::npos) << outcome.err;
}

TEST(ServeStart, APortThatIsTakenIsSaidInOneLine) {
  const ServerProcess first({kDemo});
  ASSERT_TRUE(first.is_ready());
  const std::string port = first.address().substr(first.address().find(':') + 1);
  const Outcome second = qvl_program({"serve", kDemo, "--port", port});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.err.find("another --host or --port"), std::string::npos) << second.err;
}

}  // namespace
}  // namespace qvl

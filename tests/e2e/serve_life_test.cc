/// Clients that leave `qvl serve` in every phase of a request, and the end of the server itself.

#include <gtest/gtest.h>

#include <csignal>
#include <memory>

#include "program.h"
#include "server_process.h"

namespace qvl {
namespace {

const std::string kDemo = QVL_SOURCE_DIR "/models/demo";
const std::string kMedia = QVL_SOURCE_DIR "/tests/goldens/media/";
const std::string kChat = "/v1/chat/completions";

class ServeLifeTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.is_ready()) << server_.log(); }
  const std::string& address() const { return server_.address(); }

  Json memory() const { return get(address(), "/v1/debug/memory").json(); }
  /// Waits until /v1/debug/memory has this of some request.
  template <class Condition>
  bool reaches(Condition condition) const {
    return eventually([&] {
      const Json now = memory();
      return now.is_object() && condition(now);
    });
  }
  static std::string stream_bytes(int max_tokens) {
    return post_bytes(kChat, chat_body("go on", {{"stream", true},
                                                 {"ignore_eos", true},
                                                 {"temperature", 0},
                                                 {"max_tokens", max_tokens}})
                                 .dump());
  }

  ServerProcess server_{{kDemo, "--max-model-len", "32768", "--max-num-batched-tokens", "64",
                         "--shutdown-timeout", "600", "--disable-uvicorn-access-log"}};
};

TEST_F(ServeLifeTest, AClientThatLeavesInAnyPhaseLeavesNothingBehind) {
  using Leave = void (TestClient::*)();
  const std::string whole = stream_bytes(30000);
  const std::string body_begin = whole.substr(0, whole.find("\r\n\r\n") + 10);

  Json pictures = Json::array();
  for (int i = 0; i < 16; ++i) pictures.push_back(picture_part(kMedia + "card.png"));
  pictures.push_back(text_part("?"));
  const std::string preparing = post_bytes(kChat, chat_body(pictures).dump());

  std::string words;
  for (int i = 0; i < 4000; ++i) words += "w" + std::to_string(i) + " ";
  const std::string prefill = post_bytes("/v1/completions", Json{{"prompt", words}}.dump());

  for (const Leave leave : {&TestClient::close, &TestClient::reset}) {
    {
      TestClient client(address());
      client.send("POST /v1/chat/compl");
      (client.*leave)();
    }
    {
      TestClient client(address());
      client.send(body_begin);
      (client.*leave)();
    }
    EXPECT_TRUE(holds_nothing(address())) << memory();
    {
      TestClient client(address());
      client.send(preparing);
      EXPECT_TRUE(reaches([](const Json& now) { return now["requests"]["tickets"] == 1; }));
      (client.*leave)();
      EXPECT_TRUE(holds_nothing(address())) << memory();
    }
    {
      TestClient client(address());
      client.send(prefill);
      EXPECT_TRUE(reaches([](const Json& now) { return now["kv_pages"]["owned"] > 0; }));
      (client.*leave)();
      EXPECT_TRUE(holds_nothing(address())) << memory();
    }
    {
      TestClient client(address());
      client.send(whole);
      EXPECT_NE(client.read_until("\"content\":\"\""), "");
      EXPECT_NE(client.read_until("\"content\":"), "");
      EXPECT_TRUE(reaches([](const Json& now) { return now["requests"]["running"] == 1; }));
      (client.*leave)();
      EXPECT_TRUE(holds_nothing(address())) << memory();
    }
  }
  EXPECT_EQ(post(address(), kChat, chat_body("hi", {{"max_tokens", 1}})).status, 200);
}

TEST_F(ServeLifeTest, OneOfManyStreamsThatLeavesDoesNotTouchTheOthers) {
  const HttpReply alone = send_bytes(address(), stream_bytes(200));
  TestClient leaves(address(), /*receive_bytes=*/4096);
  TestClient stays(address());
  stays.set_patience(std::chrono::minutes(5));
  leaves.send(stream_bytes(30000));
  stays.send(stream_bytes(200));
  leaves.read_until("\"content\":\"\"");
  leaves.reset();
  EXPECT_EQ(answer_text(parse_reply(stays.read_all())), answer_text(alone));
  EXPECT_TRUE(holds_nothing(address()));
}

TEST_F(ServeLifeTest, SigtermLetsStreamsEndAndTakesNothingNew) {
  const HttpReply alone = send_bytes(address(), stream_bytes(2000));
  // It reads slowly: the server must wait for it.
  TestClient stream(address(), /*receive_bytes=*/4096);
  stream.set_patience(std::chrono::minutes(5));
  stream.send(stream_bytes(2000));
  std::string answer = stream.read_until("\"assistant\"");
  const std::string late = post_bytes(kChat, chat_body("hi", {{"max_tokens", 1}}).dump());
  TestClient half(address());
  half.send(late.substr(0, late.size() - 5));
  // A request of a third client says that the half one before it has been taken by its thread.
  ASSERT_EQ(get(address(), "/live").status, 200);

  server_.signal(SIGTERM);
  ASSERT_TRUE(server_.has_said("draining"));
  EXPECT_TRUE(eventually([&] { return !TestClient(address()).connected(); }));
  half.send(late.substr(late.size() - 5));
  const HttpReply refused = parse_reply(half.read_all());
  EXPECT_EQ(refused.status, 503) << refused.body;
  EXPECT_NE(refused.error().find("draining"), std::string::npos) << refused.error();

  answer += stream.read_all();
  const HttpReply reply = parse_reply(answer);
  EXPECT_EQ(reply.events().back(), "[DONE]");
  EXPECT_EQ(answer_text(reply), answer_text(alone));
  EXPECT_EQ(server_.wait(), 0);
  EXPECT_TRUE(server_.has_said("all answers were complete")) << server_.log();
}

TEST(ServeDrain, AStreamThatOutlivesTheGraceIsCutWithAWordAndTheEndIsQuiet) {
  ServerProcess server({kDemo, "--max-model-len", "32768", "--shutdown-timeout", "0.2"});
  ASSERT_TRUE(server.is_ready()) << server.log();
  TestClient stream(server.address());
  stream.set_patience(std::chrono::minutes(5));
  const Json body = chat_body(
      "go on", {{"stream", true}, {"ignore_eos", true}, {"temperature", 0}, {"max_tokens", 30000}});
  stream.send(post_bytes(kChat, body.dump()));
  std::string answer = stream.read_until("\"assistant\"");
  server.signal(SIGINT);
  answer += stream.read_all();
  EXPECT_NE(answer.find("\"error\""), std::string::npos) << answer.substr(answer.size() - 500);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_TRUE(server.has_said("some answers were cut")) << server.log();
}

}  // namespace
}  // namespace qvl

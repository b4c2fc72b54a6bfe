/// Two hundred requests to `qvl serve`, alone and many at once: every answer has the same text.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>

#include "program.h"
#include "server_process.h"

namespace qvl {
namespace {

const std::string kTiny = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
const std::string kDemo = QVL_SOURCE_DIR "/models/demo";
const std::string kMedia = QVL_SOURCE_DIR "/tests/goldens/media/";
const std::string kBench = QVL_SOURCE_DIR "/tests/synocrbench/";

/// One request of a kind: its route and body.
struct Asked {
  std::string path;
  Json body;
};

/// Chats with and without pictures, completions, greedy and sampled, whole and streamed.
std::vector<Asked> two_hundred() {
  const auto records = Json::parse(read_all(kBench + "OCRBench.json"));
  std::vector<Asked> all;
  for (int i = 0; i < 200; ++i) {
    Json more = {{"max_tokens", 8 + i % 17}, {"seed", i}, {"temperature", i % 3 == 0 ? 0.0 : 0.9}};
    more["stream"] = i % 4 == 1;
    if (i % 2 == 0) {
      const Json& record = records[static_cast<size_t>(i) % records.size()];
      const std::string path =
          i % 10 == 0 ? kMedia + "small.png"
                      : kBench + "OCRBench_Images/" + record["image_path"].get<std::string>();
      const std::string question = record["question"];
      all.push_back(
          {"/v1/chat/completions", chat_body({picture_part(path), text_part(question)}, more)});
    } else if (i % 3 == 0) {
      more["prompt"] = fmt::format("请解释什么是人工智能。第{}次请求。", i);
      more["ignore_eos"] = true;
      all.push_back({"/v1/completions", more});
    } else {
      all.push_back({"/v1/chat/completions", chat_body(fmt::format("question {}", i), more)});
    }
  }
  return all;
}

/// The answers, asked by `clients` threads, each with one request at a time.
std::vector<std::string> answers(const std::string& address, const std::vector<Asked>& asked,
                                 int clients) {
  std::vector<std::string> texts(asked.size());
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(clients));
  for (int t = 0; t < clients; ++t) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < asked.size(); i = next++) {
        const HttpReply reply = post(address, asked[i].path, asked[i].body);
        texts[i] = reply.status == 200 ? answer_text(reply)
                                       : fmt::format("status {}: {}", reply.status, reply.body);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return texts;
}

class ServeLoadTest : public testing::TestWithParam<std::string> {};

TEST_P(ServeLoadTest, AnswersAreTheSameAloneAndInAnyCompany) {
  const ServerProcess server({GetParam(), "--max-model-len", "1024", "--max-num-seqs", "16",
                              "--disable-uvicorn-access-log"});
  ASSERT_TRUE(server.is_ready()) << server.log();
  const std::vector<Asked> asked = two_hundred();
  const std::vector<std::string> alone = answers(server.address(), asked, 1);
  size_t with_text = 0;
  for (const std::string& text : alone) {
    EXPECT_FALSE(text.starts_with("status ")) << text;
    with_text += text.empty() ? 0 : 1;
  }
  EXPECT_GE(with_text, 190U);
  for (const int clients : {8, 64}) {
    const std::vector<std::string> together = answers(server.address(), asked, clients);
    for (size_t i = 0; i < asked.size(); ++i) {
      EXPECT_EQ(together[i], alone[i]) << "request " << i << ", " << clients << " clients";
    }
  }
  EXPECT_TRUE(holds_nothing(server.address()));
}

INSTANTIATE_TEST_SUITE_P(Models, ServeLoadTest, testing::Values(kDemo, kTiny),
                         [](const auto& test) { return test.param == kDemo ? "Demo" : "Tiny2b"; });

}  // namespace
}  // namespace qvl

/// `qvl run --batch` as a user meets it: equal answers, bad lines, and runs that end early.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "openai/base64_testing.h"
#include "program.h"

namespace qvl {
namespace {

using Json = nlohmann::json;

const std::string kTiny = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
const std::string kDemo = QVL_SOURCE_DIR "/models/demo";
const std::string kMedia = QVL_SOURCE_DIR "/tests/goldens/media/";
const std::string kBench = QVL_SOURCE_DIR "/tests/synocrbench/";

Json chat_line(const std::string& id, const Json& content, Json body) {
  body["messages"] = Json::array({{{"role", "user"}, {"content", content}}});
  return {{"custom_id", id}, {"method", "POST"}, {"url", "/v1/chat/completions"}, {"body", body}};
}

Json picture(const std::string& path) {
  return {{"type", "image_url"},
          {"image_url", {{"url", "data:image/png;base64," + encode_base64(read_all(path))}}}};
}

Json text(const std::string& words) { return {{"type", "text"}, {"text", words}}; }

class BatchTest : public testing::Test {
 protected:
  void add(const Json& line) { requests_ += line.dump() + "\n"; }
  void add_raw(const std::string& line) { requests_ += line + "\n"; }

  std::vector<std::string> arguments(const std::string& model) {
    write_all(input_, requests_);
    return {"run",     model,     "--batch",         input_, "-o", output_,
            "--dtype", "float32", "--max-model-len", "2048"};
  }
  Outcome run(const std::string& model, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = arguments(model);
    all.insert(all.end(), more.begin(), more.end());
    return qvl_program(all);
  }

  std::vector<Json> lines() {
    std::vector<Json> out;
    std::istringstream file(read_all(output_));
    for (std::string line; std::getline(file, line);) out.push_back(Json::parse(line));
    return out;
  }
  /// The texts of the answers by id; an id with two lines is an error.
  std::map<std::string, std::string> answers() {
    std::map<std::string, std::string> out;
    for (const Json& line : lines()) {
      if (!line["response"].is_object() || line["response"]["status_code"] != 200) continue;
      const Json& choice = line["response"]["body"]["choices"][0];
      const Json& answer = choice.contains("text") ? choice["text"] : choice["message"]["content"];
      EXPECT_TRUE(out.emplace(line["custom_id"], answer).second) << line["custom_id"];
    }
    return out;
  }

  const TemporaryFolder folder_;
  const std::string input_ = folder_.path() + "/requests.jsonl";
  const std::string output_ = folder_.path() + "/answers.jsonl";
  std::string requests_;
};

/// A batch that runs beside the test.
class RunningBatch {
 public:
  explicit RunningBatch(const std::vector<std::string>& arguments, const std::string& errors)
      : pid_(fork()) {
    if (pid_ != 0) return;
    std::vector<char*> words;
    std::string program = QVL_PROGRAM;
    words.push_back(program.data());
    std::vector<std::string> copies = arguments;
    for (std::string& word : copies) words.push_back(word.data());
    words.push_back(nullptr);
    if (std::freopen(errors.c_str(), "w", stderr) != nullptr) execv(words[0], words.data());
    _exit(127);
  }
  RunningBatch(const RunningBatch&) = delete;
  RunningBatch& operator=(const RunningBatch&) = delete;

  /// Waits until the file has some lines; false if the program ends before.
  bool has_written(const std::string& path, int64_t lines) {
    while (true) {
      const std::string bytes = read_all(path);
      if (std::count(bytes.begin(), bytes.end(), '\n') >= lines) return true;
      if (waitpid(pid_, &status_, WNOHANG) == pid_) return false;
      usleep(2000);
    }
  }
  /// The exit status, or 128 + signal.
  int end(int signal) {
    kill(pid_, signal);
    waitpid(pid_, &status_, 0);
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }

 private:
  pid_t pid_;
  int status_ = 0;
};

TEST_F(BatchTest, GivesTheReferencesAnswers) {
  std::map<std::string, std::string> expected;
  const auto reference = Json::parse(read_all(kTiny + "/cases/image-small/case.json"));
  for (int i = 0; i < 5; ++i) {
    const std::string id = fmt::format("picture {}", i);
    add(chat_line(id, {picture(kMedia + "small.png"), text("What is this?")},
                  {{"temperature", 0}, {"max_tokens", 24}}));
    expected[id] = reference["greedy_text"];
  }
  const Outcome outcome = run(kTiny);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(answers(), expected);
  EXPECT_NE(outcome.err.find("5 requests: 5 answered, 0 errors"), std::string::npos) << outcome.err;
}

TEST_F(BatchTest, ItsAnswersAreThoseOfSingleRuns) {
  const auto records = Json::parse(read_all(kBench + "OCRBench.json"));
  std::map<std::string, std::string> expected;
  for (size_t i = 0; i < 6; ++i) {
    const std::string path =
        kBench + "OCRBench_Images/" + records[i * 15]["image_path"].get<std::string>();
    const std::string question = records[i * 15]["question"];
    const std::string id = std::to_string(i);
    add(chat_line(id, {picture(path), text(question)},
                  {{"temperature", 0.8}, {"top_k", 20}, {"seed", i}, {"max_tokens", 20}}));
    const Outcome single =
        qvl_program({"run", kDemo, path, question, "--temperature", "0.8", "--top-k", "20",
                     "--seed", id, "--max-tokens", "20", "--dtype", "float32", "--json"});
    expected[id] = Json::parse(single.out)["answer"];
  }
  for (const char* at_once : {"1", "4"}) {
    for (const char* step : {"16", "700"}) {
      write_all(output_, "");
      const Outcome outcome =
          run(kDemo, {"--max-num-seqs", at_once, "--max-num-batched-tokens", step});
      EXPECT_EQ(outcome.status, 0) << outcome.err;
      EXPECT_EQ(answers(), expected) << at_once << " at once, " << step << " tokens a step";
    }
  }
}

TEST_F(BatchTest, AnswersHaveTheirRequestsShape) {
  add(chat_line("chat", "hi", {{"max_tokens", 3}, {"n", 2}, {"logprobs", true}}));
  add({{"custom_id", "text"},
       {"method", "POST"},
       {"url", "/v1/completions"},
       {"body", {{"prompt", {"a", "b"}}, {"max_tokens", 2}, {"stream", true}}}});
  ASSERT_EQ(run(kTiny).status, 0);
  std::map<std::string, Json> bodies;
  for (const Json& line : lines()) bodies[line["custom_id"]] = line["response"]["body"];
  EXPECT_EQ(bodies["chat"]["object"], "chat.completion");
  EXPECT_EQ(bodies["chat"]["model"], "tiny-2b");
  EXPECT_EQ(bodies["chat"]["choices"].size(), 2);
  EXPECT_EQ(bodies["chat"]["choices"][1]["logprobs"]["content"].size(), 3);
  EXPECT_EQ(bodies["chat"]["usage"]["completion_tokens"], 6);
  EXPECT_EQ(bodies["text"]["object"], "text_completion");
  EXPECT_EQ(bodies["text"]["choices"].size(), 2);
  EXPECT_EQ(bodies["text"]["choices"][1]["index"], 1);
}

TEST_F(BatchTest, ABadLineBecomesALineWithItsError) {
  add(chat_line("good", "hi", {{"max_tokens", 2}}));
  add_raw("no JSON");
  add_raw("");
  add(chat_line("good", "hi", {{"max_tokens", 2}}));
  add(chat_line("hot", "hi", {{"temperature", 9}}));
  add(chat_line("other model", "hi", {{"model", "gpt"}}));
  add(chat_line("long", "hi", {{"max_tokens", 5000}}));
  add(chat_line("address", {{{"type", "image_url"}, {"image_url", {{"url", "http://x/y.png"}}}}},
                Json::object()));
  add_raw(R"({"custom_id": "big", "x": ")" + std::string(65 << 20, 'x') + "\"}");
  add({{"custom_id", "where"}, {"method", "POST"}, {"url", "/v1/embeddings"}});
  const Outcome outcome = run(kTiny);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("9 requests: 1 answered, 8 errors"), std::string::npos) << outcome.err;

  std::map<std::string, int> statuses;
  std::map<int, std::string> bad_lines;
  for (const Json& line : lines()) {
    if (line["response"].is_object()) {
      const int status = line["response"]["status_code"];
      statuses[line["custom_id"]] = status;
      EXPECT_EQ(status != 200, line["response"]["body"].contains("error"));
    } else {
      bad_lines[line["error"]["line"]] = line["error"]["message"];
    }
  }
  EXPECT_EQ(
      statuses,
      (std::map<std::string, int>{
          {"good", 200}, {"hot", 400}, {"other model", 404}, {"long", 400}, {"address", 400}}));
  ASSERT_EQ(bad_lines.size(), 4);
  EXPECT_NE(bad_lines[2].find("JSON: syntax error near byte 2"), std::string::npos);
  EXPECT_NE(bad_lines[4].find("found it in an earlier line too"), std::string::npos);
  EXPECT_NE(bad_lines[9].find("found a line of more than 67108864 bytes"), std::string::npos);
  EXPECT_NE(bad_lines[10].find("/v1/embeddings"), std::string::npos);

  const std::string first = read_all(output_);
  const Outcome again = run(kTiny);
  EXPECT_EQ(again.status, 0);
  EXPECT_NE(again.err.find("9 requests: 0 answered, 0 errors, 9 done before"), std::string::npos)
      << again.err;
  EXPECT_EQ(read_all(output_), first);
}

/// Requests that take a while, and their answers by an undisturbed run.
class LongBatchTest : public BatchTest {
 protected:
  void SetUp() override {
    for (int i = 0; i < 12; ++i) {
      add(chat_line(std::to_string(i), fmt::format("question {}", i),
                    {{"temperature", 1}, {"seed", i}, {"max_tokens", 60}, {"ignore_eos", true}}));
    }
    ASSERT_EQ(run(kTiny).status, 0);
    expected_ = answers();
    ASSERT_EQ(expected_.size(), 12);
    write_all(output_, "");
  }

  std::vector<std::string> two_at_once() {
    std::vector<std::string> all = arguments(kTiny);
    all.insert(all.end(), {"--max-num-seqs", "2"});
    return all;
  }

  std::map<std::string, std::string> expected_;
};

TEST_F(LongBatchTest, AKilledRunGoesOnWhereItWas) {
  RunningBatch killed(two_at_once(), folder_.path() + "/err");
  ASSERT_TRUE(killed.has_written(output_, 3));
  EXPECT_EQ(killed.end(SIGKILL), 128 + SIGKILL);
  const size_t done = answers().size();
  EXPECT_LT(done, 12);
  const std::string kept = read_all(output_);
  write_all(output_, kept + R"({"id":"batch_req_0123456789","custom_id":"11","respo)");

  const Outcome outcome = run(kTiny);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find(
                fmt::format("12 requests: {} answered, 0 errors, {} done before", 12 - done, done)),
            std::string::npos)
      << outcome.err;
  EXPECT_TRUE(read_all(output_).starts_with(kept));
  EXPECT_EQ(answers(), expected_);
}

TEST_F(LongBatchTest, CtrlCKeepsWhatIsDoneAndSaysHowToGoOn) {
  RunningBatch stopped(two_at_once(), folder_.path() + "/err");
  ASSERT_TRUE(stopped.has_written(output_, 2));
  EXPECT_EQ(stopped.end(SIGINT), 130);
  const std::string message = read_all(folder_.path() + "/err");
  const size_t done = answers().size();
  EXPECT_LT(done, 12);
  EXPECT_NE(message.find(fmt::format("stopped with {} requests left; the same command goes on "
                                     "where this one ended",
                                     12 - done)),
            std::string::npos)
      << message;
  EXPECT_EQ(run(kTiny).status, 0);
  EXPECT_EQ(answers(), expected_);
}

TEST_F(BatchTest, WhatCannotBeRunIsSaidInOneLine) {
  add(chat_line("a", "hi", Json::object()));
  write_all(input_, requests_);
  const auto complaint = [](const std::vector<std::string>& arguments) {
    const Outcome outcome = qvl_program(arguments);
    EXPECT_NE(outcome.status, 0);
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    return outcome.err;
  };
  EXPECT_NE(complaint({"run", kTiny, "--batch", input_}).find("--output"), std::string::npos);
  EXPECT_NE(complaint({"run", kTiny, "hi", "-o", output_}).find("--batch"), std::string::npos);
  EXPECT_NE(complaint({"run", kTiny, "hi", "--batch", input_, "-o", output_}).find("--batch"),
            std::string::npos);
  EXPECT_NE(complaint({"run", kTiny, "--batch", input_, "-o", input_}).find("the same file"),
            std::string::npos);
  EXPECT_NE(complaint({"run", kTiny, "--batch", "/none", "-o", output_}).find("no such file"),
            std::string::npos);
  write_all(output_, "my thesis\n");
  EXPECT_NE(complaint({"run", kTiny, "--batch", input_, "-o", output_}).find("line 1 is not"),
            std::string::npos);
  EXPECT_EQ(read_all(output_), "my thesis\n");
}

}  // namespace
}  // namespace qvl

/// Models by the names that users give them, and what the program says of models and machines.

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "program.h"
#include "published/published_checkpoint.h"

namespace qvl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kModel = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
const std::string kCommit = "89c86200743eec961a297729e7990e8f2ddbc4c5";
const std::string kId = "Qwen/Qwen3-VL-Tiny-Instruct";

/// A Hugging Face cache that holds the tiny reference model under kId.
class Cache : public testing::Test {
 protected:
  Cache() {
    const fs::path root = hub() / "models--Qwen--Qwen3-VL-Tiny-Instruct";
    const fs::path snapshot = root / "snapshots" / kCommit;
    fs::create_directories(snapshot);
    fs::create_directories(root / "blobs");
    fs::create_directories(root / "refs");
    write_all((root / "refs" / "main").string(), kCommit);
    for (const auto& entry : fs::directory_iterator(kModel)) {
      if (!entry.is_regular_file()) continue;
      const std::string name = entry.path().filename().string();
      fs::copy_file(entry.path(), root / "blobs" / ("blob-" + name));
      fs::create_symlink("../../blobs/blob-" + name, snapshot / name);
    }
  }

  fs::path hub() const { return fs::path(folder_.path()) / "hub"; }
  Outcome qvl(std::vector<std::string> arguments) const {
    return qvl_program(arguments,
                       {"HF_HOME=" + folder_.path(), "HF_HUB_CACHE=", "HUGGINGFACE_HUB_CACHE="});
  }

 private:
  TemporaryFolder folder_;
};

testing::AssertionResult says(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (text.find(part) == std::string::npos) {
      return testing::AssertionFailure() << "'" << part << "' is not in: " << text;
    }
  }
  return testing::AssertionSuccess();
}

TEST_F(Cache, RunsAModelByItsIdWhateverTheCase) {
  const Outcome outcome = qvl({"run", "qwen/qwen3-vl-tiny-instruct", "weather?", "--temperature",
                               "0", "--max-tokens", "3", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out)["model"], kId);
  const Outcome folder =
      qvl_program({"run", kModel, "weather?", "--temperature", "0", "--max-tokens", "3", "--json"});
  EXPECT_EQ(json::parse(outcome.out)["answer"], json::parse(folder.out)["answer"]);
}

TEST_F(Cache, AModelThatIsNotThereEndsWithTheCommandThatFetchesIt) {
  const Outcome outcome = qvl({"run", "Qwen/Qwen3-VL-2B-Instruct", "x"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(says(outcome.err, {"not on this machine", hub().string(),
                                 "`hf download Qwen/Qwen3-VL-2B-Instruct`"}));
}

TEST_F(Cache, AnInterruptedDownloadIsSaidBeforeAnythingIsRead) {
  fs::remove(hub() / "models--Qwen--Qwen3-VL-Tiny-Instruct" / "blobs" / "blob-model.safetensors");
  const Outcome outcome = qvl({"run", kId, "x"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(
      says(outcome.err, {"not complete", "model.safetensors", "`hf download " + kId + "`"}));
}

TEST_F(Cache, DoctorListsTheModelsThatAreThere) {
  const json report = json::parse(qvl({"doctor", "--json"}).out);
  EXPECT_EQ(report["cache"]["folder"], hub().string());
  ASSERT_EQ(report["cache"]["models"].size(), 1U);
  EXPECT_EQ(report["cache"]["models"][0]["id"], kId);
  EXPECT_TRUE(report["cache"]["models"][0]["problem"].is_null());
}

TEST(Inspect, SaysWhatTheReferenceModelIs) {
  const Outcome outcome = qvl_program({"inspect", kModel, "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const json model = json::parse(outcome.out);
  EXPECT_EQ(model["name"], "tiny-2b");
  EXPECT_EQ(model["size"], "");
  EXPECT_EQ(model["runs"], true);
  EXPECT_EQ(model["parameters"]["vision"], 776'128);
  EXPECT_EQ(model["text"]["num_hidden_layers"], 4);
  EXPECT_EQ(model["context_tokens"], 262'144);
  EXPECT_EQ(model["kv_bytes_per_token"], 4 * 2 * 128 * 2);
  EXPECT_EQ(model["template"], "Instruct");
  EXPECT_EQ(model["images"]["max_pixels"], 16'777'216);
  EXPECT_EQ(model["shards"].size(), 1U);
  EXPECT_EQ(model["unused_tensors"].size(), 0U);
  EXPECT_FALSE(model.contains("tensors"));
  EXPECT_EQ(
      json::parse(qvl_program({"inspect", kModel, "--json", "--tensors"}).out)["tensors"].size(),
      model["tensor_count"]);
}

TEST(Inspect, KnowsAThinkingTemplate) {
  const TemporaryFolder folder;
  fs::copy(kModel, folder.path(),
           fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  fs::copy_file(QVL_SOURCE_DIR "/models/qwen3-vl-thinking/chat_template.jinja",
                folder.path() + "/chat_template.jinja", fs::copy_options::overwrite_existing);
  EXPECT_EQ(json::parse(qvl_program({"inspect", folder.path(), "--json"}).out)["template"],
            "Thinking");
}

TEST(Inspect, NamesThePublishedSizeAndItsFormat) {
  const TemporaryFolder folder;
  published::write(folder.path(), published::size("8B"), published::Format::awq);
  const Outcome text = qvl_program({"inspect", folder.path()});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_TRUE(says(text.out, {"Qwen3-VL 8B: 8.77 B parameters, 8.19 B text and 576.4 M vision",
                              "AWQ, 4 bits, groups of 128", "147456 bytes per token",
                              "mlp           4-bit          108       5.44 B", "tokenizer.json",
                              "runs          yes"}));
}

TEST(Inspect, ShowsACheckpointThatCannotBeRunAndWhy) {
  const TemporaryFolder folder;
  published::write(folder.path(), published::size("2B"), published::Format::bnb_int8);
  const Outcome text = qvl_program({"inspect", folder.path()});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_TRUE(says(text.out, {"1.72 B text", "runs          no: ", "bitsandbytes", "I8"}));
}

TEST(Inspect, AFolderWithoutWeightsIsAnError) {
  const TemporaryFolder folder;
  const Outcome outcome = qvl_program({"inspect", folder.path()});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(says(outcome.err, {folder.path(), "model.safetensors"}));
}

TEST(Doctor, SaysWhatRunsHere) {
  const Outcome outcome = qvl_program({"doctor"}, {"QVL_THREDS=2", "QVL_MEMORY=4GiB"});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  EXPECT_TRUE(says(outcome.out, {"processor", "kernels      avx", "QVL_MEMORY=4GiB",
                                 "QVL_THREDS=2  (no such setting)", "235B-A22B",
                                 "This machine can run Qwen3-VL."}));
}

TEST(Doctor, LargerModelsNeedMoreAndHoldLess) {
  const json report = json::parse(qvl_program({"doctor", "--json"}).out);
  EXPECT_EQ(report["can_run"], true);
  ASSERT_EQ(report["fits"].size(), 12U);  // six sizes, two kinds of checkpoint
  EXPECT_EQ(report["fits"][0]["size"], "2B");
  EXPECT_NEAR(report["fits"][0]["weight_bytes"].get<double>(), 4.255e9, 0.05e9);
  EXPECT_NEAR(report["fits"][10]["weight_bytes"].get<double>(), 471.34e9, 1e9);
  EXPECT_GE(report["fits"][0]["context_tokens"], report["fits"][2]["context_tokens"]);
}

TEST(Flags, MaxImageSizeBoundsTheLongerEdgeUnderAnyOfItsNames) {
  const std::string picture = QVL_SOURCE_DIR "/tests/goldens/media/card.png";
  const auto image_tokens = [&](const std::vector<std::string>& more,
                                const std::vector<std::string>& environment) {
    std::vector<std::string> arguments = {"run", kModel,   picture,        "x",   "--max-tokens",
                                          "1",   "--json", "--min-pixels", "1024"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = qvl_program(arguments, environment);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return json::parse(outcome.out)["usage"]["image_tokens"].get<int>();
  };
  const int small = image_tokens({"--max-image-size", "128"}, {});
  EXPECT_LE(small, 16);  // 128 / 32 squared
  EXPECT_GT(image_tokens({}, {}), small);
  EXPECT_EQ(image_tokens({}, {"QVL_MAX_IMAGE_SIZE=128"}), small);
  EXPECT_EQ(image_tokens({}, {"MAX_IMAGE_SIZE=128"}), small);
}

}  // namespace
}  // namespace qvl

/// The program as a user meets it: answers, and what it says when something is wrong.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "broken_checkpoint.h"
#include "program.h"

namespace qvl {
namespace {

const std::string kModel = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
const std::string kMedia = QVL_SOURCE_DIR "/tests/goldens/media/";
constexpr const char* kNorm = "model.language_model.norm.weight";

using Arguments = std::vector<std::string>;

/// What a failing command says: exactly one line, and a status that is no crash.
std::string complaint(const Arguments& arguments) {
  const Outcome outcome = qvl_program(arguments);
  EXPECT_TRUE(outcome.status == 1 || outcome.status == 2) << outcome.status << "\n" << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  return outcome.err;
}

testing::AssertionResult says(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (text.find(part) == std::string::npos) {
      return testing::AssertionFailure() << "'" << part << "' is not in: " << text;
    }
  }
  return testing::AssertionSuccess();
}

TEST(Run, GivesTheReferencesAnswerAboutAPicture) {
  const auto reference = nlohmann::json::parse(read_all(kModel + "/cases/image-small/case.json"));
  const Outcome outcome =
      qvl_program({"run", kModel, kMedia + "small.png", "What is this?", "--temperature", "0",
                   "--max-tokens", "24", "--dtype", "float32"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, reference["greedy_text"].get<std::string>() + "\n");
}

TEST(Run, GivesTheReferencesAnswerAboutAFolderOfFrames) {
  const auto reference = nlohmann::json::parse(read_all(kModel + "/cases/video/case.json"));
  const Outcome outcome =
      qvl_program({"run", kModel, kMedia + "frames", "What time does the video end?", "--fps", "8",
                   "--video-wrapper", "kept", "--temperature", "0", "--max-tokens", "24", "--dtype",
                   "float32"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, reference["greedy_text"].get<std::string>() + "\n");
}

TEST(Run, JsonHoldsAnswerUsageAndTimings) {
  const Outcome outcome =
      qvl_program({"run", kModel, "weather?", "--max-tokens", "5", "--json", "--logprobs", "2"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["usage"]["completion_tokens"], 5);
  EXPECT_EQ(json["finish_reason"], "length");
  EXPECT_EQ(json["logprobs"].size(), 5U);
  EXPECT_EQ(json["logprobs"][0]["top_logprobs"].size(), 2U);
  EXPECT_GT(json["stats"]["memory_planned_bytes"], 0);
}

TEST(Run, AStopStringEndsTheAnswerAndIsNamed) {
  const Arguments base{"run", kModel, "weather?", "--temperature", "0", "--max-tokens", "24"};
  const std::string whole = qvl_program(base).out;
  size_t at = 3;  // an ASCII character inside the answer
  while (at < whole.size() && (whole[at] < '!' || whole[at] > '~')) ++at;
  ASSERT_LT(at, whole.size()) << whole;
  const std::string stop(1, whole[at]);
  Arguments arguments = base;
  arguments.insert(arguments.end(), {"--stop", "never said", "--stop", stop, "--json"});
  const Outcome outcome = qvl_program(arguments);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["answer"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(json["stop_reason"], stop);
  EXPECT_LT(json["usage"]["completion_tokens"], 24);
}

TEST(Run, StatsSayWhereSamplingCameFrom) {
  const Outcome outcome = qvl_program(
      {"run", kModel, "x", "--max-tokens", "1", "--top-p", "0.5", "--stats"}, {"QVL_SEED=7"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(says(outcome.err, {"top_p 0.5 (flag)", "max_tokens 1 (flag)", "min_p 0 (default)",
                                 "temperature ", "seed 7"}));
}

TEST(Run, ALoopEndsALongAnswer) {
  const auto answer = [](const Arguments& more) {
    Arguments arguments{"run", kModel,         "x",      "--temperature",
                        "0",   "--logit-bias", "42=100", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = qvl_program(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  const auto guarded = answer({"--max-tokens", "600"});
  EXPECT_EQ(guarded["stop_reason"], "repetition");
  EXPECT_EQ(guarded["usage"]["completion_tokens"], 128);
  EXPECT_EQ(answer({"--max-tokens", "600", "--repetition-guard", "off"})["finish_reason"],
            "length");
  EXPECT_EQ(answer({"--max-tokens", "200"})["finish_reason"], "length");
}

TEST(Run, ASeedFixesTheAnswer) {
  const Arguments base{"run", kModel, "weather?", "--temperature", "1.5", "--max-tokens", "20"};
  const auto with_seed = [&](const std::string& seed) {
    Arguments arguments = base;
    arguments.insert(arguments.end(), {"--seed", seed});
    return qvl_program(arguments).out;
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
}

TEST(Run, TheFirstOfSeveralAnswersIsTheOnlyOneOfTheSameSeed) {
  const auto answers = [](const char* n) {
    const Outcome outcome = qvl_program({"run", kModel, "weather?", "--temperature", "1.5",
                                         "--max-tokens", "20", "--json", "--n", n});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  const auto three = answers("3");
  ASSERT_EQ(three["answers"].size(), 3U);
  EXPECT_EQ(three["answers"][0]["answer"], answers("1")["answer"]);
  EXPECT_NE(three["answers"][1]["answer"], three["answers"][0]["answer"]);
  EXPECT_NE(three["answers"][2]["answer"], three["answers"][1]["answer"]);
  EXPECT_EQ(three["usage"]["completion_tokens"], 60);
}

TEST(Run, WithoutAModelTheDemoModelAnswers) {
  const std::string picture =
      QVL_SOURCE_DIR "/tests/synocrbench/OCRBench_Images/syn/svt/9000020.png";
  const std::string question = "what is written in the image?";
  const Outcome outcome = qvl_program({"run", picture, question});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "INFLOW\n");
  EXPECT_TRUE(says(outcome.err, {"no model is named", "demo model"}));
  EXPECT_EQ(qvl_program({"run", QVL_SOURCE_DIR "/models/demo", picture, question}).out,
            outcome.out);
  // A single word before the question may be a model that is not there, and is no question.
  EXPECT_TRUE(
      says(qvl_program({"run", "nomodel", question}).err, {"nomodel", "not on this machine"}));
}

TEST(Run, UserTextNeverBecomesAControlToken) {
  const auto tokens = [](const std::string& text) {
    const Outcome outcome = qvl_program({"run", kModel, text, "--max-tokens", "1", "--json"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out)["usage"]["prompt_tokens"].get<int>();
  };
  EXPECT_GT(tokens("<|im_end|>"), tokens("x") + 5);
  EXPECT_GT(tokens("<|vision_start|><|image_pad|><|vision_end|>"), tokens("x") + 5);
}

TEST(Run, AnEnvironmentVariableMirrorsAFlag) {
  const Outcome outcome = qvl_program({"run", kModel, "x"}, {"QVL_DTYPE=float17"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_TRUE(says(outcome.err, {"--dtype", "float17", "bfloat16"}));
}

TEST(BadInput, ATruncatedShardSaysHowManyBytesAreMissing) {
  const TemporaryFolder folder;
  const BrokenCheckpoint broken(folder.path());
  broken.truncate(100'000);
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}),
                   {"model.safetensors", "damaged", "100000", "download"}));
  broken.truncate(5);
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}), {"model.safetensors", "5 bytes"}));
}

TEST(BadInput, ALyingHeaderLengthIsFoundOut) {
  const TemporaryFolder folder;
  const BrokenCheckpoint broken(folder.path());
  broken.save(1LL << 62);
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}), {"model.safetensors", "header"}));
  broken.save(17);
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}), {"model.safetensors"}));
}

TEST(BadInput, OverlappingRangesAreRefused) {
  const TemporaryFolder folder;
  BrokenCheckpoint broken(folder.path());
  auto& offsets = broken.header()[kNorm]["data_offsets"];
  offsets = {0, offsets[1].get<long long>() - offsets[0].get<long long>()};
  broken.save();
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}), {"model.safetensors", "damaged"}));
}

TEST(BadInput, RangesOutsideTheFileAreRefused) {
  const TemporaryFolder folder;
  BrokenCheckpoint broken(folder.path());
  std::string last;  // the tensor at the end of the file
  long long end = 0;
  for (const auto& [name, tensor] : broken.header().items()) {
    if (name == "__metadata__" || tensor["data_offsets"][1].get<long long>() <= end) continue;
    end = tensor["data_offsets"][1].get<long long>();
    last = name;
  }
  broken.header()[last]["data_offsets"][1] = 1LL << 40;
  broken.save();
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}), {"model.safetensors", last, "damaged"}));
}

TEST(BadInput, AShapeThatDoesNotMatchItsBytesIsRefused) {
  const TemporaryFolder folder;
  BrokenCheckpoint broken(folder.path());
  broken.header()[kNorm]["shape"] = {129};
  broken.save();
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}), {kNorm, "256", "258"}));
}

TEST(BadInput, AShapeThatTheConfigDoesNotExpectIsRefused) {
  const TemporaryFolder folder;
  BrokenCheckpoint broken(folder.path());
  broken.header()[kNorm]["shape"] = {2, 64};
  broken.header()[kNorm + std::string(".x")] = broken.header()[kNorm];
  broken.header().erase(kNorm);
  broken.save();
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}), {"lacks a tensor", kNorm}));
}

TEST(BadInput, AMissingTensorIsNamed) {
  const TemporaryFolder folder;
  BrokenCheckpoint broken(folder.path());
  broken.header()["model.visual.blocks.1.attn.proj.weight_old"] =
      broken.header()["model.visual.blocks.1.attn.proj.weight"];
  broken.header().erase("model.visual.blocks.1.attn.proj.weight");
  broken.save();
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}),
                   {"lacks a tensor", "model.visual.blocks.1.attn.proj.weight"}));
}

TEST(BadInput, ANanWeightIsNamed) {
  const TemporaryFolder folder;
  BrokenCheckpoint broken(folder.path());
  const auto at =
      broken.header()["model.language_model.layers.2.mlp.up_proj.weight"]["data_offsets"][0]
          .get<size_t>();
  const uint16_t nan = 0x7fc0;
  std::memcpy(broken.data().data() + at + 1000, &nan, sizeof(nan));
  broken.save();
  EXPECT_TRUE(says(complaint({"run", folder.path(), "x"}),
                   {"model.language_model.layers.2.mlp.up_proj.weight", "NaN"}));
}

TEST(BadInput, NumbersThatOverflowEndInAnErrorNotInAnAnswer) {
  const TemporaryFolder folder;
  BrokenCheckpoint broken(folder.path());
  const auto& offsets = broken.header()[kNorm]["data_offsets"];
  const uint16_t largest = 0x7f7f;  // finite, but not times anything above one
  for (auto at = offsets[0].get<size_t>(); at < offsets[1].get<size_t>(); at += 2) {
    std::memcpy(broken.data().data() + at, &largest, sizeof(largest));
  }
  broken.save();
  EXPECT_TRUE(
      says(complaint({"run", folder.path(), "x", "--json"}), {"no finite number", "qvl parity"}));
}

TEST(BadInput, AHugePngIsRefusedFromItsHeader) {
  const TemporaryFolder folder;
  std::string png = read_all(kMedia + "small.png");
  const std::string side("\x00\x00\xea\x60", 4);  // 60000, big-endian
  png.replace(16, 4, side);
  png.replace(20, 4, side);
  // The checksum of the header chunk of 60000 × 60000, 8-bit RGB.
  uint32_t crc = 0xffffffffU;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= static_cast<uint8_t>(png[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
  }
  crc = ~crc;
  for (size_t i = 0; i < 4; ++i) png[29 + i] = static_cast<char>(crc >> (24 - 8 * i));
  write_all(folder.path() + "/huge.png", png);
  EXPECT_TRUE(says(complaint({"run", kModel, folder.path() + "/huge.png", "x"}),
                   {"huge.png", "too large", "60000"}));
}

TEST(BadInput, ATruncatedJpegIsRefused) {
  const TemporaryFolder folder;
  const std::string jpeg = read_all(kMedia + "wide.jpg");
  for (const size_t bytes : {jpeg.size() / 2, jpeg.size() - 40, size_t{700}, size_t{3}}) {
    write_all(folder.path() + "/cut.jpg", jpeg.substr(0, bytes));
    EXPECT_TRUE(says(complaint({"run", kModel, folder.path() + "/cut.jpg", "x"}), {"cut.jpg"}))
        << bytes;
  }
}

TEST(BadInput, APromptLongerThanTheContextIsRefused) {
  EXPECT_TRUE(says(complaint({"run", kModel, kMedia + "card.png", "x", "--max-model-len", "256"}),
                   {"context length", "found 31", "at most 255", "--max-model-len"}));
}

TEST(BadInput, AMissingFileIsNotTakenForAQuestion) {
  EXPECT_TRUE(says(complaint({"run", kModel, "no-such-picture.png", "x"}),
                   {"no-such-picture.png", "no such file"}));
  EXPECT_TRUE(says(complaint({"run", "/no/such/model", "x"}), {"/no/such/model", "no such file"}));
  EXPECT_TRUE(says(complaint({"run", "2b", "x"}), {"preset", "--load-format dummy"}));
}

TEST(BadInput, FlagsOutOfRangeNameThemselves) {
  EXPECT_TRUE(says(complaint({"run", kModel, "x", "--dtype", "float17"}),
                   {"--dtype", "float17", "bfloat16"}));
  EXPECT_TRUE(
      says(complaint({"run", kModel, "x", "--memory", "lots"}), {"--memory", "lots", "12GiB"}));
  EXPECT_TRUE(says(complaint({"run", kModel, "x", "--memory", "1MB"}), {"does not fit", "needed"}));
  EXPECT_TRUE(says(complaint({"run", kModel, "x", "--temperature", "9"}),
                   {"temperature", "found 9", "0 to 2"}));
  EXPECT_TRUE(says(complaint({"run", kModel, "x", "--frobnicate"}), {"--frobnicate"}));
  EXPECT_TRUE(says(complaint({"run", kModel}), {"inputs"}));
  EXPECT_TRUE(says(complaint({}), {"subcommand"}));
}

TEST(Parity, ADamagedReferenceIsAnErrorNotAPass) {
  const TemporaryFolder folder;
  std::filesystem::copy(
      kModel, folder.path(),
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  const std::string reference = folder.path() + "/cases/text/ref.safetensors";
  std::string bytes = read_all(reference);
  const std::string cut = bytes.substr(0, bytes.size() / 2);
  write_all(reference, cut);
  EXPECT_TRUE(says(complaint({"parity", folder.path(), "--case", "text"}), {"ref.safetensors"}));
}

TEST(Parity, AReferenceOfAnotherModelIsAnErrorNotACrash) {
  const TemporaryFolder folder;
  std::filesystem::copy(
      kModel, folder.path(),
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  const std::string reference = folder.path() + "/cases/text/ref.safetensors";
  std::string bytes = read_all(reference);
  for (const char* name : {"logits_rows", "greedy_logits"}) {
    std::string bent = bytes;
    const size_t open = bent.find('[', bent.find(std::string("\"") + name + "\""));
    const size_t comma = bent.find(',', open);
    const size_t close = bent.find(']', open);
    const std::string rows = bent.substr(open + 1, comma - open - 1);
    const std::string cols = bent.substr(comma + 1, close - comma - 1);
    bent.replace(open + 1, close - open - 1, cols + "," + rows);  // as many bytes, another shape
    write_all(reference, bent);
    EXPECT_TRUE(
        says(complaint({"parity", folder.path(), "--case", "text"}), {"text", name, "704"}));
  }
}

TEST(Parity, ACaseWithoutAYardstickFailsInBfloat16) {
  const TemporaryFolder folder;
  std::filesystem::copy(
      kModel, folder.path(),
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  const std::string path = folder.path() + "/cases/text/case.json";
  auto json = nlohmann::json::parse(read_all(path));
  json.erase("hf_bf16_relative_error");
  write_all(path, json.dump());
  const Outcome outcome =
      qvl_program({"parity", folder.path(), "--case", "text", "--dtype", "bfloat16"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(says(outcome.out, {"FAIL: case.json has no hf_bf16_relative_error", "FAILED"}));
}

TEST(Parity, WrongNumbersFail) {
  const TemporaryFolder folder;
  BrokenCheckpoint broken(folder.path());
  const auto at =
      broken.header()["model.language_model.layers.1.mlp.down_proj.weight"]["data_offsets"][0]
          .get<size_t>();
  for (size_t i = 0; i < 400; i += 2)
    broken.data()[at + i] = static_cast<char>(broken.data()[at + i] ^ 0x40);
  broken.save();
  std::filesystem::copy(kModel + "/cases", folder.path() + "/cases",
                        std::filesystem::copy_options::recursive);
  const Outcome outcome = qvl_program({"parity", folder.path(), "--case", "text"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(says(outcome.out, {"FAIL: float32 error", "FAILED"}));
}

TEST(MakeDummy, AFolderThatCannotBeWrittenIsAnError) {
  EXPECT_TRUE(
      says(complaint({"make-dummy", "2b", "/proc/no/such/folder"}), {"/proc/no/such/folder"}));
  EXPECT_TRUE(says(complaint({"make-dummy", "9b", "/tmp/x"}), {"9b", "2b"}));
}

}  // namespace
}  // namespace qvl

#include "io/hf_cache.h"

#include <gtest/gtest.h>

#include <map>

#include "io/test_folder.h"

namespace qvl {
namespace {

namespace fs = std::filesystem;

const std::string kCommit = "89c86200743eec961a297729e7990e8f2ddbc4c5";
const std::string kOther = "0123456789abcdef0123456789abcdef01234567";
constexpr const char* kConfig = R"({"model_type": "qwen3_vl"})";

/// A cache as `hf download` leaves it: snapshots of links into blobs.
class HfCache : public testing::Test {
 protected:
  void file(const std::string& model, const std::string& commit, const std::string& name,
            const std::string& text) {
    const fs::path root = hub() / model;
    fs::create_directories(root / "snapshots" / commit);
    fs::create_directories(root / "blobs");
    const std::string blob = commit.substr(0, 4) + "-" + name;
    std::ofstream(root / "blobs" / blob) << text;
    fs::create_symlink("../../blobs/" + blob, root / "snapshots" / commit / name);
  }
  void ref(const std::string& model, const std::string& name, const std::string& text) {
    const fs::path path = hub() / model / "refs" / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  void complete(const std::string& model, const std::string& commit = kCommit) {
    file(model, commit, "config.json", kConfig);
    file(model, commit, "tokenizer.json", "{}");
    file(model, commit, "model.safetensors", "x");
    ref(model, "main", commit);
  }
  void remove(const std::string& path) { ASSERT_TRUE(fs::remove(hub() / path)) << path; }

  fs::path hub() const { return folder_.path("hub"); }
  Result<HfSnapshot> find(const std::string& id) const {
    const auto parsed = parse_hf_id(id);
    if (!parsed) return Error{ErrorCode::bad_flag, "no id", id};
    return find_in_hf_cache(hub().string(), *parsed);
  }
  /// The folder of the snapshot relative to the cache, or the error's message.
  std::string found(const std::string& id) const {
    const Result<HfSnapshot> snapshot = find(id);
    return snapshot ? fs::path(snapshot->folder).lexically_relative(hub()).string()
                    : snapshot.error().message();
  }

 private:
  TestFolder folder_;
};

testing::AssertionResult says(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (text.find(part) == std::string::npos) {
      return testing::AssertionFailure() << "'" << part << "' is not in: " << text;
    }
  }
  return testing::AssertionSuccess();
}

TEST_F(HfCache, AnIdIsTheSnapshotThatMainNames) {
  complete("models--Qwen--Qwen3-VL-2B-Instruct");
  file("models--Qwen--Qwen3-VL-2B-Instruct", kOther, "config.json", kConfig);
  const Result<HfSnapshot> snapshot = find("Qwen/Qwen3-VL-2B-Instruct");
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->id, "Qwen/Qwen3-VL-2B-Instruct");
  EXPECT_EQ(snapshot->commit, kCommit);
  EXPECT_EQ(snapshot->folder,
            (hub() / "models--Qwen--Qwen3-VL-2B-Instruct" / "snapshots" / kCommit).string());
}

TEST_F(HfCache, CaseDoesNotMatterAndTheNameIsTheCaches) {
  complete("models--Qwen--Qwen3-VL-2B-Instruct");
  const Result<HfSnapshot> snapshot = find("qwen/QWEN3-vl-2b-instruct");
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->id, "Qwen/Qwen3-VL-2B-Instruct");
}

TEST_F(HfCache, ABareNameMatchesTheOneOrgThatHasIt) {
  complete("models--Qwen--Qwen3-VL-2B-Instruct");
  EXPECT_EQ(find("Qwen3-VL-2B-Instruct")->id, "Qwen/Qwen3-VL-2B-Instruct");
  complete("models--unsloth--Qwen3-VL-2B-Instruct");
  EXPECT_TRUE(says(found("Qwen3-VL-2B-Instruct"),
                   {"Qwen/Qwen3-VL-2B-Instruct, unsloth/Qwen3-VL-2B-Instruct"}));
  EXPECT_EQ(find("unsloth/Qwen3-VL-2B-Instruct")->id, "unsloth/Qwen3-VL-2B-Instruct");
}

TEST_F(HfCache, ARevisionIsABranchATagOrACommit) {
  const std::string model = "models--a--b";
  const std::string snapshots = model + "/snapshots/";
  complete(model);
  complete(model, kOther);  // refs/main is the newer one now
  ref(model, "v1.0", kCommit);
  ref(model, "refs/pr/7", kCommit + "\n");
  EXPECT_EQ(found("a/b"), snapshots + kOther);
  EXPECT_EQ(found("a/b@main"), snapshots + kOther);
  EXPECT_EQ(found("a/b@v1.0"), snapshots + kCommit);
  EXPECT_EQ(found("a/b@refs/pr/7"), snapshots + kCommit);
  EXPECT_EQ(found("a/b@" + kCommit), snapshots + kCommit);
  EXPECT_TRUE(says(found("a/b@v9"), {"\"v9\"", kCommit, "`hf download a/b --revision v9`"}));
}

TEST_F(HfCache, WithoutMainTheOnlySnapshotIsMeantAndOfSeveralNone) {
  const std::string model = "models--a--b";
  complete(model);
  remove(model + "/refs/main");
  EXPECT_EQ(found("a/b"), model + "/snapshots/" + kCommit);
  complete(model, kOther);
  remove(model + "/refs/main");
  EXPECT_TRUE(says(found("a/b"), {"\"main\"", kCommit, kOther, "a/b@" + kOther}));
}

TEST_F(HfCache, ARefThatLeadsOutOfTheFolderIsIgnored) {
  const std::string model = "models--a--b";
  complete(model);
  complete("models--c--d");
  ref(model, "main", "../../models--c--d/snapshots/" + kCommit);
  EXPECT_EQ(found("a/b"), model + "/snapshots/" + kCommit);
  ref(model, "main", std::string(100'000, 'a'));
  EXPECT_EQ(found("a/b"), model + "/snapshots/" + kCommit);
}

TEST_F(HfCache, AModelThatIsNotThereComesWithTheCommandThatFetchesIt) {
  EXPECT_EQ(found("Qwen/Qwen3-VL-2B-Instruct"),
            "Qwen/Qwen3-VL-2B-Instruct: this model is not on this machine: found neither a folder "
            "of this name nor the model in " +
                hub().string() +
                "; `hf download Qwen/Qwen3-VL-2B-Instruct` fetches it; qvl itself downloads "
                "nothing; give a checkpoint folder or fetch the model first");
  EXPECT_EQ(find("a/b").error().code, ErrorCode::model_not_found);
  EXPECT_TRUE(says(found("a/b@v1"), {"`hf download a/b --revision v1`"}));
}

TEST_F(HfCache, MissingShardsAndPartialBlobsAreSaid) {
  const std::string model = "models--Qwen--Qwen3-VL-8B-Instruct";
  file(model, kCommit, "config.json", kConfig);
  ref(model, "main", kCommit);
  EXPECT_TRUE(says(found("Qwen/Qwen3-VL-8B-Instruct"), {"tokenizer.json", "are missing"}));
  file(model, kCommit, "tokenizer.json", "{}");
  EXPECT_TRUE(says(found("Qwen/Qwen3-VL-8B-Instruct"), {"model.safetensors or its index"}));
  file(
      model, kCommit, "model.safetensors.index.json",
      R"({"weight_map": {"a": "model-00001-of-00004.safetensors", "b": "model-00002-of-00004.safetensors",
           "c": "model-00003-of-00004.safetensors", "d": "model-00004-of-00004.safetensors",
           "e": "model-00004-of-00004.safetensors"}})");
  file(model, kCommit, "model-00001-of-00004.safetensors", "x");
  std::ofstream(hub() / model / "blobs" / "0f0f.incomplete") << "x";
  const std::string message = found("Qwen/Qwen3-VL-8B-Instruct");
  EXPECT_TRUE(says(message, {"not complete",
                             "model-00002-of-00004.safetensors, model-00003-of-00004.safetensors "
                             "and 1 more are missing",
                             "1 partial files", "`hf download Qwen/Qwen3-VL-8B-Instruct`"}));
  EXPECT_EQ(find("Qwen/Qwen3-VL-8B-Instruct").error().code, ErrorCode::model_incomplete);
  for (const char* shard : {"2", "3", "4"}) {
    file(model, kCommit, std::string("model-0000") + shard + "-of-00004.safetensors", "x");
  }
  EXPECT_EQ(found("Qwen/Qwen3-VL-8B-Instruct"), model + "/snapshots/" + kCommit);
}

TEST_F(HfCache, ALinkToABlobThatIsGoneIsMissing) {
  complete("models--a--b");
  remove("models--a--b/blobs/89c8-model.safetensors");
  EXPECT_TRUE(says(found("a/b"), {"model.safetensors or its index is missing"}));
}

TEST_F(HfCache, TheListHasTheModelsOfThisFamilyWithWhatTheyLack) {
  complete("models--Qwen--Qwen3-VL-2B-Instruct");
  complete("models--Qwen--Qwen3-VL-4B-Instruct");
  remove("models--Qwen--Qwen3-VL-4B-Instruct/blobs/89c8-tokenizer.json");
  file("models--openai--gpt2", kCommit, "config.json", R"({"model_type": "gpt2"})");
  file("models--a--broken", kCommit, "config.json", "{");
  fs::create_directories(hub() / "datasets--a--b");
  fs::create_directories(hub() / "models--..--b" / "snapshots" / kCommit);
  const std::vector<HfCachedModel> list = list_hf_cache(hub().string());
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].snapshot.id, "Qwen/Qwen3-VL-2B-Instruct");
  EXPECT_EQ(list[0].problem, "");
  EXPECT_EQ(list[1].snapshot.id, "Qwen/Qwen3-VL-4B-Instruct");
  EXPECT_EQ(list[1].problem, "tokenizer.json is missing");
}

TEST(HfId, PathsAndNamesThatTheHubDoesNotAllowAreNone) {
  for (const char* text :
       {"",       "/",        "a/",       "/b",        "a/b/c",    "../b",     "a/..",
        "..",     ".",        "./a",      "a/.hidden", "a/b.",     "a--b/c",   "a/b--c",
        "a/b..c", "-a/b",     "a/b c",    "a/b\n",     "a\\b",     "~/b",      "a/b@",
        "a/b@..", "a/b@../x", "a/b@x//y", "a/b@/x",    "a/b@x/.y", "a/b@x\ny", "ä/b"}) {
    EXPECT_FALSE(parse_hf_id(text)) << text;
  }
  EXPECT_FALSE(parse_hf_id(std::string(97, 'a')));
  EXPECT_TRUE(parse_hf_id(std::string(96, 'a')));
}

TEST(HfId, HasOrgNameAndRevision) {
  const auto id = parse_hf_id("Qwen/Qwen3-VL-30B-A3B-Instruct@refs/pr/1");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->org, "Qwen");
  EXPECT_EQ(id->name, "Qwen3-VL-30B-A3B-Instruct");
  EXPECT_EQ(id->revision, "refs/pr/1");
  EXPECT_EQ(id->text(), "Qwen/Qwen3-VL-30B-A3B-Instruct");
}

TEST(HfHubFolder, IsTheFirstThatTheEnvironmentNames) {
  std::map<std::string, std::string> set = {{"HOME", "/home/u"}};
  const auto folder = [&] {
    return hf_hub_folder([&](const char* name) -> const char* {
      const auto at = set.find(name);
      return at == set.end() ? nullptr : at->second.c_str();
    });
  };
  EXPECT_EQ(folder(), "/home/u/.cache/huggingface/hub");
  set["XDG_CACHE_HOME"] = "/xdg";
  EXPECT_EQ(folder(), "/xdg/huggingface/hub");
  set["HF_HOME"] = "/hf";
  EXPECT_EQ(folder(), "/hf/hub");
  set["HF_HUB_CACHE"] = "";  // empty counts as not set
  EXPECT_EQ(folder(), "/hf/hub");
  set["HF_HUB_CACHE"] = "~/models";
  EXPECT_EQ(folder(), "/home/u/models");
}

}  // namespace
}  // namespace qvl

// An answer has the same bits whatever happens around it: 200 requests of every kind, alone, among
// 8 and 32, in chunks of 16 to 1024 rows, with a cold and a warm cache, with forced preemption,
// with and without speculation. Compared are the tokens and a hash of all logits behind each of
// them.

#include <gtest/gtest.h>

#include <map>

#include "model/processor.h"
#include "runtime/engine_impl.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

const std::string kMedia = QVL_SOURCE_DIR "/tests/goldens/media/";

struct Case {
  std::string model;
  int requests = 0;
};

class Batching : public testing::TestWithParam<Case> {
 protected:
  using Answer = std::vector<std::pair<int32_t, uint64_t>>;  // token, hash of its logits
  using Answers = std::map<std::pair<size_t, int>, Answer>;  // by request and index

  Batching()
      : model_(open_model(QVL_SOURCE_DIR + GetParam().model, LoadFormat::checkpoint)),
        processor_(Processor::load(*model_, {})) {
    config_.max_model_len = 1024;
    config_.max_patches = 1200;
    config_.law_check = LawCheck::every_step;
    for (int i = 0; i < GetParam().requests; ++i) requests_.push_back(request(i));
  }

  MediaItem media(const std::string& name) {
    MediaTimings timings;
    Result<MediaItem> item = name == "frames" ? processor_->frames(kMedia + name, 8.0, timings)
                                              : processor_->image(kMedia + name, timings);
    EXPECT_TRUE(item) << item.error().message();
    return std::move(*item);
  }

  Request request(int i) {
    const std::vector<std::vector<std::string>> pictures = {
        {},           {"small.png"},
        {},           {"gray.png", "small.png"},
        {"card.png"}, {"rgba.png", "rotated.jpg"},
        {},           {"frames"},
        {},           {"small.png"}};
    const std::vector<std::string> texts = {
        "What is this?", "One, two, one, two, one, two, one, two: go on, please.",
        "weather in 北京?", "Describe it. " + std::string(150, 'x'),
        "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over"};
    Json content = Json::array();
    std::vector<MediaItem> items;
    const bool has_frames = i % 40 == 7;  // long: a few of them will do
    for (const std::string& name : pictures[static_cast<size_t>(i % 10)]) {
      if (name == "frames" && !has_frames) continue;
      items.push_back(media(name));
      content.push_back({{"type", name == "frames" ? "video" : "image"}});
    }
    content.push_back({{"type", "text"},
                       {"text", texts[static_cast<size_t>(i / 10) % texts.size()] +
                                    (i % 3 == 0 ? "" : std::to_string(i))}});
    const Json messages = Json::array({{{"role", "user"}, {"content", content}}});
    Result<Prompt> prompt = processor_->prompt(messages, nullptr, items);
    EXPECT_TRUE(prompt) << prompt.error().message();
    Request r;
    r.prompt_tokens = prompt->tokens;
    r.spans = prompt->spans;
    for (MediaItem& item : items) r.media.push_back(std::move(item.patches));
    SamplingParams& s = r.sampling;
    s.max_tokens = 4 + i % 3 * 10;
    s.seed = static_cast<uint64_t>(i);
    if (i % 2 == 1) s.temperature = 0.8F;
    if (i % 4 == 1) s.top_p = 0.9F;
    if (i % 5 == 2) s.frequency_penalty = 0.5F;
    if (i % 25 == 3) s.n = 3;
    r.priority = i % 7 == 0 ? 1 : 0;
    r.hash_logits = true;
    return r;
  }

  void start() {
    engine_.reset();
    Result<std::unique_ptr<Engine>> engine = make_engine(*model_, config_);
    ASSERT_TRUE(engine) << engine.error().message();
    engine_ = std::move(*engine);
  }

  /// Submits all requests, at most `at_once` at a time.
  Answers ask_all(size_t at_once) {
    Answers answers;
    std::map<RequestId, std::pair<size_t, int>> open;  // request, answers left
    size_t next = 0;
    while (next < requests_.size() || !open.empty()) {
      for (; next < requests_.size() && open.size() < at_once; ++next) {
        const Result<RequestId> id = engine_->submit(requests_[next]);
        EXPECT_TRUE(id) << id.error().message();
        open[*id] = {next, requests_[next].sampling.n};
      }
      for (const Event& event : engine_->step()) {
        auto& [request, left] = open.at(event.request);
        if (event.token >= 0) {
          answers[{request, event.index}].emplace_back(event.token, event.logits_hash);
        }
        if (event.finish != FinishReason::none && --left == 0) open.erase(event.request);
      }
      if (!engine_->failure().empty()) {
        ADD_FAILURE() << engine_->failure();
        break;
      }
    }
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.pages.owned, 0);
    EXPECT_EQ(stats.feature_rows.owned, 0);
    return answers;
  }

  /// Room for two or three of 32 sequences. The process itself counts too, and may shrink.
  void start_with_few_pages() {
    config_.memory_bytes = 0;
    start();
    int64_t bytes = engine_->memory_plan().total_bytes();
    while (engine_->memory_plan().kv_pages > 40) {
      const MemoryPlan& plan = engine_->memory_plan();
      bytes -= (plan.kv_pages - 24) * (plan.lines[1].bytes / plan.kv_pages);
      config_.memory_bytes = bytes;
      start();
    }
    config_.memory_bytes = 0;
    ASSERT_GE(engine_->memory_plan().kv_pages, 16);
  }

  void expect_equal(const Answers& found, const Answers& expected, const char* what) {
    ASSERT_EQ(found.size(), expected.size()) << what;
    for (const auto& [key, answer] : expected) {
      ASSERT_EQ(found.at(key), answer)
          << what << ", request " << key.first << ", answer " << key.second;
    }
  }

  Result<ModelFiles> model_;
  Result<Processor> processor_;
  EngineConfig config_;
  std::vector<Request> requests_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(Batching, EveryAnswerHasTheSameBitsWhateverHappensAroundIt) {
  config_.enable_prefix_caching = false;
  start();
  const Answers alone = ask_all(1);
  for (const auto& [key, answer] : alone) ASSERT_NE(answer.front().second, 0U);
  config_.enable_prefix_caching = true;

  config_.max_num_seqs = 8;
  config_.max_step_tokens = 16;
  config_.vision_slice_ms = 0;  // one layer of the tower at a time
  start();
  expect_equal(ask_all(8), alone, "8 at once, chunk 16, cold");
  expect_equal(ask_all(8), alone, "8 at once, chunk 16, warm");
  EXPECT_GT(engine_->stats().prefix_hits, 0);
  EXPECT_GT(engine_->stats().feature_hits, 0);

  config_.max_num_seqs = 32;
  config_.max_step_tokens = 1024;
  config_.vision_slice_ms = 50;
  config_.speculation.num_speculative_tokens = 5;
  start();
  expect_equal(ask_all(32), alone, "32 at once, chunk 1024, speculation");
  EXPECT_GT(engine_->stats().accepted_drafts, 0);
  EXPECT_LT(engine_->stats().accepted_drafts, engine_->stats().drafts);

  for (const int tokens : {0, 3}) {
    config_.speculation.num_speculative_tokens = tokens;
    config_.max_step_tokens = 64;
    start_with_few_pages();
    expect_equal(ask_all(32), alone, "32 at once, few pages");
    EXPECT_GT(engine_->stats().preemptions, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Batching,
                         testing::Values(Case{"/tests/goldens/tiny-2b", 160},
                                         Case{"/models/demo", 40}),
                         [](const auto& model) { return model.index == 0 ? "tiny" : "demo"; });

TEST_P(Batching, EqualSizeIsNotEqualPicture) {
  // Twice the same prompt and size, other pixels; and once more the first, from the cache.
  start();
  requests_.resize(1);
  requests_[0] = request(1);
  requests_[0].sampling = {.max_tokens = 8};
  const Answers first = ask_all(1);
  EXPECT_EQ(engine_->stats().feature_hits, 0);
  Request other = requests_[0];
  for (uint8_t& byte : other.media[0].rows) byte = static_cast<uint8_t>(255 - byte);
  other.media[0].content_hash[0] ^= 1U;
  other.spans[0].content_hash = other.media[0].content_hash;
  std::swap(requests_[0], other);
  EXPECT_NE(ask_all(1), first);
  EXPECT_EQ(engine_->stats().feature_hits, 0);
  std::swap(requests_[0], other);
  const int64_t computed = engine_->stats().prompt_tokens;
  EXPECT_EQ(ask_all(1), first);
  EXPECT_LE(engine_->stats().prompt_tokens - computed, kPageTokens);
  EXPECT_EQ(engine_->stats().vision_passes, 2);
}

}  // namespace
}  // namespace qvl

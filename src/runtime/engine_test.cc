#include "qvl/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "model/processor.h"
#include "runtime/engine_impl.h"
#include "runtime/memory.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

const std::string kModel = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
const std::string kMedia = QVL_SOURCE_DIR "/tests/goldens/media/";

/// The tiny checkpoint behind an engine; requests are built from text and pictures.
class EngineTest : public testing::Test {
 protected:
  EngineTest()
      : model_(open_model(kModel, LoadFormat::checkpoint)),
        processor_(Processor::load(*model_, {})) {
    config_.dtype = ActivationType::float32;
    config_.max_model_len = 1024;
    config_.max_patches = 1200;
  }

  void start() {
    engine_.reset();
    Result<std::unique_ptr<Engine>> engine = make_engine(*model_, config_);
    ASSERT_TRUE(engine) << engine.error().message();
    engine_ = std::move(*engine);
  }

  Request request(const std::string& text, const std::vector<std::string>& pictures = {}) {
    Json content = Json::array();
    std::vector<MediaItem> media;
    MediaTimings timings;
    for (const std::string& picture : pictures) {
      Result<MediaItem> item = processor_->image(kMedia + picture, timings);
      EXPECT_TRUE(item) << item.error().message();
      media.push_back(std::move(*item));
      content.push_back({{"type", "image"}});
    }
    content.push_back({{"type", "text"}, {"text", text}});
    const Json messages = Json::array({{{"role", "user"}, {"content", content}}});
    Result<Prompt> prompt = processor_->prompt(messages, nullptr, media);
    EXPECT_TRUE(prompt) << prompt.error().message();
    Request out;
    out.prompt_tokens = prompt->tokens;
    out.spans = prompt->spans;
    for (MediaItem& item : media) out.media.push_back(std::move(item.patches));
    out.sampling.max_tokens = 12;
    out.sampling.top_logprobs = 3;
    return out;
  }

  struct Answer {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
    Event last;
    bool operator==(const Answer& other) const {
      return tokens == other.tokens && logprobs == other.logprobs;
    }
  };

  /// Steps until all requests have ended.
  std::map<RequestId, Answer> drain() {
    std::map<RequestId, Answer> answers;
    while (!engine_->idle()) {
      for (const Event& event : engine_->step()) {
        Answer& answer = answers[event.request];
        if (event.token >= 0) {
          answer.tokens.push_back(event.token);
          answer.logprobs.push_back(event.logprob);
          for (const TokenLogprob& t : event.top_logprobs) answer.logprobs.push_back(t.logprob);
        }
        if (event.finish != FinishReason::none) answer.last = event;
      }
    }
    return answers;
  }

  Answer ask(const Request& request) {
    const Result<RequestId> id = engine_->submit(request);
    EXPECT_TRUE(id) << id.error().message();
    return drain()[*id];
  }

  std::string refusal(const Request& request) {
    const Result<RequestId> id = engine_->submit(request);
    return id ? "accepted" : id.error().field + ": " + id.error().detail;
  }

  Result<ModelFiles> model_;
  Result<Processor> processor_;
  EngineConfig config_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, ARequestGivesTheSameBitsAloneAndAmongOthersWhateverTheChunk) {
  start();
  const std::vector<Request> requests{
      request("What is this?", {"small.png"}), request("weather in 北京?"),
      request("Compare", {"gray.png", "small.png"}), request("请详细描述"),
      request("Describe this picture in detail, please.", {"card.png"})};
  std::vector<Answer> alone;
  alone.reserve(requests.size());
  for (const Request& r : requests) alone.push_back(ask(r));
  for (const int64_t seqs : {2, 5}) {
    for (const int64_t chunk : {7, 64, 300}) {
      config_.max_num_seqs = seqs;
      config_.max_step_tokens = chunk;
      start();
      std::vector<RequestId> ids;
      ids.reserve(requests.size());
      for (const Request& r : requests) ids.push_back(*engine_->submit(r));
      std::map<RequestId, Answer> together = drain();
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_EQ(together[ids[i]], alone[i])
            << "request " << i << ", " << seqs << " at once, chunk " << chunk;
      }
    }
  }
}

TEST_F(EngineTest, ThePictureDecidesTheAnswerNotOnlyItsSize) {
  start();
  Request first = request("What is this?", {"small.png"});
  Request second = first;
  for (uint8_t& byte : second.media[0].rows) byte = static_cast<uint8_t>(255 - byte);
  EXPECT_NE(ask(first).logprobs, ask(second).logprobs);
}

TEST_F(EngineTest, AnAnswerEndsAtAStopTokenWhichIsNotPartOfIt) {
  start();
  Request r = request("What is this?", {"small.png"});
  const Answer whole = ask(r);
  ASSERT_EQ(whole.tokens.size(), 12U);
  EXPECT_EQ(whole.last.finish, FinishReason::length);
  size_t first = 1;  // a token that did not come before
  while (std::count(whole.tokens.begin(), whole.tokens.begin() + static_cast<std::ptrdiff_t>(first),
                    whole.tokens[first])) {
    ++first;
  }
  r.sampling.stop_token_ids = {whole.tokens[first]};
  const Answer stopped = ask(r);
  EXPECT_EQ(stopped.last.finish, FinishReason::stop);
  EXPECT_EQ(stopped.tokens,
            std::vector<int32_t>(whole.tokens.begin(),
                                 whole.tokens.begin() + static_cast<std::ptrdiff_t>(first)));
  EXPECT_EQ(stopped.last.usage.completion_tokens, static_cast<int64_t>(first));
  EXPECT_EQ(stopped.last.usage.image_tokens, 70);
  EXPECT_EQ(stopped.last.usage.prompt_tokens, 91);
}

TEST_F(EngineTest, TheContextEndsAnAnswer) {
  Request r = request("What is this?", {"small.png"});
  config_.max_model_len = static_cast<int64_t>(r.prompt_tokens.size()) + 5;
  start();
  const Answer answer = ask(r);
  EXPECT_EQ(answer.tokens.size(), 5U);
  EXPECT_EQ(answer.last.finish, FinishReason::length);
}

TEST_F(EngineTest, TokensWithoutTextAreNeverGenerated) {
  config_.token_limit = 300;
  start();
  Request r = request("weather in 北京?");
  r.sampling.temperature = 2.0F;
  r.sampling.max_tokens = 200;
  for (const int32_t token : ask(r).tokens) EXPECT_LT(token, 300);
}

TEST_F(EngineTest, ACancelledRequestGivesEverythingBack) {
  config_.max_num_seqs = 2;
  config_.max_step_tokens = 40;
  start();
  Request r = request("Describe this picture in detail, please.", {"card.png"});
  r.sampling.max_tokens = 600;  // with its prompt nearly half of the cache
  for (int steps = 0; steps < 25; ++steps) {
    const RequestId first = *engine_->submit(r);
    const RequestId second = *engine_->submit(r);
    const RequestId waiting = *engine_->submit(r);
    for (int i = 0; i < steps; ++i) engine_->step();
    for (const RequestId id : {first, second, waiting}) engine_->cancel(id);
    const std::map<RequestId, Answer> answers = drain();
    ASSERT_EQ(answers.size(), 3U);
    for (const auto& [id, answer] : answers) EXPECT_EQ(answer.last.finish, FinishReason::cancelled);
  }
  engine_->cancel(12345);  // unknown: ignored
  r.sampling.max_tokens = 4;
  EXPECT_EQ(ask(r).tokens.size(), 4U);
}

TEST_F(EngineTest, BadRequestsAreRefusedWithWhatWasFoundAndExpected) {
  config_.max_queue = 2;
  start();
  const Request good = request("What is this?", {"small.png"});
  Request r = good;
  r.prompt_tokens.clear();
  EXPECT_EQ(refusal(r), "prompt: 0 tokens");
  r = good;
  r.prompt_tokens.assign(1024, 5);
  EXPECT_EQ(refusal(r),
            "prompt: found 1024 tokens of prompt, expected at most 1023 and one of answer");
  r = good;
  r.prompt_tokens[0] = 704;
  EXPECT_EQ(refusal(r), "prompt: token 704 is outside the vocabulary of 704");
  r = good;
  r.prompt_tokens[0] = -1;
  EXPECT_EQ(refusal(r), "prompt: token -1 is outside the vocabulary of 704");
  r = good;
  r.sampling.top_p = 7;
  EXPECT_EQ(refusal(r), "top_p: found 7, expected more than 0, at most 1");
  r = good;
  r.media[0].rows.pop_back();
  EXPECT_EQ(refusal(r), "media: 430079 bytes for 280 patches of 1536");
  r = good;
  r.media[0].grid = {1, 3, 4};
  EXPECT_EQ(refusal(r), "media: grid of 1×3×4 patches");
  r = good;
  r.media[0].grid = {1, 2000, 2000};
  EXPECT_EQ(refusal(r), "media: found 4000000 patches, expected at most 1200");
  r = good;
  r.spans[0].rows = 71;
  EXPECT_EQ(refusal(r), "spans: span 0: 71 rows for a grid of 7×10");
  r = good;
  r.spans[0].media = 1;
  EXPECT_EQ(refusal(r), "spans: span 0: media item 1 of 1");
  r = good;
  r.spans[0].feature_row = 1;
  EXPECT_EQ(refusal(r), "spans: span 0: feature rows 1 to 71 of 70");
  r = good;
  r.spans[0].first_token = 22;
  EXPECT_EQ(refusal(r), "spans: span 0: tokens 22 to 92 of 91");
  EXPECT_EQ(refusal(good), "accepted");
  EXPECT_EQ(refusal(good), "accepted");
  EXPECT_EQ(refusal(good), ": 2 requests");
  EXPECT_EQ(drain().size(), 2U);
}

TEST_F(EngineTest, AContextThatDoesNotFitIsShortenedAndSaysSo) {
  const auto plan = [&] {
    return plan_memory(Ref{}, model_->config, WeightPlan{3'000'000, {}, {}}, ActFormat::f32, config_,
                       /*process_bytes=*/20'000'000);
  };
  const Result<PlannedMemory> fits = plan();
  ASSERT_TRUE(fits) << fits.error().message();
  EXPECT_EQ(fits->plan.kv_pages, 16);
  EXPECT_TRUE(fits->plan.notes.empty());

  config_.max_model_len = 0;  // the model's own 262144 tokens
  config_.memory_bytes =
      fits->plan.total_bytes() + int64_t{3} * 64 * 4096;  // three pages more; 4096 bytes a token
  const Result<PlannedMemory> shortened = plan();
  ASSERT_TRUE(shortened) << shortened.error().message();
  EXPECT_EQ(shortened->plan.max_model_len, 1024 + 3 * 64);
  EXPECT_EQ(shortened->plan.total_bytes(), config_.memory_bytes);
  ASSERT_EQ(shortened->plan.notes.size(), 1U);
  EXPECT_NE(shortened->plan.notes[0].find("context shortened from 262144 to 1216 tokens"),
            std::string::npos)
      << shortened->plan.notes[0];
}

TEST_F(EngineTest, AStepThatCannotHoldAllSequencesIsRefused) {
  config_.max_num_seqs = 9;
  config_.max_step_tokens = 8;
  const Result<std::unique_ptr<Engine>> engine = make_engine(*model_, config_);
  ASSERT_FALSE(engine);
  EXPECT_EQ(
      engine.error().message(),
      "max_step_tokens: the command line is not usable: found 8, expected at least 9; see --help");
}

TEST_F(EngineTest, AModelThatDoesNotFitIsRefusedBeforeItIsLoaded) {
  config_.memory_bytes = 1 << 20;
  config_.load_progress = [](double) { ADD_FAILURE() << "weights were read"; };
  const Result<std::unique_ptr<Engine>> engine = make_engine(*model_, config_);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::does_not_fit);
}

}  // namespace
}  // namespace qvl

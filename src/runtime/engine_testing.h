#pragma once

/// The tiny checkpoint behind an engine, for tests.

#include <gtest/gtest.h>

#include <map>

#include "media/content_hash.h"
#include "model/processor.h"
#include "runtime/engine_impl.h"

namespace qvl {

using Json = nlohmann::ordered_json;

inline const std::string kModel = QVL_SOURCE_DIR "/tests/goldens/tiny-2b";
inline const std::string kMedia = QVL_SOURCE_DIR "/tests/goldens/media/";

/// Another picture of the same size.
inline void invert(Patches& picture) {
  for (uint8_t& byte : picture.rows) byte = static_cast<uint8_t>(255 - byte);
  ContentHasher hash;
  hash.add(picture.rows);
  picture.content_hash = hash.digest();
}

/// The tiny checkpoint behind an engine; requests are built from text and pictures.
class EngineTest : public testing::Test {
 protected:
  EngineTest()
      : model_(open_model(kModel, LoadFormat::checkpoint)),
        processor_(Processor::load(*model_, {})) {
    config_.dtype = ActivationType::float32;
    config_.max_model_len = 1024;
    config_.max_patches = 1200;
    config_.law_check = LawCheck::every_step;
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

  /// One step, after which every page is accounted for.
  std::vector<Event> step() {
    std::vector<Event> events = engine_->step();
    const Use use = engine_->stats().pages;
    EXPECT_EQ(use.free + use.cached + use.owned, use.total);
    EXPECT_EQ(use.total, engine_->memory_plan().kv_pages);
    if (engine_->idle()) {
      EXPECT_EQ(use.owned, 0);
    }
    return events;
  }

  using AnswerKey = std::pair<RequestId, int>;

  /// Steps until all requests have ended; answers by request and index.
  std::map<AnswerKey, Answer> drain_all() {
    std::map<AnswerKey, Answer> answers;
    while (!engine_->idle()) {
      for (const Event& event : step()) {
        Answer& answer = answers[{event.request, event.index}];
        EXPECT_EQ(answer.last.finish, FinishReason::none) << "an event after the last";
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

  /// The first answer of each request.
  std::map<RequestId, Answer> drain() {
    std::map<RequestId, Answer> first;
    for (auto& [key, answer] : drain_all()) {
      if (key.second == 0) first[key.first] = std::move(answer);
    }
    return first;
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

}  // namespace qvl

/// Prompts that begin alike share pages of the cache, and no answer ever shows it.

#include <gtest/gtest.h>

#include "runtime/engine_testing.h"
#include "runtime/philox.h"

namespace qvl {
namespace {

int64_t full_pages(int64_t tokens) { return tokens / kPageTokens * kPageTokens; }

int64_t prompt_tokens(const Request& r) { return static_cast<int64_t>(r.prompt_tokens.size()); }

class PrefixCacheTest : public EngineTest {
 protected:
  PrefixCacheTest() { config_.threads = 1; }

  /// Twenty log probabilities a token: the sum behind them sees every logit.
  Request question(const std::string& text, const std::vector<std::string>& pictures = {}) {
    Request r = request(text, pictures);
    r.sampling.max_tokens = 6;
    r.sampling.top_logprobs = 20;
    return r;
  }

  /// What an engine without the cache answers; leaves `engine_` without one.
  std::vector<Answer> uncached(const std::vector<Request>& requests) {
    EngineConfig config = config_;
    config_.enable_prefix_caching = false;
    start();
    std::vector<Answer> answers;
    for (const Request& r : requests) {
      answers.push_back(ask(r));
      EXPECT_EQ(answers.back().last.usage.cached_tokens, 0);
      EXPECT_EQ(engine_->stats().pages.cached, 0);
    }
    config_ = config;
    return answers;
  }

  /// An engine whose cache holds less than max_num_seqs sequences of 16 pages: a request may find
  /// its prefix but no room.
  void start_with_too_few_pages() {
    start();
    int64_t bytes = engine_->memory_plan().total_bytes();
    while (engine_->memory_plan().kv_pages > 34) {
      bytes -= int64_t{2} * 64 * 4096;
      config_.memory_bytes = bytes;
      start();
    }
    config_.memory_bytes = 0;
    ASSERT_GE(engine_->memory_plan().kv_pages, 16);
  }

  /// A picture that needs all the room of the feature pool.
  void forget_features() {
    Request r = question("x", {"small.png"});
    const int64_t side = 2 * (config_.max_patches / 4);  // patches of two rows
    r.media[0].grid = {1, 2, static_cast<int>(side)};
    r.media[0].rows.assign(static_cast<size_t>(2 * side * 1536), 77);
    r.media[0].content_hash = {99};
    r.prompt_tokens.resize(static_cast<size_t>(r.spans[0].first_token));
    const int64_t rows = side / 2;
    r.prompt_tokens.insert(r.prompt_tokens.end(), static_cast<size_t>(rows), 9);
    r.prompt_tokens.push_back(5);
    r.spans[0].rows = rows;
    r.spans[0].merged_h = 1;
    r.spans[0].merged_w = static_cast<int>(rows);
    r.spans[0].media = 0;
    EXPECT_GT(ask(r).last.timings.vision_ms, 0);
  }

  int64_t cached_tokens(const Request& r) { return ask(r).last.usage.cached_tokens; }

  std::string lorem_ = "One two three four five six seven eight nine ten eleven twelve. ";
};

TEST_F(PrefixCacheTest, AnswersHaveTheSameBitsOffColdAndWarmWhateverTheChunk) {
  const std::vector<Request> requests{
      question("What is this?", {"small.png"}),
      question("And what is that?", {"small.png"}),
      question(lorem_ + lorem_),
      question(lorem_ + lorem_ + "Why?"),
      question("Compare", {"gray.png", "small.png"}),
      question("Compare", {"small.png", "gray.png"}),
      question("Describe this picture in detail, please.", {"card.png"})};
  const std::vector<Answer> expected = uncached(requests);
  for (const int64_t chunk : {1, 7, 64}) {
    config_.max_step_tokens = chunk;
    EXPECT_EQ(uncached(requests), expected) << chunk;
    start();
    for (const char* cache : {"cold", "warm"}) {
      for (size_t i = 0; i < requests.size(); ++i) {
        const Answer answer = ask(requests[i]);
        EXPECT_EQ(answer, expected[i]) << cache << ", request " << i << ", chunk " << chunk;
        if (cache == std::string("warm")) {
          EXPECT_EQ(answer.last.usage.cached_tokens, full_pages(prompt_tokens(requests[i]) - 1));
        }
      }
    }
  }
}

TEST_F(PrefixCacheTest, TheLastTokenOfAPromptIsAlwaysComputed) {
  start();
  Request r = question(lorem_ + lorem_);
  r.prompt_tokens.resize(128);
  EXPECT_EQ(cached_tokens(r), 0);
  EXPECT_EQ(cached_tokens(r), 64);
  r.prompt_tokens.push_back(5);
  EXPECT_EQ(cached_tokens(r), 128);
}

TEST_F(PrefixCacheTest, TheNextTurnTakesThePromptButNotTheGeneratedAnswer) {
  start();
  Request first = question(lorem_, {"small.png"});
  first.sampling.max_tokens = 150;
  const Answer answer = ask(first);
  ASSERT_EQ(answer.tokens.size(), 150U);
  Request second = first;
  second.prompt_tokens.insert(second.prompt_tokens.end(), answer.tokens.begin(),
                              answer.tokens.end());
  const std::vector<int32_t> more = question(lorem_).prompt_tokens;
  second.prompt_tokens.insert(second.prompt_tokens.end(), more.begin(), more.end());
  EXPECT_EQ(cached_tokens(second), full_pages(prompt_tokens(first)));
  Request third = second;
  third.prompt_tokens.insert(third.prompt_tokens.end(), more.begin(), more.end());
  const Answer warm = ask(third);
  EXPECT_EQ(warm.last.usage.cached_tokens, full_pages(prompt_tokens(second)));
  EXPECT_EQ(uncached({third})[0], warm);
}

TEST_F(PrefixCacheTest, APictureThatIsCoveredWhollyDoesNotGoThroughTheVisionTower) {
  start();
  const Request r = question(lorem_ + lorem_, {"small.png"});
  ASSERT_LE(r.spans[0].end(), full_pages(prompt_tokens(r) - 1));
  EXPECT_GT(ask(r).last.timings.vision_ms, 0);
  forget_features();
  const Answer warm = ask(r);
  EXPECT_EQ(warm.last.timings.vision_ms, 0);
  EXPECT_EQ(warm.last.usage.image_tokens, 70);
}

TEST_F(PrefixCacheTest, APictureThatIsCoveredInPartIsEncodedForTheRestUnlessItsFeaturesAreThere) {
  start();
  const Request first = question("What is this?", {"small.png"});
  const Request second = question("Is it so?", {"small.png"});
  ASSERT_GT(first.spans[0].end(), 64);
  ASSERT_LT(first.spans[0].first_token, 64);
  EXPECT_EQ(cached_tokens(first), 0);
  Answer kept = ask(second);
  EXPECT_EQ(kept.last.usage.cached_tokens, 64);
  EXPECT_EQ(kept.last.timings.vision_ms, 0);
  forget_features();
  const Answer encoded = ask(second);
  EXPECT_EQ(encoded.last.usage.cached_tokens, 64);
  EXPECT_GT(encoded.last.timings.vision_ms, 0);
  EXPECT_EQ(encoded, kept);
  EXPECT_EQ(uncached({second})[0], kept);
}

TEST_F(PrefixCacheTest, APictureIsEncodedOnceWhateverStandsBeforeIt) {
  start();
  const std::vector<Request> requests{question("What is this?", {"small.png"}),
                                      question("And", {"gray.png", "small.png"}),
                                      question("Now", {"small.png", "gray.png"})};
  const std::vector<Answer> expected = uncached(requests);
  start();
  for (size_t i = 0; i < requests.size(); ++i) {
    const Answer answer = ask(requests[i]);
    EXPECT_EQ(answer, expected[i]) << i;
    EXPECT_EQ(answer.last.timings.vision_ms > 0, i < 2) << i;
  }
  Request salted = requests[2];
  salted.cache_salt = "another";
  EXPECT_GT(ask(salted).last.timings.vision_ms, 0);
  Request other = requests[0];
  invert(other.media[0]);
  EXPECT_GT(ask(other).last.timings.vision_ms, 0);
}

TEST_F(PrefixCacheTest, DifferentPicturesOfEqualSizeShareNothingThatTheyTouch) {
  const Request first = question(lorem_ + lorem_, {"small.png"});
  Request second = first;
  invert(second.media[0]);
  const std::vector<Answer> expected = uncached({first, second});
  ASSERT_NE(expected[0], expected[1]);
  start();
  EXPECT_EQ(ask(first), expected[0]);
  const Answer other = ask(second);
  EXPECT_EQ(other, expected[1]);
  EXPECT_EQ(other.last.usage.cached_tokens, 0);
  EXPECT_EQ(ask(first).last.usage.cached_tokens, full_pages(prompt_tokens(first) - 1));
}

TEST_F(PrefixCacheTest, TheSecondOfTwoPicturesMayBeNew) {
  const Request first = question(lorem_, {"small.png", "gray.png"});
  Request second = first;
  invert(second.media[1]);
  const std::vector<Answer> expected = uncached({first, second});
  start();
  EXPECT_EQ(ask(first), expected[0]);
  const Answer other = ask(second);
  EXPECT_EQ(other, expected[1]);
  EXPECT_EQ(other.last.usage.cached_tokens, full_pages(second.spans[1].first_token));
  EXPECT_GT(other.last.usage.cached_tokens, 0);
}

TEST_F(PrefixCacheTest, RequestsOfDifferentSaltsShareNothing) {
  start();
  Request r = question(lorem_);
  r.cache_salt = "one";
  EXPECT_EQ(cached_tokens(r), 0);
  r.cache_salt = "two";
  EXPECT_EQ(cached_tokens(r), 0);
  r.cache_salt = "one";
  EXPECT_EQ(cached_tokens(r), full_pages(prompt_tokens(r) - 1));
  r.cache_salt.assign(1025, 'x');
  EXPECT_EQ(refusal(r), "cache_salt: found 1025 bytes, expected at most 1024");
}

TEST_F(PrefixCacheTest, RequestsThatComeTogetherComputeACommonPrefixOnce) {
  config_.max_num_seqs = 4;
  config_.max_step_tokens = 40;
  Request first = question(lorem_ + lorem_ + "Why?", {"small.png"});
  Request second = question(lorem_ + lorem_ + "How so?", {"small.png"});
  first.sampling.n = 3;
  first.sampling.temperature = 1.0F;
  Request alone = first;
  alone.sampling.n = 1;
  std::vector<Request> singles;
  for (int i = 0; i < 3; ++i) {
    alone.sampling.seed = answer_seed(0, i);
    singles.push_back(alone);
  }
  singles.push_back(second);
  const std::vector<Answer> expected = uncached(singles);
  start();
  const RequestId many = *engine_->submit(first);
  const RequestId one = *engine_->submit(second);
  std::map<AnswerKey, Answer> answers = drain_all();
  const int64_t common = full_pages(prompt_tokens(first) - 1);
  for (int i = 0; i < 3; ++i) {
    const Answer& answer = answers[{many, i}];
    EXPECT_EQ(answer, expected[static_cast<size_t>(i)]) << i;
    EXPECT_EQ(answer.last.usage.cached_tokens, i == 0 ? 0 : common) << i;
    EXPECT_EQ(answer.last.timings.vision_ms > 0, i == 0) << i;
  }
  EXPECT_EQ((answers[{one, 0}]), expected[3]);
  EXPECT_GT((answers[{one, 0}].last.usage.cached_tokens), 64);
}

TEST_F(PrefixCacheTest, PagesAreGivenUpWhenOthersNeedThem) {
  config_.max_model_len = 512;
  start();
  Request large = question(lorem_);
  const int64_t reusable = full_pages(prompt_tokens(large) - 1);
  ASSERT_GT(reusable, 0);
  large.sampling.max_tokens = 512 - prompt_tokens(large);  // the whole cache
  EXPECT_EQ(cached_tokens(large), 0);
  EXPECT_EQ(cached_tokens(large), reusable);
  Request other = large;
  other.prompt_tokens[0] += 1;
  EXPECT_EQ(cached_tokens(other), 0);
  EXPECT_EQ(cached_tokens(large), 0);
}

TEST_F(PrefixCacheTest, RandomTrafficWithCancellationsChangesNoAnswerAndLosesNoPage) {
  config_.max_num_seqs = 3;
  std::vector<Request> requests;
  for (const std::string& text : {lorem_, lorem_ + "a", lorem_ + lorem_, std::string("x")}) {
    requests.push_back(question(text));
    requests.push_back(question(text, {"small.png"}));
    requests.push_back(question(text, {"small.png"}));
    invert(requests.back().media[0]);
  }
  for (Request& r : requests) {  // room for a long answer, which then ends soon
    r.sampling.max_tokens = 700;
    for (int32_t id = 0; id < 704; id += 3) r.sampling.eos_token_ids.push_back(id);
  }
  const std::vector<Answer> expected = uncached(requests);
  int64_t hits = 0;
  for (const int64_t chunk : {7, 64}) {
    config_.max_step_tokens = chunk;
    start_with_too_few_pages();
    uint64_t draw = 0;
    const auto random = [&](size_t below) {
      return static_cast<size_t>(uniform(static_cast<uint64_t>(chunk), draw++) *
                                 static_cast<double>(below));
    };
    std::map<RequestId, size_t> asked;
    std::map<RequestId, Answer> answers;
    for (int i = 0; i < 400 || !engine_->idle(); ++i) {
      if (i < 400 && random(3) == 0) {
        const size_t which = random(requests.size());
        const Result<RequestId> id = engine_->submit(requests[which]);
        ASSERT_TRUE(id) << id.error().message();
        asked[*id] = which;
        if (random(4) == 0) engine_->cancel(1 + random(*id));
      }
      for (const Event& event : step()) {
        Answer& answer = answers[event.request];
        if (event.token >= 0) {
          answer.tokens.push_back(event.token);
          answer.logprobs.push_back(event.logprob);
          for (const TokenLogprob& t : event.top_logprobs) answer.logprobs.push_back(t.logprob);
        }
        if (event.finish == FinishReason::none) continue;
        hits += event.usage.cached_tokens;
        if (event.finish == FinishReason::cancelled) continue;
        EXPECT_EQ(answer, expected[asked[event.request]]) << event.request;
      }
    }
    EXPECT_EQ(answers.size(), asked.size());
  }
  EXPECT_GT(hits, 1000);
}

}  // namespace
}  // namespace qvl

#include "qvl/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "runtime/engine_testing.h"
#include "runtime/memory.h"
#include "runtime/runner.h"
#include "runtime/runner_cuda.h"

namespace qvl {
namespace {

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
  invert(second.media[0]);
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

TEST_F(EngineTest, TheEventSaysWhatEndedTheAnswer) {
  start();
  Request r = request("What is this?");
  const Answer whole = ask(r);
  EXPECT_EQ(whole.last.stop_cause, StopCause::none);
  EXPECT_EQ(whole.last.stop_token, -1);
  r.sampling.stop_token_ids = {whole.tokens[0]};
  Answer stopped = ask(r);
  EXPECT_TRUE(stopped.tokens.empty());
  EXPECT_EQ(stopped.last.stop_cause, StopCause::stop_token);
  EXPECT_EQ(stopped.last.stop_token, whole.tokens[0]);
  r.sampling.eos_token_ids = {whole.tokens[0]};
  stopped = ask(r);
  EXPECT_EQ(stopped.last.stop_cause, StopCause::eos);
  r.sampling.stop_token_ids.clear();
  r.sampling.ignore_eos = true;
  EXPECT_EQ(ask(r), whole);
}

TEST_F(EngineTest, AnAnswerDoesNotEndBeforeMinTokens) {
  start();
  Request r = request("What is this?");
  for (int32_t id = 0; id < 650; ++id) r.sampling.stop_token_ids.push_back(id);
  EXPECT_TRUE(ask(r).tokens.empty());
  r.sampling.min_tokens = 5;
  const Answer answer = ask(r);
  EXPECT_EQ(answer.tokens.size(), 5U);
  for (const int32_t token : answer.tokens) EXPECT_GE(token, 650);
  EXPECT_EQ(answer.last.finish, FinishReason::stop);
}

TEST_F(EngineTest, ALoopEndsTheAnswerOnlyIfTheGuardIsOn) {
  start();
  Request r = request("What is this?");
  r.sampling.logit_bias = {{42, 100}};  // this token again and again
  r.sampling.top_logprobs = -1;
  r.sampling.max_tokens = 300;
  EXPECT_EQ(ask(r).last.finish, FinishReason::length);
  r.sampling.repetition_guard = RepetitionGuard::on;
  Answer answer = ask(r);
  EXPECT_EQ(answer.tokens, std::vector<int32_t>(128, 42));
  EXPECT_EQ(answer.last.finish, FinishReason::stop);
  EXPECT_EQ(answer.last.stop_cause, StopCause::repetition);
  EXPECT_EQ(answer.last.usage.completion_tokens, 128);
  r.sampling.min_tokens = 200;
  EXPECT_EQ(ask(r).tokens.size(), 200U);
}

TEST_F(EngineTest, PenaltiesSeePromptAndAnswer) {
  start();
  Request r = request("What is this?");
  r.sampling.logit_bias = {{42, 50}, {43, 49}};
  EXPECT_EQ(ask(r).tokens, std::vector<int32_t>(12, 42));
  r.sampling.frequency_penalty = 2.0F;  // 42 falls behind whenever it leads by one
  const std::vector<int32_t> tokens = ask(r).tokens;
  EXPECT_EQ(
      std::count(tokens.begin(), tokens.end(), 42) + std::count(tokens.begin(), tokens.end(), 43),
      12);
  EXPECT_GE(std::count(tokens.begin(), tokens.end(), 43), 4);
  r.sampling.frequency_penalty = 0;
  r.sampling.repetition_penalty = 10.0F;
  r.prompt_tokens[0] = 42;
  EXPECT_EQ(ask(r).tokens[0], 43);
}

TEST_F(EngineTest, EveryOneOfNAnswersIsTheAnswerToItsOwnSeed) {
  config_.max_num_seqs = 3;
  config_.max_step_tokens = 50;
  start();
  Request r = request("What is this?", {"small.png"});
  r.sampling.temperature = 1.5F;
  r.sampling.seed = 11;
  r.sampling.n = 5;
  ASSERT_TRUE(engine_->submit(r));
  const std::map<AnswerKey, Answer> together = drain_all();
  ASSERT_EQ(together.size(), 5U);
  r.sampling.n = 1;
  for (const auto& [key, answer] : together) {
    r.sampling.seed = answer_seed(11, key.second);
    EXPECT_EQ(ask(r), answer) << key.second;
  }
  EXPECT_NE(together.begin()->second.tokens, together.rbegin()->second.tokens);
}

TEST_F(EngineTest, OneAnswerOfSeveralCanBeCancelled) {
  config_.max_num_seqs = 3;
  start();
  Request r = request("What is this?");
  r.sampling.n = 3;
  const RequestId id = *engine_->submit(r);
  engine_->step();
  engine_->cancel_answer(id, 1);
  engine_->cancel_answer(id, 99);  // unknown: ignored
  std::map<AnswerKey, Answer> answers = drain_all();
  EXPECT_EQ((answers[{id, 0}].last.finish), FinishReason::length);
  EXPECT_EQ((answers[{id, 1}].last.finish), FinishReason::cancelled);
  EXPECT_EQ((answers[{id, 2}].last.finish), FinishReason::length);
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
  r = good;
  r.sampling.logit_bias = {{704, 1}};
  EXPECT_EQ(refusal(r), "logit_bias: found token 704, expected one of the vocabulary of 704");
  r = good;
  r.sampling.n = 3;
  EXPECT_EQ(refusal(r), ": found 3 answers, expected at most 2: all that the queue takes");
  EXPECT_EQ(refusal(good), "accepted");
  EXPECT_EQ(refusal(good), "accepted");
  EXPECT_EQ(refusal(good), ": found 2 unfinished answers and 1 asked for, expected at most 2");
  EXPECT_EQ(drain().size(), 2U);
}

TEST_F(EngineTest, AGpuIsTakenWhereItIsAskedForOrSuitsTheActivations) {
  const auto on_gpu = [&](BackendKind backend, ActivationType dtype) {
    config_.backend = backend;
    config_.dtype = dtype;
    return runs_on_gpu(*model_, config_);
  };
  EXPECT_TRUE(on_gpu(BackendKind::cuda, ActivationType::bfloat16));
  EXPECT_FALSE(on_gpu(BackendKind::cpu, ActivationType::bfloat16));
  EXPECT_FALSE(on_gpu(BackendKind::ref, ActivationType::bfloat16));
  EXPECT_FALSE(on_gpu(BackendKind::automatic, ActivationType::float32));
  EXPECT_EQ(on_gpu(BackendKind::automatic, ActivationType::bfloat16), has_gpu());
}

TEST_F(EngineTest, AContextThatDoesNotFitIsShortenedAndSaysSo) {
  const auto plan = [&] {
    MemoryRoom room = host_room();
    room.taken_bytes = 20'000'000;
    return plan_memory(backend_needs(Ref{}, model_->config, ActFormat::f32, config_), room,
                       model_->config, WeightPlan{3'000'000, {}, {}}, ActFormat::f32, config_);
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

TEST_F(EngineTest, TheBillHasTheScratchMemoryThatWeightsNeed) {
  MemoryRoom room = host_room();
  room.taken_bytes = 20'000'000;
  const auto total = [&](int64_t scratch_bytes) {
    const WeightPlan weights{3'000'000, {}, {}, scratch_bytes};
    return plan_memory(backend_needs(Ref{}, model_->config, ActFormat::f32, config_), room,
                       model_->config, weights, ActFormat::f32, config_)
        ->plan.total_bytes();
  };
  EXPECT_EQ(total(1'000'000), total(0) + 1'000'000);
}

TEST_F(EngineTest, TheCacheIsAsLargeAsItIsSetAndNoLarger) {
  const auto plan = [&](int64_t pages) {
    config_.kv_bytes = pages * 64 * 4096 + 1;  // 4096 bytes a token
    MemoryRoom room = host_room();
    room.taken_bytes = 20'000'000;
    return plan_memory(backend_needs(Ref{}, model_->config, ActFormat::f32, config_), room,
                       model_->config, WeightPlan{3'000'000, {}, {}}, ActFormat::f32, config_);
  };
  EXPECT_EQ(plan(16)->plan.kv_pages, 16);
  EXPECT_EQ(plan(100)->plan.kv_pages, 100);  // more than the sequences need: for the prefix cache
  const Result<PlannedMemory> small = plan(5);
  ASSERT_TRUE(small) << small.error().message();
  EXPECT_EQ(small->plan.kv_pages, 5);
  EXPECT_EQ(small->plan.max_model_len, 5 * 64);
  ASSERT_FALSE(plan(3));  // fewer than 256 tokens
  EXPECT_EQ(plan(3).error().code, ErrorCode::does_not_fit);
  config_.memory_bytes = plan(16)->plan.total_bytes();
  const Result<PlannedMemory> capped = plan(100);
  ASSERT_TRUE(capped) << capped.error().message();
  EXPECT_EQ(capped->plan.kv_pages, 16);
  ASSERT_EQ(capped->plan.notes.size(), 1U);
  EXPECT_EQ(capped->plan.notes[0], "cache holds 1024 tokens, not 6400");
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

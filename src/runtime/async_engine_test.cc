#include "qvl/async_engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <stdexcept>
#include <thread>

#include "runtime/fake_engine.h"

namespace qvl {
namespace {

using namespace std::chrono_literals;

EngineConfig config() {
  EngineConfig config;
  config.max_num_seqs = 8;
  config.max_step_tokens = 64;
  config.max_patches = 64;
  config.max_queue = 100;
  config.law_check = LawCheck::every_step;
  return config;
}

/// Few pages and feature rows, so that requests get into each other's way.
constexpr FakeEngineShape kSmall{.kv_pages = 20, .feature_rows = 20};

Request request(uint64_t seed, int64_t max_tokens) {
  std::mt19937_64 random(seed);
  Request r;
  const uint64_t tokens = 1 + random() % 150;
  for (uint64_t i = 0; i < tokens; ++i) r.prompt_tokens.push_back(static_cast<int32_t>(i % 50));
  for (uint64_t i = random() % 3; i > 0; --i) {
    const uint64_t number = random() % 5;
    append_picture(r, fake_picture(number, {1, 4, static_cast<int>(2 + 2 * (number % 4))}));
  }
  r.prompt_tokens.push_back(static_cast<int32_t>(random() % 1000));
  r.sampling.max_tokens = max_tokens;
  return r;
}

std::vector<int32_t> read_all(EventStream& stream, FinishReason* reason = nullptr) {
  std::vector<int32_t> tokens;
  std::vector<Event> events;
  while (stream.wait(events)) {
    for (const Event& event : events) {
      if (event.token >= 0) tokens.push_back(event.token);
      if (reason != nullptr && event.finish != FinishReason::none) *reason = event.finish;
    }
  }
  return tokens;
}

void expect_nothing_left(AsyncEngine& engine) {
  EXPECT_TRUE(engine.wait_idle(60s));
  const EngineStats stats = engine.stats();
  EXPECT_EQ(engine.failure(), "");
  EXPECT_EQ(stats.running + stats.waiting, 0);
  EXPECT_EQ(stats.pages.owned, 0);
  EXPECT_EQ(stats.feature_rows.owned, 0);
  EXPECT_EQ(engine.admission().tickets(), 0);
  EXPECT_EQ(engine.admission().reserved().media_bytes, 0);
}

TEST(AsyncEngine, ManyReadersGetWhatEachGetsAlone) {
  std::vector<std::vector<int32_t>> alone;
  {
    AsyncEngine engine(make_fake_engine(kSmall, config()));
    for (uint64_t seed = 0; seed < 60; ++seed) {
      Result<EventStream> stream = engine.submit(request(seed, 40));
      ASSERT_TRUE(stream);
      alone.push_back(read_all(*stream));
      EXPECT_EQ(alone.back().size(), 40U);
    }
  }
  AsyncEngine engine(make_fake_engine(kSmall, config()));
  std::vector<std::thread> readers;
  readers.reserve(60);
  for (uint64_t seed = 0; seed < 60; ++seed) {
    readers.emplace_back([&, seed] {
      Result<EventStream> stream = engine.submit(request(seed, 40));
      ASSERT_TRUE(stream);
      EXPECT_EQ(read_all(*stream), alone[seed]) << seed;
    });
  }
  for (std::thread& reader : readers) reader.join();
  expect_nothing_left(engine);
}

TEST(AsyncEngine, RandomCancelsInEveryPhaseLeaveNothingBehind) {
  const char* const wanted = std::getenv("QVL_CANCELS");
  const uint64_t cancels = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 20'000;
  AsyncEngine engine(make_fake_engine(kSmall, config()));
  std::vector<std::thread> readers;
  readers.reserve(6);
  std::atomic<uint64_t> next{0};
  std::atomic<int64_t> cancelled{0};
  for (int reader = 0; reader < 6; ++reader) {
    readers.emplace_back([&] {
      std::vector<Event> events;
      for (uint64_t seed; (seed = next++) < cancels;) {
        std::mt19937_64 random(seed + 7);
        Request r = request(seed, 1 + static_cast<int64_t>(random() % 60));
        r.sampling.n = 1 + static_cast<int>(random() % 3);
        r.priority = static_cast<int>(random() % 2);
        if (random() % 8 == 0) r.deadline_ms = 0.05 * static_cast<double>(1 + random() % 40);
        Result<EventStream> stream = engine.submit(std::move(r));
        ASSERT_TRUE(stream) << stream.error().message();
        const uint64_t patience = random() % 12;
        for (uint64_t i = 0; i < patience && stream->wait(events); ++i) {
          for (const Event& e : events) cancelled += e.finish == FinishReason::cancelled ? 1 : 0;
          if (random() % 4 == 0) stream->cancel_answer(static_cast<int>(random() % 4));
        }
        if (random() % 2 == 0) {
          stream->cancel();
          while (stream->wait(events)) {
            for (const Event& e : events) cancelled += e.finish == FinishReason::cancelled ? 1 : 0;
          }
        }  // else it goes out of scope unread
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  expect_nothing_left(engine);
  EXPECT_GT(cancelled, static_cast<int64_t>(cancels / 4));
}

TEST(AsyncEngine, AReaderThatDoesNotKeepUpPausesItsOwnRequestOnly) {
  AsyncEngine engine(make_fake_engine({}, config()), {.stream_events = 8});
  Result<EventStream> slow = engine.submit(request(1, 300));
  Result<EventStream> quick = engine.submit(request(2, 300));
  ASSERT_TRUE(slow && quick);
  EXPECT_EQ(read_all(*quick).size(), 300U);
  while (engine.stats().steps < 300) std::this_thread::sleep_for(1ms);
  std::vector<Event> events;
  ASSERT_TRUE(slow->take(events));
  EXPECT_EQ(events.size(), 8U + 1);  // the step under way
  size_t tokens = events.size();
  while (slow->wait(events)) tokens += events.size();
  EXPECT_EQ(tokens, 300U);
  expect_nothing_left(engine);
}

TEST(AsyncEngine, ADeadlineEndsARequestEvenWhileItIsPaused) {
  AsyncEngine engine(make_fake_engine({}, config()), {.stream_events = 8});
  Request r = request(1, 5000);
  r.deadline_ms = 30;
  Result<EventStream> stream = engine.submit(std::move(r));
  ASSERT_TRUE(stream);
  ASSERT_TRUE(engine.wait_idle(60s));  // nobody reads
  FinishReason reason = FinishReason::none;
  EXPECT_EQ(read_all(*stream, &reason).size(), 8U + 1);
  EXPECT_EQ(reason, FinishReason::deadline);
}

TEST(AsyncEngine, AfterDrainingNothingIsTakenAndWhatRunsEnds) {
  AsyncEngine engine(make_fake_engine({}, config()));
  Result<EventStream> stream = engine.submit(request(1, 100));
  engine.drain();
  const Result<EventStream> refused = engine.submit(request(2, 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::engine_draining);
  EXPECT_EQ(read_all(*stream).size(), 100U);
  EXPECT_TRUE(engine.wait_idle(60s));
}

TEST(AsyncEngine, TheQueueIsBoundedAndSaysSoAtOnce) {
  EngineConfig bounded = config();
  bounded.max_queue = 2;
  AsyncEngine engine(make_fake_engine({}, bounded), {.stream_events = 4});
  Result<EventStream> first = engine.submit(request(1, 1000));
  Result<EventStream> second = engine.submit(request(2, 1000));
  ASSERT_TRUE(first && second);
  const Result<EventStream> third = engine.submit(request(3, 1));
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, ErrorCode::queue_full);
}

TEST(AsyncEngine, MemoryForMediaIsReservedBeforeTheRequestIsThere) {
  EngineConfig bounded = config();
  bounded.max_media_bytes = 1000;
  AsyncEngine engine(make_fake_engine({}, bounded));
  Result<Admission::Ticket> ticket = engine.admission().reserve({.media_bytes = 900});
  ASSERT_TRUE(ticket);
  EXPECT_FALSE(engine.admission().reserve({.media_bytes = 101}));
  ticket->update({.media_bytes = 200});
  EXPECT_TRUE(engine.admission().reserve({.media_bytes = 800}));
  Result<EventStream> stream = engine.submit(request(1, 3), std::move(*ticket));
  EXPECT_EQ(read_all(*stream).size(), 3U);
  expect_nothing_left(engine);
}

TEST(AsyncEngine, WhatNeverFitsIsNotToldToComeAgain) {
  EngineConfig bounded = config();
  bounded.max_queue = 2;
  AsyncEngine engine(make_fake_engine({}, bounded));
  const Result<Admission::Ticket> ticket = engine.admission().reserve({.answers = 3});
  ASSERT_FALSE(ticket);
  EXPECT_EQ(ticket.error().code, ErrorCode::request_too_large);
}

TEST(AsyncEngine, ATicketChangesWithinItsOwnRoomAndStaysIfThereIsNone) {
  EngineConfig bounded = config();
  bounded.max_queue = 3;
  AsyncEngine engine(make_fake_engine({}, bounded));
  Admission& admission = engine.admission();
  Result<Admission::Ticket> other = admission.reserve({.answers = 1});
  Result<Admission::Ticket> ticket = admission.reserve({.answers = 1});
  ASSERT_TRUE(other && ticket);
  EXPECT_TRUE(admission.change(*ticket, {.answers = 2, .prompt_tokens = 7}));
  EXPECT_EQ(admission.reserved().answers, 3);
  EXPECT_EQ(admission.reserved().prompt_tokens, 7);
  const Status more = admission.change(*ticket, {.answers = 3});
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, ErrorCode::queue_full);
  EXPECT_EQ(ticket->cost().answers, 2);
  EXPECT_EQ(admission.reserved().answers, 3);
  EXPECT_EQ(admission.tickets(), 2);
}

/// Knows whether it works on a step.
class BusyDevice final : public Device {
 public:
  BusyDevice(const FakeDevice::Config& config, std::atomic<bool>& busy)
      : inner_(config), busy_(&busy) {}
  void start(const DeviceStep& step) override {
    inner_.start(step);
    *busy_ = true;
  }
  const StepResult& finish() override {
    *busy_ = false;
    return inner_.finish();
  }

 private:
  FakeDevice inner_;
  std::atomic<bool>* busy_;
};

TEST(AsyncEngine, TheDeviceDoesNotWaitForReadersToBeWoken) {
  EngineModel model;
  model.config.text.vocab_size = 1000;
  model.plan = {.lines = {}, .max_model_len = 640, .kv_pages = 10, .notes = {}};
  std::atomic<bool> busy = false;
  auto device =
      std::make_unique<BusyDevice>(FakeDevice::Config{.kv_pages = 10, .feature_rows = 4}, busy);
  AsyncEngine engine(std::move(*make_engine(std::move(device), std::move(model), config())));
  std::atomic<int> while_busy = 0;
  std::atomic<int> while_idle = 0;
  Request r;
  r.prompt_tokens = {1, 2, 3};
  r.sampling.max_tokens = 100;
  EventStream stream;
  std::mutex mutex;
  std::vector<Event> events;
  size_t tokens = 0;
  const auto on_events = [&] {
    ++(busy ? while_busy : while_idle);
    const std::lock_guard lock(mutex);
    while (stream.take(events) && !events.empty()) tokens += events.size();
  };
  {
    const std::lock_guard lock(mutex);
    stream = std::move(*engine.submit(r, on_events));
  }
  ASSERT_TRUE(engine.wait_idle(60s));
  EXPECT_EQ(tokens, 100U);
  EXPECT_EQ(while_busy, 99);
  EXPECT_EQ(while_idle, 1);  // the last token: no step follows
}

/// Its logits are not numbers.
class NanDevice final : public Device {
 public:
  explicit NanDevice(const FakeDevice::Config& config) : inner_(config) {}
  void start(const DeviceStep& step) override { inner_.start(step); }
  const StepResult& finish() override {
    result_ = inner_.finish();
    for (Sample& sample : result_.tokens) sample.token = -1;
    return result_;
  }

 private:
  FakeDevice inner_;
  StepResult result_;
};

TEST(AsyncEngine, AnAnswerWhoseLogitsAreNotNumbersEndsWithAnErrorAndIsCounted) {
  EngineModel model;
  model.config.text.vocab_size = 1000;
  model.plan = {.lines = {}, .max_model_len = 640, .kv_pages = 10, .notes = {}};
  auto device = std::make_unique<NanDevice>(FakeDevice::Config{.kv_pages = 10, .feature_rows = 4});
  AsyncEngine engine(std::move(*make_engine(std::move(device), std::move(model), config())));
  Request r;
  r.prompt_tokens = {1, 2, 3};
  for (int i = 0; i < 2; ++i) {
    Result<EventStream> stream = engine.submit(r);
    ASSERT_TRUE(stream);
    FinishReason reason = FinishReason::none;
    EXPECT_TRUE(read_all(*stream, &reason).empty());
    EXPECT_EQ(reason, FinishReason::error);
  }
  expect_nothing_left(engine);
  EXPECT_EQ(engine.stats().corrupted, 2);
}

class BrokenDevice final : public Device {
 public:
  void start(const DeviceStep&) override {}
  const StepResult& finish() override { throw std::runtime_error("the device fell off the bus"); }
};

TEST(AsyncEngine, ABrokenDeviceEndsEveryRequestWithAnErrorAndTakesNoMore) {
  EngineModel model;
  model.config.text.vocab_size = 1000;
  model.plan = {.lines = {}, .max_model_len = 640, .kv_pages = 10, .notes = {}};
  AsyncEngine engine(
      std::move(*make_engine(std::make_unique<BrokenDevice>(), std::move(model), config())));
  Request r;
  r.prompt_tokens = {1, 2, 3};
  r.sampling.n = 2;
  Result<EventStream> stream = engine.submit(r);
  ASSERT_TRUE(stream);
  FinishReason reason = FinishReason::none;
  EXPECT_TRUE(read_all(*stream, &reason).empty());
  EXPECT_EQ(reason, FinishReason::error);
  EXPECT_TRUE(engine.wait_idle(60s));
  EXPECT_EQ(engine.failure(), "the device fell off the bus");
  Result<EventStream> later = engine.submit(r);
  ASSERT_TRUE(later);
  read_all(*later, &reason);
  EXPECT_EQ(reason, FinishReason::error);
  EXPECT_EQ(engine.admission().tickets(), 0);
}

}  // namespace
}  // namespace qvl

#include "runtime/scheduler_simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace qvl {

/// Breaks a scheduler on purpose.
struct SchedulerPeer {
  static void leak_page(Scheduler& s) { (void)s.blocks_.take(1); }
  static void give_back_a_page_twice(Scheduler& s) {
    for (Task* const task : s.running_) {
      s.blocks_.give_back({task->sequence.block_table.front()});
    }
  }
  static void leak_features(Scheduler& s) { (void)s.features_.take_new({0xff, 0xff}, 1); }
  static void share_a_page(Scheduler& s) {
    if (s.running_.size() < 2) return;
    s.running_[0]->sequence.block_table.front() = s.running_[1]->sequence.block_table.front();
  }
  static void starve(Scheduler& s) {
    if (!s.running_.empty()) s.running_.front()->paused_ = true;
  }
};

namespace {

/// Steps of all simulations of a test together; more by QVL_SIMULATION_STEPS.
int64_t simulation_steps() {
  const char* const steps = std::getenv("QVL_SIMULATION_STEPS");
  return steps != nullptr ? std::atoll(steps) : 1'000'000;
}

SimulationConfig config_for(uint64_t seed) {
  SimulationConfig config;
  config.seed = seed;
  std::mt19937_64 random(seed * 977 + 5);
  const auto between = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  SchedulerConfig& s = config.scheduler;
  s.kv_pages = between(8, 40);
  s.max_num_seqs = between(1, 8);
  s.max_step_tokens = s.max_num_seqs + between(0, 80);
  s.feature_rows = between(4, 40);
  s.max_patches = between(1, 24) * 4;
  s.vision_layers = between(1, 5);
  s.keep_features = seed % 3 == 0 ? FeatureCache::Keep::no : FeatureCache::Keep::yes;
  config.arrivals_per_step = 0.01 * static_cast<double>(between(2, 15));
  config.pauses = seed % 2 == 0;
  config.drafts = seed % 4 < 2;
  config.overlap = seed % 8 < 5;
  config.priorities = seed % 5 != 0;
  return config;
}

TEST(SchedulerSimulation, EveryLawHoldsInEveryStepAndEveryTokenIsTheOneItsRequestGetsAlone) {
  constexpr int64_t kRun = 20'000;
  int64_t tokens = 0;
  int64_t preemptions = 0;
  int64_t hits = 0;
  int64_t abandoned = 0;
  for (int64_t done = 0, seed = 1; done < simulation_steps(); done += kRun, ++seed) {
    Simulation world(config_for(static_cast<uint64_t>(seed)));
    for (int64_t i = 0; i < kRun; ++i) {
      const std::string wrong = world.step();
      ASSERT_EQ(wrong, "") << "seed " << seed;
    }
    // Liveness: once nothing new comes, everything ends.
    world.close();
    for (int64_t i = 0; i < 2'000'000 && !world.idle(); ++i) ASSERT_EQ(world.step(), "");
    ASSERT_TRUE(world.idle()) << "seed " << seed;
    ASSERT_TRUE(world.scheduler().idle());
    ASSERT_EQ(world.scheduler().blocks().owned_pages(), 0);
    ASSERT_EQ(world.scheduler().features().owned_rows(), 0);
    tokens += world.tokens();
    const SchedulerCounters& c = world.scheduler().counters();
    preemptions += c.preemptions;
    hits += c.prefix_hits + c.feature_hits;
    abandoned += c.abandoned_passes;
  }
  // The worlds are not dull.
  EXPECT_GT(tokens, simulation_steps() / 4);
  EXPECT_GT(preemptions, simulation_steps() / 1000);
  EXPECT_GT(hits, simulation_steps() / 1000);
  EXPECT_GT(abandoned, simulation_steps() / 100'000);
  std::printf("%lld tokens, %lld preemptions, %lld hits, %lld abandoned passes\n",
              static_cast<long long>(tokens), static_cast<long long>(preemptions),
              static_cast<long long>(hits), static_cast<long long>(abandoned));
}

TEST(SchedulerSimulation, ASeedGivesTheSameRunTwice) {
  uint64_t first = 0;
  for (int round = 0; round < 2; ++round) {
    Simulation world(config_for(7));
    for (int i = 0; i < 5000; ++i) ASSERT_EQ(world.step(), "");
    if (round == 0) first = world.output_hash();
    EXPECT_EQ(world.output_hash(), first);
  }
  EXPECT_NE(first, 0U);
}

/// What the checks say when `fault` is planted after 1000 steps.
template <class Fault>
std::string found_after(Fault fault, int64_t every = 1'000'000) {
  SimulationConfig config = config_for(3);
  config.pauses = false;
  Simulation world(config);
  for (int i = 0; i < 1000; ++i) {
    if (std::string wrong = world.step(); !wrong.empty()) return "before: " + wrong;
  }
  for (int64_t i = 0; i < 100'000; ++i) {
    if (i % every == 0) fault(world.scheduler());
    if (std::string wrong = world.step(); !wrong.empty()) return wrong;
  }
  return {};
}

TEST(SchedulerSimulation, APlantedLeakIsCaught) {
  EXPECT_THAT(found_after(SchedulerPeer::leak_page), testing::HasSubstr("pages have"));
  EXPECT_THAT(found_after(SchedulerPeer::leak_features), testing::HasSubstr("features have"));
}

TEST(SchedulerSimulationDeathTest, APlantedDoubleFreeIsCaught) {
  EXPECT_DEATH(
      {
        const std::string wrong = found_after(SchedulerPeer::give_back_a_page_twice, 1);
        std::fprintf(stderr, "%s\n", wrong.c_str());
        if (!wrong.empty()) std::abort();
      },
      "pages have .* owners, tasks hold|given back twice");
}

TEST(SchedulerSimulationDeathTest, APageInTwoSequencesIsCaught) {
  EXPECT_DEATH(
      {
        const std::string wrong = found_after(SchedulerPeer::share_a_page, 1);
        std::fprintf(stderr, "%s\n", wrong.c_str());
        if (!wrong.empty()) std::abort();
      },
      "found|given back twice");
}

TEST(SchedulerSimulation, APlantedStarvationIsCaught) {
  EXPECT_THAT(found_after(SchedulerPeer::starve, 1), testing::HasSubstr("should have ended"));
}

}  // namespace
}  // namespace qvl

#include "runtime/scheduler.h"

#include <gtest/gtest.h>

#include <map>

namespace qvl {
namespace {

/// Tasks have names; a step reads "prefill a[0,64) | decode b | vision 3 layers of 8 patches".
class SchedulerTest : public testing::Test {
 protected:
  void SetUp() override { restart(); }
  void restart() {
    names_.clear();
    tasks_.clear();
    scheduler_ = std::make_unique<Scheduler>(config_);
  }

  struct Wish {
    int64_t prompt = 1;
    int64_t max_tokens = 100;
    int priority = 0;
    double deadline = 1e9;
    std::vector<int64_t> pictures = {};  ///< patches of each, at the beginning of the prompt
    uint8_t family = 0;                  ///< prompts of one family (not 0) share their pages
  };
  void add(const std::string& name, const Wish& wish) {
    NewTask task;
    task.prompt.assign(static_cast<size_t>(wish.prompt), 7);
    task.max_tokens = wish.max_tokens;
    task.priority = wish.priority;
    task.deadline = wish.deadline;
    int64_t at = 0;
    for (const int64_t patches : wish.pictures) {
      EmbedSpan span;
      span.first_token = at;
      span.rows = patches / 4;
      span.media = static_cast<int>(task.media.size());
      task.spans.push_back(span);
      task.media.push_back(
          {{static_cast<uint8_t>(patches)}, {1, 2, static_cast<int>(patches / 2)}, {}});
      at += span.rows;
    }
    for (uint8_t p = 0; wish.family > 0 && p < wish.prompt / kPageTokens; ++p) {
      task.page_keys.push_back({wish.family, p});
    }
    Task& added = scheduler_->add(std::move(task));
    names_[added.id] = name;
    tasks_[name] = &added;
  }

  std::string describe(const StepPlan& plan) const {
    std::string out;
    const auto part = [&](const std::string& text) { out += (out.empty() ? "" : " | ") + text; };
    for (const TaskChunk& chunk : plan.chunks) {
      const std::string& name = names_.at(chunk.task->id);
      const SequenceChunk& r = chunk.rows;
      const std::string range =
          "[" + std::to_string(r.begin) + "," + std::to_string(r.begin + r.rows) + ")";
      if (r.role == Role::prompt) {
        part("prefill " + name + range);
      } else if (r.rows == 1) {
        part("decode " + name);
      } else {
        part((r.drafts.empty() ? "replay " : "verify ") + name + range);
      }
    }
    if (plan.vision_layers > 0) {
      part("vision " + std::to_string(plan.vision_layers) + " layers of " +
           std::to_string(plan.vision_patches) + " patches");
    }
    return out;
  }

  std::string step(int64_t vision_budget = 1'000'000) {
    std::vector<Dropped> dropped;
    scheduler_->plan(now_, vision_budget, dropped);
    for (const Dropped& d : dropped) dropped_ += names_.at(d.task->id);
    const StepPlan& plan = scheduler_->start();
    std::string text = describe(plan);
    std::vector<int64_t> accepted;
    for (const TaskChunk& chunk : plan.chunks) accepted.push_back(chunk.sampled > 0 ? 1 : 0);
    scheduler_->complete(accepted);
    for (const TaskChunk& chunk : plan.chunks) {
      if (chunk.sampled > 0 && !chunk.task->ended()) scheduler_->append(*chunk.task, 1);
    }
    EXPECT_EQ(scheduler_->broken_law(), "");
    return text;
  }

  SchedulerConfig config_{.kv_pages = 100,
                          .max_num_seqs = 4,
                          .max_step_tokens = 64,
                          .feature_rows = 32,
                          .max_patches = 64,
                          .merge_unit = 4,
                          .vision_layers = 6};
  std::unique_ptr<Scheduler> scheduler_;
  std::map<TaskId, std::string> names_;
  std::map<std::string, Task*> tasks_;
  std::string dropped_;
  double now_ = 0;
};

TEST_F(SchedulerTest, ALongPromptIsCutSoThatDecodingGoesOn) {
  add("a", {.prompt = 3});
  EXPECT_EQ(step(), "prefill a[0,3)");
  add("b", {.prompt = 100});
  EXPECT_EQ(step(), "prefill b[0,63) | decode a");
  EXPECT_EQ(step(), "prefill b[63,100) | decode a");
  EXPECT_EQ(step(), "decode a | decode b");
}

TEST_F(SchedulerTest, PromptsShareTheBudgetInOrder) {
  for (const char* name : {"a", "b", "c"}) add(name, {.prompt = 40});
  EXPECT_EQ(step(), "prefill a[0,40) | prefill b[0,24)");
  EXPECT_EQ(step(), "prefill b[24,40) | prefill c[0,40) | decode a");
}

TEST_F(SchedulerTest, SmallerPriorityValuesGoFirstAndMakeOthersGiveWay) {
  config_.max_num_seqs = 1;
  restart();
  add("low", {.prompt = 3, .priority = 5});
  EXPECT_EQ(step(), "prefill low[0,3)");
  EXPECT_EQ(step(), "decode low");
  add("high", {.prompt = 4, .priority = -1});
  EXPECT_EQ(step(), "prefill high[0,4)");
  EXPECT_EQ(tasks_["low"]->preemptions(), 1);
  scheduler_->finish(*tasks_["high"]);
  EXPECT_EQ(step(), "prefill low[0,3)");  // and again, as before:
  EXPECT_EQ(step(), "replay low[3,5)");
}

TEST_F(SchedulerTest, TheLastInOrderGivesItsPagesToTheFirst) {
  config_.kv_pages = 3;
  restart();
  add("a", {.prompt = 63, .max_tokens = 100});
  add("b", {.prompt = 1, .max_tokens = 100});
  EXPECT_EQ(step(), "prefill a[0,63) | prefill b[0,1)");
  EXPECT_EQ(step(), "decode a | decode b");
  for (int i = 0; i < 61; ++i) EXPECT_EQ(step(), "decode a | decode b");
  // b has filled its page; the third one is a's.
  EXPECT_EQ(step(), "decode a | decode b");
  EXPECT_EQ(step(), "decode a");
  EXPECT_EQ(tasks_["b"]->preemptions(), 1);
  EXPECT_EQ(tasks_["a"]->preemptions(), 0);
  scheduler_->finish(*tasks_["a"]);
  EXPECT_EQ(step(), "prefill b[0,1)");
  EXPECT_EQ(step(), "replay b[1,65)");
}

TEST_F(SchedulerTest, NoPageIsKeptForTasksThatHaveAllTheyCanNeed) {
  config_.kv_pages = 4;
  restart();
  for (const char* name : {"a", "b", "c", "d"}) add(name, {.prompt = 10, .max_tokens = 54});
  EXPECT_EQ(step(), "prefill a[0,10) | prefill b[0,10) | prefill c[0,10) | prefill d[0,10)");
  restart();
  for (const char* name : {"a", "b", "c", "d"}) add(name, {.prompt = 10, .max_tokens = 55});
  EXPECT_EQ(step(), "prefill a[0,10) | prefill b[0,10)");
}

TEST_F(SchedulerTest, ASharedPrefixIsComputedOnceAndTheNextOneWaitsForIt) {
  add("a", {.prompt = 130, .family = 1});
  add("b", {.prompt = 150, .family = 1});
  EXPECT_EQ(step(), "prefill a[0,64)");
  EXPECT_EQ(step(), "prefill a[64,128)");
  EXPECT_EQ(step(), "prefill a[128,130) | prefill b[128,150)");
  EXPECT_EQ(tasks_["b"]->cached_tokens(), 128);
  EXPECT_EQ(scheduler_->counters().prefix_hits, 128);
}

TEST_F(SchedulerTest, TheTowerAdvancesInSlicesWhileOthersDecode) {
  add("a", {.prompt = 2});
  step();
  add("b", {.prompt = 20, .pictures = {32}});
  EXPECT_EQ(step(int64_t{2} * 32), "decode a | vision 2 layers of 32 patches");
  EXPECT_EQ(step(1), "decode a | vision 1 layers of 32 patches");
  EXPECT_EQ(step(int64_t{3} * 32), "prefill b[0,20) | decode a | vision 3 layers of 32 patches");
  EXPECT_EQ(step(), "decode a | decode b");
}

TEST_F(SchedulerTest, TextBeforeAPictureDoesNotWaitForIt) {
  add("a", {.prompt = 20, .pictures = {16}});
  tasks_["a"]->sequence.spans[0].first_token = 5;
  EXPECT_EQ(step(1), "prefill a[0,5) | vision 1 layers of 16 patches");
  EXPECT_EQ(step(), "prefill a[5,20) | vision 5 layers of 16 patches");
}

TEST_F(SchedulerTest, SeveralPicturesShareAPassAndEqualOnesAreComputedOnce) {
  add("a", {.prompt = 20, .pictures = {16, 24}});
  add("b", {.prompt = 20, .pictures = {24, 16}});
  EXPECT_EQ(step(), "prefill a[0,20) | prefill b[0,20) | vision 6 layers of 40 patches");
  EXPECT_EQ(scheduler_->counters().feature_hits, 2);
  add("c", {.prompt = 20, .pictures = {16}});
  EXPECT_EQ(step(), "prefill c[0,20) | decode a | decode b");  // still there
}

TEST_F(SchedulerTest, ACancelledTaskIsGoneInTheNextStepAndItsPassIsAbandoned) {
  add("a", {.prompt = 20, .pictures = {32}});
  step(1);
  scheduler_->cancel(tasks_["a"]->id);
  EXPECT_EQ(step(), "");
  EXPECT_EQ(dropped_, "a");
  EXPECT_EQ(scheduler_->features().free_rows(), 32);
  EXPECT_EQ(scheduler_->blocks().free_pages(), 100);
  EXPECT_EQ(scheduler_->counters().abandoned_passes, 1);
}

TEST_F(SchedulerTest, APassGoesOnForThoseWhoStillWait) {
  add("a", {.prompt = 20, .pictures = {32}});
  add("b", {.prompt = 20, .pictures = {32}});
  step(1);
  scheduler_->cancel(tasks_["a"]->id);
  EXPECT_EQ(step(), "prefill b[0,20) | vision 5 layers of 32 patches");
}

TEST_F(SchedulerTest, DeadlinesEndTasksInEveryPhase) {
  config_.max_num_seqs = 1;
  restart();
  add("running", {.prompt = 3, .deadline = 10});
  add("waiting", {.prompt = 3, .deadline = 5});
  step();
  now_ = 5;
  EXPECT_EQ(step(), "decode running");
  EXPECT_EQ(dropped_, "waiting");
  now_ = 11;
  EXPECT_EQ(step(), "");
  EXPECT_EQ(dropped_, "waitingrunning");
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerTest, APausedTaskKeepsItsPagesUntilSomeoneNeedsThem) {
  config_.max_num_seqs = 1;
  restart();
  add("a", {.prompt = 3});
  step();
  scheduler_->pause(tasks_["a"]->id, true);
  EXPECT_EQ(step(), "");
  EXPECT_TRUE(tasks_["a"]->running());
  add("b", {.prompt = 2, .max_tokens = 5});
  EXPECT_EQ(step(), "prefill b[0,2)");
  EXPECT_FALSE(tasks_["a"]->running());
  scheduler_->pause(tasks_["a"]->id, false);
  EXPECT_EQ(step(), "prefill a[0,3)");  // it came first
}

TEST_F(SchedulerTest, DraftsUseRowsThatNobodyNeeds) {
  add("a", {.prompt = 3, .max_tokens = 4});
  step();
  tasks_["a"]->drafts = {1, 2, 3, 4, 5};
  EXPECT_EQ(step(), "verify a[3,6)");  // two drafts: with them the answer has its four tokens
  tasks_["a"]->drafts = {1, 2, 3};
  add("b", {.prompt = 63});
  EXPECT_EQ(step(), "prefill b[0,63) | decode a");
}

TEST_F(SchedulerTest, TheStepAfterTheOneUnderWayIsPlannedWithTheTokensItWillGive) {
  add("a", {.prompt = 3, .max_tokens = 2});
  add("b", {.prompt = 3, .max_tokens = 100});
  std::vector<Dropped> dropped;
  scheduler_->plan(0, 1, dropped);
  scheduler_->start();
  EXPECT_EQ(describe(scheduler_->plan(0, 1, dropped)), "decode a | decode b");
  const std::vector<int64_t> accepted{1, 1};
  scheduler_->complete(accepted);
  for (const char* name : {"a", "b"}) scheduler_->append(*tasks_[name], 1);
  scheduler_->start();
  EXPECT_EQ(describe(scheduler_->plan(0, 1, dropped)), "decode b");  // a has its last token coming
}

}  // namespace
}  // namespace qvl

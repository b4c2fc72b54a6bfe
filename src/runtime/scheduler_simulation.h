#pragma once

/// A random world around a scheduler and a fake device, for tests: requests with shared beginnings
/// and pictures come, are cancelled, paused, run out of time; after every step all laws are
/// checked, every token against what its request gets when alone, and that nobody waits longer than
/// the bound that was known when it came. The whole run follows from its seed.

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <random>

#include "runtime/fake_device.h"
#include "runtime/scheduler.h"

namespace qvl {

struct SimulationConfig {
  uint64_t seed = 1;
  SchedulerConfig scheduler{.kv_pages = 12,
                            .max_num_seqs = 4,
                            .max_step_tokens = 48,
                            .feature_rows = 24,
                            .max_patches = 64,
                            .merge_unit = 4,
                            .vision_layers = 3};
  double arrivals_per_step = 0.08;
  bool pauses = true;
  bool drafts = true;
  bool overlap = true;
  bool priorities = true;
};

class Simulation {
 public:
  explicit Simulation(const SimulationConfig& config)
      : config_(config),
        random_(config.seed),
        scheduler_(config.scheduler),
        device_({.kv_pages = config.scheduler.kv_pages,
                 .feature_rows = config.scheduler.feature_rows,
                 .merge_unit = config.scheduler.merge_unit,
                 .vision_layers = config.scheduler.vision_layers,
                 .vocab_size = kVocab}) {
    for (size_t i = 0; i < pictures_.size(); ++i) {
      // Largest: what one pass and the feature rows allow.
      const int64_t most = std::min(config.scheduler.max_patches,
                                    config.scheduler.feature_rows * config.scheduler.merge_unit);
      pictures_[i].grid = {
          .t = 1, .h = 2, .w = static_cast<int>(2 * below(static_cast<uint64_t>(most / 4)) + 2)};
      auto bytes = std::make_shared<std::array<uint8_t, 8>>();
      std::memcpy(bytes->data(), &i, sizeof(i));
      pictures_[i].patches = std::shared_ptr<const uint8_t>(bytes, bytes->data());
      pictures_[i].key = {static_cast<uint8_t>(i + 1)};
    }
  }

  /// One step. Empty, or what went wrong.
  std::string step() {
    ++now_;
    if (chance(config_.arrivals_per_step) && !closing_ && live_.size() < kMostTasks) arrive();
    if (!closing_) disturb();
    if (std::string wrong = plan(); !wrong.empty()) return wrong;
    if (chance(0.02)) {
      if (std::string wrong = plan(); !wrong.empty()) return wrong;
    }
    if (planned_->empty()) return check();
    const StepPlan& plan_now = scheduler_.start();
    launch(plan_now);
    if (config_.overlap && chance(0.8)) {
      if (std::string wrong = plan(); !wrong.empty()) return wrong;
    }
    if (std::string wrong = take(plan_now, device_.finish()); !wrong.empty()) return wrong;
    return check();
  }

  /// Nothing new comes; paused tasks go on.
  void close() {
    closing_ = true;
    for (auto& [id, info] : live_) resume(id, info);
  }
  bool idle() const { return live_.empty(); }
  Scheduler& scheduler() { return scheduler_; }
  int64_t finished() const { return finished_; }
  int64_t dropped() const { return dropped_count_; }
  int64_t tokens() const { return tokens_; }
  uint64_t output_hash() const { return output_hash_; }
  int64_t now() const { return now_; }

 private:
  static constexpr int32_t kVocab = 50;
  static constexpr size_t kMostTasks = 30;
  struct Info {
    Task* task = nullptr;
    FakeDevice::Oracle oracle;
    int64_t length = 0;  // ends by itself after this many tokens
    int64_t bound = 0;   // the step by which it has ended
    int64_t work = 0;
    bool paused = false;
  };

  uint64_t below(uint64_t n) { return random_() % n; }
  bool chance(double p) { return static_cast<double>(random_() >> 11) * 0x1p-53 < p; }

  /// Steps that a task needs at most when all others give way to it.
  int64_t work_of(const Task& task) const {
    const SchedulerConfig& c = config_.scheduler;
    const int64_t free_rows = c.max_step_tokens - c.max_num_seqs + 1;
    const int64_t rows = task.sequence.prompt_tokens + task.max_tokens;
    const auto passes = static_cast<int64_t>(task.media.size()) + 1;  // one may be another's
    return passes * c.vision_layers + (rows + free_rows - 1) / free_rows + task.max_tokens + 4 +
           static_cast<int64_t>(task.sequence.spans.size());
  }

  static bool before(const Task& a, const Task& b) {
    return a.priority != b.priority ? a.priority < b.priority : a.id < b.id;
  }

  /// The task itself may have to wait for all that come before it; and when it makes later ones
  /// give way, they start again from the beginning.
  void set_bounds(const Task& task) {
    for (auto& [id, info] : live_) {
      if (before(*info.task, task)) continue;
      info.bound = now_ + info.work;
      for (const auto& [other_id, other] : live_) {
        if (before(*other.task, *info.task)) info.bound += other.work;
      }
    }
  }

  void arrive() {
    const SchedulerConfig& c = config_.scheduler;
    NewTask input;
    const int64_t longest = c.kv_pages * kPageTokens;
    input.max_tokens = static_cast<int64_t>(1 + below(chance(0.1) ? 200 : 30));
    input.max_tokens = std::min(input.max_tokens, longest / 2);
    const int64_t most = std::min<int64_t>(longest - input.max_tokens, chance(0.3) ? 400 : 60);
    const auto tokens = static_cast<int64_t>(1 + below(static_cast<uint64_t>(most)));
    const uint64_t family = below(4);  // prompts of a family begin alike
    const auto own_from = static_cast<int64_t>(below(static_cast<uint64_t>(tokens) + 1));
    for (int64_t i = 0; i < tokens; ++i) {
      const uint64_t token = i < own_from ? family * 7 + static_cast<uint64_t>(i) : below(kVocab);
      input.prompt.push_back(static_cast<int32_t>(token % kVocab));
    }
    int64_t at = static_cast<int64_t>(below(8));
    while (chance(0.5) && input.media.size() < 4) {
      const TaskMedia& picture = pictures_[below(pictures_.size())];
      const int64_t rows = picture.grid.patches() / c.merge_unit;
      if (at + rows > tokens) break;
      EmbedSpan span;
      span.first_token = at;
      span.rows = rows;
      span.media = static_cast<int>(input.media.size());
      input.spans.push_back(span);
      input.media.push_back(picture);
      at += rows + static_cast<int64_t>(below(20));
    }
    input.page_keys = keys_of(input);
    if (config_.priorities) input.priority = static_cast<int>(below(3));
    if (chance(0.1)) input.deadline = static_cast<double>(now_ + static_cast<int64_t>(below(300)));
    Info info;
    const int64_t end_at = static_cast<int64_t>(1 + below(static_cast<uint64_t>(input.max_tokens)));
    info.length = chance(0.5) ? end_at : input.max_tokens;
    info.oracle = oracle_of(input);
    info.task = &scheduler_.add(std::move(input));
    info.work = work_of(*info.task);
    const Task& task = *info.task;
    live_.emplace(task.id, info);
    set_bounds(task);
  }

  std::vector<PageKey> keys_of(const NewTask& input) const {
    std::vector<PageKey> keys;
    FakeDevice::Oracle oracle;
    for (size_t i = 0; i < input.prompt.size(); ++i) {
      oracle.push(value_at(input, static_cast<int64_t>(i)), Role::prompt);
      if ((i + 1) % kPageTokens != 0) continue;
      PageKey key{};
      const auto a = static_cast<uint64_t>(oracle.next_token(1 << 30));
      const auto b = static_cast<uint64_t>(oracle.next_token(1'000'003));
      std::memcpy(key.data(), &a, 8);
      std::memcpy(key.data() + 8, &b, 8);
      keys.push_back(key);
    }
    return keys;
  }

  static uint64_t value_at(const NewTask& input, int64_t i) {
    for (const EmbedSpan& span : input.spans) {
      if (i < span.first_token || i >= span.end()) continue;
      return FakeDevice::feature_value(input.media[static_cast<size_t>(span.media)].patches.get(),
                                       i - span.first_token);
    }
    return static_cast<uint64_t>(input.prompt[static_cast<size_t>(i)]);
  }

  static FakeDevice::Oracle oracle_of(const NewTask& input) {
    FakeDevice::Oracle oracle;
    for (size_t i = 0; i < input.prompt.size(); ++i) {
      oracle.push(value_at(input, static_cast<int64_t>(i)), Role::prompt);
    }
    return oracle;
  }

  void resume(TaskId id, Info& info) {
    if (!info.paused) return;
    info.paused = false;
    scheduler_.pause(id, false);
    set_bounds(*info.task);
  }

  void disturb() {
    if (live_.empty()) return;
    auto it = live_.begin();
    std::advance(it, static_cast<int64_t>(below(std::min<uint64_t>(live_.size(), 8))));
    auto& [id, info] = *it;
    if (chance(0.01)) scheduler_.cancel(id);
    if (!config_.pauses || !chance(0.05)) return;
    if (info.paused) {
      resume(id, info);
    } else {
      info.paused = true;
      scheduler_.pause(id, true);
    }
  }

  std::string plan() {
    if (config_.drafts) {
      for (auto& [id, info] : live_) {
        if (info.task->running() && chance(0.2) && !under_way(id)) draft(info);
      }
    }
    dropped_.clear();
    const auto budget = static_cast<int64_t>(1 + below(500));
    planned_ = &scheduler_.plan(static_cast<double>(now_), budget, dropped_);
    for (const Dropped& d : dropped_) {
      live_.erase(d.task->id);
      ++dropped_count_;
    }
    if (planned_->rows() > config_.scheduler.max_step_tokens) {
      return fmt::format("step {}: {} rows", now_, planned_->rows());
    }
    return {};
  }

  bool under_way(TaskId id) const {
    return std::find(sampling_.begin(), sampling_.end(), id) != sampling_.end();
  }

  /// Right guesses, with a wrong one now and then.
  void draft(Info& info) {
    info.task->drafts.clear();
    FakeDevice::Oracle oracle = info.oracle;
    for (uint64_t n = below(5); n > 0; --n) {
      const int32_t token = oracle.next_token(kVocab);
      info.task->drafts.push_back(chance(0.2) ? (token + 1) % kVocab : token);
      oracle.push(static_cast<uint64_t>(token), Role::generated);
    }
  }

  void launch(const StepPlan& plan) {
    chunks_.clear();
    jobs_.clear();
    sampling_.clear();
    int64_t row = 0;
    for (const TaskChunk& chunk : plan.chunks) {
      chunks_.push_back(chunk.rows);
      row += chunk.rows.rows;
      if (chunk.sampled == 0) continue;
      jobs_.push_back({.row = row - chunk.sampled,
                       .rows = chunk.sampled,
                       .sequence = chunk.rows.sequence,
                       .drafts = chunk.rows.drafts});
      sampling_.push_back(chunk.task->id);
    }
    device_.start({.begin_vision = plan.begin_vision,
                   .vision_layers = plan.vision_layers,
                   .chunks = chunks_,
                   .sampled = {},
                   .samples = jobs_});
  }

  std::string take(const StepPlan& plan, const StepResult& result) {
    accepted_.clear();
    size_t job = 0;
    for (const TaskChunk& chunk : plan.chunks) {
      accepted_.push_back(chunk.sampled > 0 ? result.counts[job++] : 0);
    }
    scheduler_.complete(accepted_);
    sampling_.clear();
    size_t token = 0;
    for (size_t c = 0; c < plan.chunks.size(); ++c) {
      Task& task = *plan.chunks[c].task;
      for (int64_t i = 0; i < accepted_[c]; ++i, ++token) {
        const auto found = live_.find(task.id);
        if (found == live_.end()) continue;
        Info& info = found->second;
        const int32_t found_token = result.tokens[token].token;
        const int32_t expected = info.oracle.next_token(kVocab);
        if (found_token != expected) {
          return fmt::format("step {}: task {}, token {}: found {}, expected {}", now_, task.id,
                             task.sequence.generated(), found_token, expected);
        }
        scheduler_.append(task, found_token);
        info.oracle.push(static_cast<uint64_t>(found_token), Role::generated);
        output_hash_ = output_hash_ * 31 + static_cast<uint64_t>(found_token) + task.id;
        ++tokens_;
        if (task.sequence.generated() < info.length) continue;
        scheduler_.finish(task);
        live_.erase(found);
        ++finished_;
      }
    }
    return {};
  }

  std::string check() {
    if (std::string law = scheduler_.broken_law(); !law.empty()) {
      return fmt::format("step {}: {}", now_, law);
    }
    for (const auto& [id, info] : live_) {
      if (!info.paused && now_ > info.bound) {
        return fmt::format("step {}: task {} should have ended by step {}", now_, id, info.bound);
      }
    }
    return {};
  }

  SimulationConfig config_;
  std::mt19937_64 random_;
  Scheduler scheduler_;
  FakeDevice device_;
  std::array<TaskMedia, 6> pictures_;
  std::map<TaskId, Info> live_;
  const StepPlan* planned_ = nullptr;
  std::vector<Dropped> dropped_;
  std::vector<SequenceChunk> chunks_;
  std::vector<SampleJob> jobs_;
  std::vector<TaskId> sampling_;  // of the step under way
  std::vector<int64_t> accepted_;
  int64_t now_ = 0;
  bool closing_ = false;
  int64_t finished_ = 0;
  int64_t dropped_count_ = 0;
  int64_t tokens_ = 0;
  uint64_t output_hash_ = 0;
};

}  // namespace qvl

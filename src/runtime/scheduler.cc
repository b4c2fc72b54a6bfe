#include "runtime/scheduler.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"

namespace qvl {

Task::Task(TaskId task_id, NewTask input)
    : id(task_id),
      priority(input.priority),
      max_tokens(input.max_tokens),
      deadline(input.deadline),
      media(std::move(input.media)),
      page_keys_(std::move(input.page_keys)) {
  sequence.tokens = std::move(input.prompt);
  sequence.prompt_tokens = static_cast<int64_t>(sequence.tokens.size());
  sequence.spans = std::move(input.spans);
  sequence.features.resize(media.size());
}

/// Keys that may be looked up: the last token of the prompt is always computed.
std::span<const PageKey> Task::reusable_keys() const {
  const auto pages = static_cast<size_t>((sequence.prompt_tokens - 1) / kPageTokens);
  return std::span(page_keys_).first(std::min(page_keys_.size(), pages));
}

int64_t StepPlan::rows() const {
  int64_t rows = 0;
  for (const TaskChunk& chunk : chunks) rows += chunk.rows.rows;
  return rows;
}

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_(config),
      blocks_(config.kv_pages),
      features_(config.feature_rows, config.keep_features) {
  require(config.max_num_seqs >= 1 && config.max_step_tokens >= config.max_num_seqs,
          "scheduler: every running sequence needs a row");
}

Task& Scheduler::add(NewTask input) {
  require(!input.prompt.empty() && input.max_tokens >= 1, "scheduler: an empty task");
  require(pages_for(static_cast<int64_t>(input.prompt.size()) + input.max_tokens) <=
              blocks_.total_pages(),
          "scheduler: a task that never fits");
  const TaskId id = next_id_++;
  auto owner = std::unique_ptr<Task>(new Task(id, std::move(input)));
  Task& task = *owner;
  if (task.deadline < std::numeric_limits<double>::infinity()) {
    deadlines_.emplace(task.deadline, id);
  }
  tasks_.emplace(id, std::move(owner));
  waiting_.insert(&task);
  return task;
}

void Scheduler::cancel(TaskId id) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end() || found->second->cancelled_) return;
  found->second->cancelled_ = true;
  cancels_.push_back(id);
}

void Scheduler::pause(TaskId id, bool paused) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return;
  Task& task = *found->second;
  task.paused_ = paused;
  // What is being prefilled holds features that others may be waiting for.
  if (paused && task.running() && task.prefilling()) preempt(task);
}

// Ends.

void Scheduler::release_features(Task& task) {
  for (size_t m = 0; m < task.media.size(); ++m) {
    if (!task.sequence.features[m]) continue;
    features_.give_back(task.media[m].key);
    task.sequence.features[m].reset();
  }
}

void Scheduler::release(Task& task) {
  blocks_.give_back(task.sequence.block_table);
  task.sequence.block_table.clear();
  release_features(task);
  std::erase(running_, &task);
}

void Scheduler::preempt(Task& task) {
  require(task.running(), "scheduler: a waiting task is preempted");
  release(task);
  task.state_ = Task::State::waiting;
  task.sequence.computed = 0;
  task.scheduled_ = 0;
  task.shared_pages_ = 0;
  ++task.epoch_;
  ++task.preemptions_;
  ++counters_.preemptions;
  waiting_.insert(&task);
}

void Scheduler::end(Task& task) {
  require(!task.ended(), "scheduler: a task ends twice");
  if (task.running()) {
    release(task);
  } else {
    waiting_.erase(&task);
  }
  task.state_ = Task::State::ended;
  deadlines_.erase({task.deadline, task.id});
  const auto owner = tasks_.find(task.id);
  ended_.push_back(std::move(owner->second));
  tasks_.erase(owner);
}

void Scheduler::finish(Task& task) { end(task); }

void Scheduler::forget_ended() {
  require(!is_under_way_, "scheduler: the step under way names these tasks");
  ended_.clear();
}

void Scheduler::drop(double now, std::vector<Dropped>& dropped) {
  const auto drop = [&](TaskId id, DropReason reason) {
    const auto found = tasks_.find(id);
    if (found == tasks_.end()) return;
    Task& task = *found->second;
    end(task);
    dropped.push_back({&task, reason});
  };
  for (const TaskId id : cancels_) drop(id, DropReason::cancelled);
  cancels_.clear();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    drop(deadlines_.begin()->second, DropReason::deadline);
  }
}

// Starts.

/// True if a running task that comes before is computing the next page that `task` could share:
/// waiting for it is less work than doing it twice.
bool Scheduler::prefix_is_coming(const Task& task) const {
  const std::span<const PageKey> keys = task.reusable_keys();
  const auto next = static_cast<size_t>(blocks_.known(keys));
  if (next == keys.size()) return false;
  return std::any_of(running_.begin(), running_.end(), [&](const Task* other) {
    return Before{}(other, &task) && !other->paused_ &&
           other->sequence.computed < other->sequence.prompt_tokens &&
           next < other->page_keys_.size() && other->page_keys_[next] == keys[next];
  });
}

/// Takes pages for all tokens known so far and the next. One more stays available per running task
/// that may need more, so that what has just started need not make room at once for it.
bool Scheduler::admit(Task& task) {
  Sequence& s = task.sequence;
  std::vector<int32_t> pages = blocks_.take_known(task.reusable_keys());
  const auto shared = static_cast<int64_t>(pages.size());
  const int64_t last = s.prompt_tokens + task.max_tokens;
  const int64_t fresh = pages_for(std::min(task.tokens() + 1, last)) - shared;
  const int64_t spare = std::count_if(running_.begin(), running_.end(), [](const Task* other) {
    const Sequence& o = other->sequence;
    return pages_for(o.prompt_tokens + other->max_tokens) >
           static_cast<int64_t>(o.block_table.size());
  });
  std::optional<std::vector<int32_t>> taken;
  if (fresh + spare <= blocks_.available_pages()) taken = blocks_.take(fresh);
  if (!taken) {
    blocks_.give_back(pages);
    return false;
  }
  pages.insert(pages.end(), taken->begin(), taken->end());
  s.block_table = std::move(pages);
  s.computed = shared * kPageTokens;
  task.scheduled_ = s.computed;
  task.shared_pages_ = shared;
  if (!task.started_) {
    task.started_ = true;
    task.cached_tokens_ = s.computed;
    if (!task.page_keys_.empty()) counters_.prefix_queries += s.prompt_tokens;
    counters_.prefix_hits += s.computed;
  }
  task.state_ = Task::State::running;
  waiting_.erase(&task);
  running_.insert(std::upper_bound(running_.begin(), running_.end(), &task, Before{}), &task);
  return true;
}

/// In order. What waits for pages lets nobody pass; what is paused or waits for another's prefix
/// does.
void Scheduler::admit() {
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    Task& task = **next++;
    if (task.paused_) continue;
    const bool slot_free = running() < config_.max_num_seqs;
    const bool unchanged =
        blocked_task_ == task.id && blocked_version_ == blocks_.version() && running() > 0;
    if (slot_free && !unchanged) {
      if (prefix_is_coming(task)) continue;
      if (admit(task)) continue;
      blocked_task_ = task.id;
      blocked_version_ = blocks_.version();
    }
    // Those that come later have overtaken it: by a smaller need, or before it arrived.
    Task* const victim = victim_for(task);
    if (victim == nullptr) return;
    preempt(*victim);
    next = waiting_.find(&task);
  }
}

// Pages.

/// Who gives way to `task`: one that is paused, else the last in order; nobody that comes before.
Task* Scheduler::victim_for(const Task& task) {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if ((*it)->paused_ && *it != &task) return *it;
  }
  if (running_.empty()) return nullptr;
  Task* const last = running_.back();
  return Before{}(&task, last) ? last : nullptr;
}

/// Sees to it that the task has pages for its first `tokens` tokens, or gives way itself.
void Scheduler::grow(Task& task, int64_t tokens) {
  std::vector<int32_t>& table = task.sequence.block_table;
  while (static_cast<int64_t>(table.size()) < pages_for(tokens)) {
    if (const auto page = blocks_.take(1)) {
      table.push_back(page->front());
      continue;
    }
    Task* const victim = victim_for(task);
    preempt(victim != nullptr ? *victim : task);
    if (victim == nullptr) return;
  }
}

/// First in order first; each may make later ones stop.
void Scheduler::grow_decoding() {
  for (auto it = running_.begin(); it != running_.end();) {
    Task& task = **it;
    if (!task.paused_ && task.decoding() && !task.at_end()) grow(task, task.tokens());
    // This and others may be gone.
    it = std::upper_bound(running_.begin(), running_.end(), &task, Before{});
  }
}

// Pictures.

/// Pictures that nobody waits for any more leave a pass that has not started. One that has ends
/// when nobody waits for any of its pictures.
void Scheduler::drop_abandoned_pictures() {
  if (!pass_) return;
  std::vector<size_t> abandoned;
  for (size_t i = 0; i < pass_->keys.size(); ++i) {
    if (features_.users(pass_->keys[i]) == 0) abandoned.push_back(i);
  }
  if (pass_->started && abandoned.size() < pass_->keys.size()) return;
  for (auto i = abandoned.rbegin(); i != abandoned.rend(); ++i) {
    const auto at = static_cast<std::ptrdiff_t>(*i);
    features_.abandon(pass_->keys[*i]);
    pass_->patches -= pass_->pictures[*i].grid.patches();
    pass_->keys.erase(pass_->keys.begin() + at);
    pass_->pictures.erase(pass_->pictures.begin() + at);
  }
  if (!pass_->keys.empty()) return;
  counters_.abandoned_passes += pass_->started ? 1 : 0;
  pass_.reset();
}

/// Takes features for the pictures that the task will need, in order of its prompt. False: a
/// picture has to wait, and so have all that come later.
bool Scheduler::gather_pictures(Task& task) {
  Sequence& s = task.sequence;
  for (const EmbedSpan& span : s.spans) {
    const auto m = static_cast<size_t>(span.media);
    if (span.end() <= task.scheduled_ || s.features[m]) continue;
    const TaskMedia& media = task.media[m];
    const auto known = features_.take_known(media.key);
    if (known) {
      s.features[m] = known;
      ++counters_.feature_queries;
      ++counters_.feature_hits;
      continue;
    }
    const int64_t patches = media.grid.patches();
    if (pass_ && (pass_->started || pass_->patches + patches > config_.max_patches)) return false;
    const int64_t rows = patches / config_.merge_unit;
    while (!(s.features[m] = features_.take_new(media.key, rows))) {
      if (!take_features_from_others(task)) return false;
    }
    ++counters_.feature_queries;
    if (!pass_) pass_.emplace();
    pass_->keys.push_back(media.key);
    pass_->pictures.push_back({media.grid, media.patches, *s.features[m]});
    pass_->patches += patches;
  }
  return true;
}

/// The last task in order that holds features gives way, if it comes after `task`.
bool Scheduler::take_features_from_others(const Task& task) {
  const auto holds = [](const Task* other) {
    const auto& held = other->sequence.features;
    return std::any_of(held.begin(), held.end(), [](const auto& f) { return f.has_value(); });
  };
  const auto last = std::find_if(running_.rbegin(), running_.rend(), holds);
  if (last == running_.rend() || !Before{}(&task, *last)) return false;
  preempt(**last);
  drop_abandoned_pictures();
  return true;
}

/// One pass for as many pictures as there is room for, in order.
void Scheduler::gather_pictures() {
  for (size_t i = 0; i < running_.size(); ++i) {  // tasks behind this one may go
    if (running_[i]->prefilling() && !gather_pictures(*running_[i])) return;
  }
}

void Scheduler::plan_vision(int64_t budget) {
  drop_abandoned_pictures();
  gather_pictures();
  if (!pass_) return;
  const int64_t left = config_.vision_layers - pass_->next_layer;
  planned_.vision_layers = std::clamp<int64_t>(budget / pass_->patches, 1, left);
  planned_.vision_ends = planned_.vision_layers == left;
  planned_.vision_patches = pass_->patches;
  if (!pass_->started) planned_.begin_vision = pass_->pictures;
  for (const Task* const task : running_) {
    if (!task->prefilling()) continue;
    const bool waits = std::any_of(task->media.begin(), task->media.end(), [&](const auto& media) {
      return std::find(pass_->keys.begin(), pass_->keys.end(), media.key) != pass_->keys.end();
    });
    if (waits) planned_.vision_tasks.push_back(task->id);
  }
}

/// How many of the next `rows` rows can run: up to the first picture without features.
int64_t Scheduler::rows_with_features(const Task& task, int64_t rows) const {
  const Sequence& s = task.sequence;
  for (const EmbedSpan& span : s.spans) {
    if (span.end() <= task.scheduled_) continue;
    if (span.first_token >= task.scheduled_ + rows) break;
    const auto m = static_cast<size_t>(span.media);
    const auto ready = [&](const PageKey& key) {
      if (features_.ready(key)) return true;
      return planned_.vision_ends &&
             std::find(pass_->keys.begin(), pass_->keys.end(), key) != pass_->keys.end();
    };
    if (s.features[m] && ready(task.media[m].key)) continue;
    return std::max<int64_t>(0, span.first_token - task.scheduled_);
  }
  return rows;
}

// Steps.

void Scheduler::add_chunk(Task& task, int64_t rows) {
  TaskChunk chunk;
  chunk.task = &task;
  chunk.epoch_ = task.epoch_;
  chunk.rows = {.sequence = &task.sequence,
                .begin = task.scheduled_,
                .rows = rows,
                .role = task.sequence.role_of(task.scheduled_)};
  if (task.scheduled_ + rows == task.tokens()) chunk.sampled = 1;
  planned_.chunks.push_back(chunk);
}

/// Guesses get rows and pages that nobody needs, or none. Returns how many rows.
int64_t Scheduler::add_drafts(TaskChunk& chunk, int64_t budget) {
  Task& task = *chunk.task;
  if (task.token_under_way_) return 0;
  std::vector<int32_t>& table = task.sequence.block_table;
  const int64_t generated = task.tokens() - task.sequence.prompt_tokens;
  int64_t drafts =
      std::min({budget, static_cast<int64_t>(task.drafts.size()), task.max_tokens - generated - 1});
  while (static_cast<int64_t>(table.size()) < pages_for(task.tokens() + drafts)) {
    const auto page = blocks_.available_pages() > running() ? blocks_.take(1) : std::nullopt;
    if (!page) {
      drafts = static_cast<int64_t>(table.size()) * kPageTokens - task.tokens();
      break;
    }
    table.push_back(page->front());
  }
  chunk.rows.rows += drafts;
  chunk.rows.drafts = std::span(task.drafts).first(static_cast<size_t>(drafts));
  chunk.sampled += drafts;
  return drafts;
}

/// A row for every decoding task; then, as the budget lasts and in order, prompts and generated
/// tokens that are computed again; then drafts.
void Scheduler::plan_rows() {
  int64_t budget = config_.max_step_tokens;
  for (const Task* const task : running_) budget -= task->takes_decode_row() ? 1 : 0;
  for (Task* const task : running_) {
    if (task->takes_decode_row()) {
      add_chunk(*task, 1);
      continue;
    }
    if (task->paused_ || task->at_end()) continue;
    const int64_t prompt_left = task->sequence.prompt_tokens - task->scheduled_;
    const int64_t rows = prompt_left > 0 ? rows_with_features(*task, std::min(budget, prompt_left))
                                         : std::min(budget, task->rows_left());
    if (rows == 0) continue;
    add_chunk(*task, rows);
    budget -= rows;
  }
  for (TaskChunk& chunk : planned_.chunks) {
    if (chunk.task->takes_decode_row()) budget -= add_drafts(chunk, budget);
  }
  std::stable_partition(planned_.chunks.begin(), planned_.chunks.end(),
                        [](const TaskChunk& chunk) { return chunk.rows.role == Role::prompt; });
}

const StepPlan& Scheduler::plan(double now, int64_t vision_budget, std::vector<Dropped>& dropped) {
  planned_.chunks.clear();
  planned_.begin_vision.clear();
  planned_.vision_tasks.clear();
  planned_.vision_layers = 0;
  planned_.vision_patches = 0;
  planned_.vision_ends = false;
  if (!is_under_way_) ended_.clear();
  drop(now, dropped);
  grow_decoding();
  admit();
  plan_vision(vision_budget);
  plan_rows();
  return planned_;
}

const StepPlan& Scheduler::start() {
  require(!is_under_way_, "scheduler: two steps at once");
  ended_.clear();
  std::swap(planned_, under_way_);
  planned_.chunks.clear();
  planned_.vision_layers = 0;
  is_under_way_ = true;
  for (TaskChunk& chunk : under_way_.chunks) {
    Task& task = *chunk.task;
    require(task.running() && task.epoch_ == chunk.epoch_, "scheduler: an outdated plan starts");
    task.scheduled_ += chunk.rows.rows;
    task.token_under_way_ = chunk.sampled > 0;
  }
  if (under_way_.vision_layers > 0) {
    if (!pass_->started) ++counters_.vision_passes;
    pass_->started = true;
    pass_->next_layer += under_way_.vision_layers;
    if (under_way_.vision_ends) {
      for (const PageKey& key : pass_->keys) features_.set_ready(key);
      counters_.vision_tokens += pass_->patches / config_.merge_unit;
      pass_.reset();
    }
  }
  return under_way_;
}

void Scheduler::complete(std::span<const int64_t> accepted) {
  require(is_under_way_, "scheduler: nothing is under way");
  require_equal(static_cast<long long>(accepted.size()),
                static_cast<long long>(under_way_.chunks.size()), "scheduler: chunks of a step");
  is_under_way_ = false;
  for (size_t i = 0; i < accepted.size(); ++i) {
    const TaskChunk& chunk = under_way_.chunks[i];
    Task& task = *chunk.task;
    if (task.ended()) continue;
    task.token_under_way_ = false;
    if (chunk.sampled > 0) task.drafts.clear();
    if (task.epoch_ != chunk.epoch_) continue;
    Sequence& s = task.sequence;
    const int64_t refused = chunk.sampled == 0 ? 0 : chunk.sampled - accepted[i];
    s.computed = chunk.rows.begin + chunk.rows.rows - refused;
    task.scheduled_ = s.computed;
    // Pages that the prompt has filled are there for other prompts.
    const int64_t full =
        std::min(s.computed / kPageTokens, static_cast<int64_t>(task.page_keys_.size()));
    for (; task.shared_pages_ < full; ++task.shared_pages_) {
      const auto page = static_cast<size_t>(task.shared_pages_);
      blocks_.publish(s.block_table[page], task.page_keys_[page]);
    }
    // Features are given back when the last span that reads them is prefilled.
    for (size_t m = 0; m < s.features.size(); ++m) {
      if (!s.features[m]) continue;
      const bool needed = std::any_of(s.spans.begin(), s.spans.end(), [&](const EmbedSpan& span) {
        return static_cast<size_t>(span.media) == m && span.end() > s.computed;
      });
      if (needed) continue;
      features_.give_back(task.media[m].key);
      s.features[m].reset();
    }
  }
}

void Scheduler::append(Task& task, int32_t token) {
  require(!task.ended() && task.sequence.generated() < task.max_tokens,
          "scheduler: a token after the last");
  task.sequence.tokens.push_back(token);
}

std::string Scheduler::broken_law() const {
  const BlockPool& b = blocks_;
  if (b.free_pages() + b.cached_pages() + b.owned_pages() != b.total_pages()) {
    return fmt::format("pages: {} free + {} cached + {} owned is not {}", b.free_pages(),
                       b.cached_pages(), b.owned_pages(), b.total_pages());
  }
  const FeatureCache& f = features_;
  if (f.free_rows() + f.cached_rows() + f.owned_rows() != f.total_rows()) {
    return fmt::format("feature rows: {} free + {} cached + {} owned is not {}", f.free_rows(),
                       f.cached_rows(), f.owned_rows(), f.total_rows());
  }
  if (running() > config_.max_num_seqs) {
    return fmt::format("{} tasks run, at most {} may", running(), config_.max_num_seqs);
  }
  if (waiting_.size() + running_.size() != tasks_.size()) {
    return fmt::format("tasks: {} waiting + {} running is not {}", waiting_.size(), running_.size(),
                       tasks_.size());
  }
  int64_t held_pages = 0;
  int64_t held_features = 0;
  for (const auto& [id, task] : tasks_) {
    const Sequence& s = task->sequence;
    held_pages += static_cast<int64_t>(s.block_table.size());
    for (const auto& held : s.features) held_features += held ? 1 : 0;
    if (!task->running() && !s.block_table.empty()) {
      return fmt::format("task {} waits and holds {} pages", id, s.block_table.size());
    }
    if (task->scheduled_ > task->tokens() + static_cast<int64_t>(task->drafts.size()) ||
        pages_for(task->scheduled_) > static_cast<int64_t>(s.block_table.size())) {
      return fmt::format("task {}: {} of {} tokens computed in {} pages", id, task->scheduled_,
                         task->tokens(), s.block_table.size());
    }
  }
  int64_t owners = 0;
  for (int64_t p = 0; p < b.total_pages(); ++p) owners += b.owners(static_cast<int32_t>(p));
  if (owners != held_pages) {
    return fmt::format("pages have {} owners, tasks hold {}", owners, held_pages);
  }
  if (f.users() != held_features) {
    return fmt::format("features have {} users, tasks hold {}", f.users(), held_features);
  }
  return {};
}

}  // namespace qvl

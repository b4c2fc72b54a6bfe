#pragma once

/// Decides what each step does: which answers run, which of their tokens, which layers of the
/// vision tower; and owns the bookkeeping of cache pages and feature rows. A pure state machine: no
/// device, no clock, no threads, no text. One step is one round of
///
///   plan(now) → start() → (the device works; plan(later) may be called for the step after it)
///             → complete(...) → append(...), finish(...) for the sampled tokens
///
/// Order. Tasks are ordered by priority, then by arrival. Tasks start in that order, and one that
/// comes earlier may take pages and feature rows of one that comes later, which then waits and is
/// computed again (preemption); tasks that are paused give way to all. So the first task is never
/// kept waiting, and a task ends, if none of smaller priority value arrives, within the steps that
/// it and those before it need on their own. Within a step every decoding task gets its row before
/// any prompt gets one.
///
/// Bits. Prompt tokens are computed as prompt rows and generated ones as generated rows, also when
/// a preempted task is computed again; only pages of prompts are shared.

#include <deque>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/block_pool.h"
#include "runtime/feature_cache.h"
#include "runtime/sequence.h"

namespace qvl {

struct SchedulerConfig {
  int64_t kv_pages = 0;
  int64_t max_num_seqs = 1;
  int64_t max_step_tokens = 512;  ///< rows of a step; at least max_num_seqs
  int64_t feature_rows = 0;
  int64_t max_patches = 0;  ///< of one pass of the vision tower
  int64_t merge_unit = 4;   ///< patches per feature row
  int64_t vision_layers = 1;
  FeatureCache::Keep keep_features = FeatureCache::Keep::yes;
};

using TaskId = uint64_t;

/// A picture or video of a task.
struct TaskMedia {
  PageKey key{};
  Grid grid;
  std::shared_ptr<const uint8_t> patches;
};

struct NewTask {
  std::vector<int32_t> prompt;
  std::vector<EmbedSpan> spans;
  std::vector<TaskMedia> media;
  std::vector<PageKey> page_keys;  ///< of the prompt's full pages; empty: nothing is shared
  int64_t max_tokens = 1;          ///< prompt and answer together fit the cache
  int priority = 0;                ///< lower first
  double deadline = std::numeric_limits<double>::infinity();  ///< on plan()'s clock
};

/// One answer on its way.
class Task {
 public:
  const TaskId id;
  const int priority;
  const int64_t max_tokens;
  const double deadline;
  Sequence sequence;
  const std::vector<TaskMedia> media;
  std::vector<int32_t> drafts;  ///< guesses of what follows; set before plan()

  int64_t cached_tokens() const { return cached_tokens_; }
  bool running() const { return state_ == State::running; }
  bool ended() const { return state_ == State::ended; }
  bool started() const { return started_; }
  int64_t preemptions() const { return preemptions_; }
  bool prefilling() const { return scheduled_ < sequence.prompt_tokens; }
  /// All that is known has been computed, or is being computed, but for the last token.
  bool decoding() const { return scheduled_ >= sequence.prompt_tokens && rows_left() == 1; }

 private:
  friend class Scheduler;
  friend struct SchedulerPeer;  // tests
  enum class State : uint8_t { waiting, running, ended };

  Task(TaskId task_id, NewTask input);
  /// Tokens there will be when the step under way is complete.
  int64_t tokens() const {
    return static_cast<int64_t>(sequence.tokens.size()) + (token_under_way_ ? 1 : 0);
  }
  int64_t rows_left() const { return tokens() - scheduled_; }
  /// The token under way is its last.
  bool at_end() const { return tokens() - sequence.prompt_tokens >= max_tokens; }
  bool takes_decode_row() const { return !paused_ && decoding() && !at_end(); }
  std::span<const PageKey> reusable_keys() const;

  std::vector<PageKey> page_keys_;
  State state_ = State::waiting;
  bool cancelled_ = false;
  bool paused_ = false;
  bool started_ = false;
  bool token_under_way_ = false;
  int64_t scheduled_ = 0;  // tokens computed, or being computed by the step under way
  int64_t shared_pages_ = 0;
  int64_t cached_tokens_ = 0;
  int64_t preemptions_ = 0;
  uint64_t epoch_ = 0;  // changes with every preemption
};

/// Rows of one task in a step.
struct TaskChunk {
  Task* task = nullptr;
  SequenceChunk rows;
  /// The last this many rows give logits: 1, and one per draft; 0 in the middle of a prompt.
  int64_t sampled = 0;

 private:
  friend class Scheduler;
  uint64_t epoch_ = 0;
};

struct StepPlan {
  std::vector<TaskChunk> chunks;  ///< prompt chunks first
  /// Before the chunks run, the tower starts with these pictures (if any), and runs so many layers.
  std::vector<Picture> begin_vision;
  int64_t vision_layers = 0;
  int64_t vision_patches = 0;
  bool vision_ends = false;
  std::vector<TaskId> vision_tasks;  ///< whose pictures the tower works on

  int64_t rows() const;
  bool empty() const { return chunks.empty() && vision_layers == 0; }
};

enum class DropReason : uint8_t { cancelled, deadline };
struct Dropped {
  Task* task = nullptr;
  DropReason reason = DropReason::cancelled;
};

struct SchedulerCounters {
  int64_t preemptions = 0;
  int64_t prefix_queries = 0;  ///< prompt tokens looked up
  int64_t prefix_hits = 0;     ///< and found
  int64_t feature_queries = 0;
  int64_t feature_hits = 0;  ///< pictures whose features were there
  int64_t vision_passes = 0;
  int64_t vision_tokens = 0;  ///< of passes that have ended
  int64_t abandoned_passes = 0;
};

/// A pass of the vision tower, from the first picture that is put into it to its last layer.
struct VisionProgress {
  std::vector<PageKey> keys;
  std::vector<Picture> pictures;
  int64_t patches = 0;
  int64_t next_layer = 0;
  bool started = false;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerConfig& config);

  Task& add(NewTask task);
  /// The task ends in the next plan(); unknown ids are ignored.
  void cancel(TaskId id);
  /// A paused task gets no rows and gives way to all others.
  void pause(TaskId id, bool paused);

  /// The next step. `vision_budget`: patches × layers of the tower that may run in it, at least one
  /// layer. Tasks that end here are added to `dropped`. May be called again before start(): the
  /// last plan counts. The plan is valid until the next call of plan() or start().
  const StepPlan& plan(double now, int64_t vision_budget, std::vector<Dropped>& dropped);
  /// The plan runs now. Tasks that ended before are gone after this call.
  const StepPlan& start();
  /// The step under way is done. accepted[i]: how many tokens were sampled for chunk i, at most its
  /// `sampled`, at least 1 if that is not 0.
  void complete(std::span<const int64_t> accepted);
  /// What was sampled, in order, for a task that has not ended.
  void append(Task& task, int32_t token);
  void finish(Task& task);
  /// Frees tasks that have ended; otherwise the next start() does. No plan is used after it.
  void forget_ended();

  bool idle() const { return tasks_.empty(); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  const BlockPool& blocks() const { return blocks_; }
  const FeatureCache& features() const { return features_; }
  const SchedulerCounters& counters() const { return counters_; }

  /// Recounts everything. Empty, or the first law that does not hold, with its numbers.
  std::string broken_law() const;

 private:
  friend struct SchedulerPeer;  // tests
  struct Before {
    bool operator()(const Task* a, const Task* b) const {
      return a->priority != b->priority ? a->priority < b->priority : a->id < b->id;
    }
  };

  void drop(double now, std::vector<Dropped>& dropped);
  void admit();
  bool admit(Task& task);
  bool prefix_is_coming(const Task& task) const;
  void preempt(Task& task);
  void release(Task& task);
  void release_features(Task& task);
  void end(Task& task);
  void grow_decoding();
  void grow(Task& task, int64_t tokens);
  Task* victim_for(const Task& task);
  void plan_vision(int64_t budget);
  void gather_pictures();
  bool gather_pictures(Task& task);
  bool take_features_from_others(const Task& task);
  void drop_abandoned_pictures();
  int64_t rows_with_features(const Task& task, int64_t rows) const;
  void plan_rows();
  void add_chunk(Task& task, int64_t rows);
  int64_t add_drafts(TaskChunk& chunk, int64_t budget);

  SchedulerConfig config_;
  BlockPool blocks_;
  FeatureCache features_;
  std::optional<VisionProgress> pass_;
  std::unordered_map<TaskId, std::unique_ptr<Task>> tasks_;
  std::vector<std::unique_ptr<Task>> ended_;  // still named by a plan
  std::set<Task*, Before> waiting_;
  std::vector<Task*> running_;  // in order
  std::vector<TaskId> cancels_;
  std::set<std::pair<double, TaskId>> deadlines_;
  StepPlan planned_;
  StepPlan under_way_;
  bool is_under_way_ = false;
  TaskId next_id_ = 1;
  TaskId blocked_task_ = 0;  // could not start for lack of pages
  uint64_t blocked_version_ = 0;
  SchedulerCounters counters_;
};

}  // namespace qvl

#include "qvl/engine.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <exception>

#include "core/clock.h"
#include "runtime/engine_impl.h"
#include "runtime/ngram.h"
#include "runtime/repetition.h"
#include "runtime/request_check.h"
#include "runtime/runner_device.h"
#include "runtime/scheduler.h"
#include "runtime/vision_pacer.h"

namespace qvl {
namespace {

/// With nobody decoding a slice may be this many times longer; it still ends soon enough for a
/// request to be cancelled.
constexpr double kLoneVisionSlices = 4;
constexpr double kLawCheckMs = 1000;

/// What the answers of one request share.
struct Shared {
  RequestId id = 0;
  std::vector<Patches> media;
  bool hash_logits = false;
};

/// A request until the last of its answers has ended.
struct RequestEntry {
  std::vector<TaskId> tasks;  ///< by index of the answer
  int64_t unfinished = 0;
  Admission::Ticket ticket;
};

/// One answer of a request, from submission to its last event.
struct Job {
  std::shared_ptr<const Shared> request;
  int index = 0;
  SamplingParams sampling;  ///< with the seed of this answer
  Task* task = nullptr;
  bool guarded = false;  ///< against repetition
  RepetitionDetector repetition;
  std::optional<NgramIndex> ngrams;

  Stopwatch since_submit;
  bool started = false;
  double first_token_at_ms = 0;
  Timings timings;
};

/// A key that no other picture has.
PageKey private_key(RequestId id, int index, size_t media) {
  const std::array<uint32_t, 2> place = {static_cast<uint32_t>(index),
                                         static_cast<uint32_t>(media)};
  PageKey key{};
  std::memcpy(key.data(), &id, sizeof(id));
  std::memcpy(key.data() + sizeof(id), place.data(), sizeof(place));
  return key;
}

SchedulerConfig scheduler_config(const EngineModel& model, const EngineConfig& config) {
  return {
      .kv_pages = model.plan.kv_pages,
      .max_num_seqs = config.max_num_seqs,
      .max_step_tokens = config.max_step_tokens,
      .feature_rows = model.feature_rows,
      .max_patches = config.max_patches,
      .merge_unit = model.config.vision.merge_unit(),
      .vision_layers = model.config.vision.depth,
      .keep_features =
          config.enable_prefix_caching ? FeatureCache::Keep::yes : FeatureCache::Keep::no,
  };
}

class EngineImpl final : public Engine {
 public:
  EngineImpl(std::unique_ptr<Device> device, EngineModel model, const EngineConfig& config)
      : device_(std::move(device)),
        model_(std::move(model)),
        config_(config),
        admission_({.answers = config.max_queue,
                    .prompt_tokens = config.max_queue_tokens,
                    .media_bytes = config.max_media_bytes}),
        scheduler_(scheduler_config(model_, config)) {}

  Result<RequestId> submit(Request request) override;
  Result<RequestId> submit(Request request, Admission::Ticket ticket) override;
  Status check(const Request& request) const override {
    return check_request(request, model_.config,
                         {.max_tokens = longest(), .max_patches = config_.max_patches});
  }
  Admission& admission() override { return admission_; }
  std::vector<Event> step(const std::function<void()>& meanwhile) override;
  void cancel(RequestId id) override;
  void cancel_answer(RequestId id, int index) override;
  void pause_answer(RequestId id, int index, bool paused) override;
  bool idle() const override { return jobs_.empty(); }
  bool stalled() const override { return stalled_; }
  const std::string& failure() const override { return failure_; }
  EngineStats stats() const override;
  const MemoryPlan& memory_plan() const override { return model_.plan; }
  const LoadStats& load_stats() const override { return model_.stats; }

 private:
  int64_t longest() const {
    return std::min(model_.plan.max_model_len, model_.plan.kv_pages * kPageTokens);
  }
  TaskId add_answer(const Request& request, const std::shared_ptr<const Shared>& shared, int index,
                    const std::vector<PageKey>& page_keys);
  bool speculates() const { return config_.speculation.num_speculative_tokens > 0; }
  void plan(std::vector<Event>& events);
  void guess();
  void launch(const StepPlan& plan);
  void take(const StepPlan& plan, const StepResult& result, std::vector<Event>& events);
  void take_token(Job& job, const Sample& sample, std::vector<Event>& events);
  void finish(Job& job, FinishReason reason, Event event, std::vector<Event>& events);
  void forget(TaskId id);
  TaskId task_of(RequestId id, int index) const;
  void check_laws(std::vector<Event>& events);
  void fail(std::string why, std::vector<Event>& events);

  std::unique_ptr<Device> device_;
  EngineModel model_;
  EngineConfig config_;
  Admission admission_;
  Scheduler scheduler_;
  std::unordered_map<TaskId, Job> jobs_;
  std::unordered_map<RequestId, RequestEntry> requests_;
  RequestId next_id_ = 1;
  const StepPlan* planned_ = nullptr;  // for the next step, unless something happened since
  bool decoding_ = false;              // in the last step
  bool stalled_ = false;               // nothing to do in the last step
  VisionPacer pacer_;
  std::string failure_;
  EngineStats stats_;
  Stopwatch clock_;
  double laws_checked_at_ms_ = 0;

  // Lists of a step keep their capacity.
  std::vector<Dropped> dropped_;
  std::vector<SequenceChunk> chunks_;
  std::vector<SampleJob> samples_;
  std::vector<int64_t> accepted_;
};

Result<RequestId> EngineImpl::submit(Request request) {
  const Status ok = check(request);
  if (!ok) return ok.error();
  Result<Admission::Ticket> ticket = admission_.reserve(cost_of(request));
  if (!ticket) return ticket.error();
  return submit(std::move(request), std::move(*ticket));
}

Result<RequestId> EngineImpl::submit(Request request, Admission::Ticket ticket) {
  if (!failure_.empty()) return Error{ErrorCode::engine_failed, failure_, ""};
  const Status ok = check(request);
  if (!ok) return ok.error();
  auto shared = std::make_shared<Shared>();
  shared->id = next_id_++;
  shared->media = std::move(request.media);
  shared->hash_logits = request.hash_logits;
  std::vector<PageKey> keys;
  if (config_.enable_prefix_caching) {
    keys = prefix_keys(request.prompt_tokens, request.spans, shared->media, request.cache_salt);
  }
  RequestEntry& entry = requests_[shared->id];
  entry.ticket = std::move(ticket);
  for (int index = 0; index < request.sampling.n; ++index) {
    entry.tasks.push_back(add_answer(request, shared, index, keys));
    ++entry.unfinished;
  }
  planned_ = nullptr;
  return shared->id;
}

TaskId EngineImpl::add_answer(const Request& request, const std::shared_ptr<const Shared>& shared,
                              int index, const std::vector<PageKey>& page_keys) {
  NewTask input;
  input.prompt = request.prompt_tokens;
  input.spans = request.spans;
  for (size_t m = 0; m < shared->media.size(); ++m) {
    const Patches& media = shared->media[m];
    const PageKey key = config_.enable_prefix_caching ? feature_key(media, request.cache_salt)
                                                      : private_key(shared->id, index, m);
    input.media.push_back({key, media.grid, {shared, media.rows.data()}});
  }
  input.page_keys = page_keys;
  input.max_tokens = std::min(request.sampling.max_tokens,
                              longest() - static_cast<int64_t>(request.prompt_tokens.size()));
  input.priority = request.priority;
  if (request.deadline_ms > 0) input.deadline = clock_.ms() + request.deadline_ms;
  Task& task = scheduler_.add(std::move(input));
  Job& job = jobs_[task.id];
  job.request = shared;
  job.index = index;
  job.sampling = request.sampling;
  job.sampling.seed = answer_seed(request.sampling.seed, index);
  job.task = &task;
  job.guarded = repetition_guard_is_on(request.sampling);
  if (speculates()) {
    job.ngrams.emplace(config_.speculation.prompt_lookup_min,
                       config_.speculation.prompt_lookup_max);
  }
  return task.id;
}

void EngineImpl::cancel(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  for (const TaskId task : found->second.tasks) scheduler_.cancel(task);
  planned_ = nullptr;
}

void EngineImpl::cancel_answer(RequestId id, int index) {
  if (const TaskId task = task_of(id, index)) scheduler_.cancel(task);
  planned_ = nullptr;
}

void EngineImpl::pause_answer(RequestId id, int index, bool paused) {
  if (const TaskId task = task_of(id, index)) scheduler_.pause(task, paused);
  planned_ = nullptr;
}

/// 0 if there is none.
TaskId EngineImpl::task_of(RequestId id, int index) const {
  const auto found = requests_.find(id);
  if (found == requests_.end() || index < 0) return 0;
  const std::vector<TaskId>& tasks = found->second.tasks;
  return static_cast<size_t>(index) < tasks.size() ? tasks[static_cast<size_t>(index)] : 0;
}

EngineStats EngineImpl::stats() const {
  EngineStats stats = stats_;
  stats.waiting = scheduler_.waiting();
  stats.running = scheduler_.running();
  const BlockPool& b = scheduler_.blocks();
  stats.pages = {b.total_pages(), b.free_pages(), b.cached_pages(), b.owned_pages()};
  const FeatureCache& f = scheduler_.features();
  stats.feature_rows = {f.total_rows(), f.free_rows(), f.cached_rows(), f.owned_rows()};
  const SchedulerCounters& c = scheduler_.counters();
  stats.preemptions = c.preemptions;
  stats.prefix_queries = c.prefix_queries;
  stats.prefix_hits = c.prefix_hits;
  stats.feature_queries = c.feature_queries;
  stats.feature_hits = c.feature_hits;
  stats.vision_passes = c.vision_passes;
  stats.vision_tokens = c.vision_tokens;
  return stats;
}

void EngineImpl::guess() {
  for (auto& [id, job] : jobs_) {
    Task& task = *job.task;
    if (!task.running() || !task.decoding()) continue;
    job.ngrams->propose(task.sequence.tokens, config_.speculation.num_speculative_tokens,
                        task.drafts);
  }
}

void EngineImpl::plan(std::vector<Event>& events) {
  const double slice = config_.vision_slice_ms * (decoding_ ? 1 : kLoneVisionSlices);
  dropped_.clear();
  planned_ = &scheduler_.plan(clock_.ms(), pacer_.budget(slice), dropped_);
  for (const Dropped& dropped : dropped_) {
    finish(
        jobs_.at(dropped.task->id),
        dropped.reason == DropReason::deadline ? FinishReason::deadline : FinishReason::cancelled,
        {}, events);
    forget(dropped.task->id);
  }
}

void EngineImpl::launch(const StepPlan& plan) {
  chunks_.clear();
  samples_.clear();
  RowRoles sampled;
  int64_t row = 0;
  for (const TaskChunk& chunk : plan.chunks) {
    chunks_.push_back(chunk.rows);
    row += chunk.rows.rows;
    Job& job = jobs_.at(chunk.task->id);
    if (!job.started) {
      job.started = true;
      job.timings.queue_ms = job.since_submit.ms();
    }
    const bool prompt = chunk.rows.role == Role::prompt;
    if (prompt) stats_.prompt_tokens += chunk.rows.rows;
    if (chunk.sampled == 0) continue;
    (prompt ? sampled.prompt : sampled.generated) += chunk.sampled;
    stats_.drafts += chunk.sampled - 1;
    samples_.push_back({.row = row - chunk.sampled,
                        .rows = chunk.sampled,
                        .sequence = chunk.rows.sequence,
                        .params = &job.sampling,
                        .drafts = chunk.rows.drafts,
                        .hash_logits = job.request->hash_logits});
  }
  decoding_ = !plan.chunks.empty() && plan.chunks.back().rows.role == Role::generated;
  ++stats_.steps;
  device_->start({.begin_vision = plan.begin_vision,
                  .vision_layers = plan.vision_layers,
                  .chunks = chunks_,
                  .sampled = sampled,
                  .samples = samples_});
}

void EngineImpl::take(const StepPlan& plan, const StepResult& result, std::vector<Event>& events) {
  stats_.device_ms += result.vision_ms + result.text_ms;
  stats_.vision_ms += result.vision_ms;
  pacer_.measured(plan.vision_patches, plan.vision_layers, result.vision_ms);
  for (const TaskId id : plan.vision_tasks) {
    const auto job = jobs_.find(id);
    if (job != jobs_.end()) job->second.timings.vision_ms += result.vision_ms;
  }
  accepted_.clear();
  size_t sample = 0;
  for (const TaskChunk& chunk : plan.chunks) {
    accepted_.push_back(chunk.sampled > 0 ? result.counts[sample++] : 0);
  }
  scheduler_.complete(accepted_);
  size_t token = 0;
  for (size_t c = 0; c < plan.chunks.size(); ++c) {
    const TaskChunk& chunk = plan.chunks[c];
    const size_t first = token;
    token += static_cast<size_t>(accepted_[c]);
    if (chunk.task->ended()) continue;
    Job& job = jobs_.at(chunk.task->id);
    if (chunk.rows.role == Role::prompt) job.timings.prefill_ms += result.text_ms;
    if (accepted_[c] > 1) stats_.accepted_drafts += accepted_[c] - 1;
    for (size_t t = first; t < token && !chunk.task->ended(); ++t) {
      take_token(job, result.tokens[t], events);
    }
    if (chunk.task->ended()) {
      forget(chunk.task->id);
      planned_ = nullptr;
    }
  }
}

void EngineImpl::take_token(Job& job, const Sample& sample, std::vector<Event>& events) {
  Task& task = *job.task;
  const double now = job.since_submit.ms();
  const int64_t before = task.sequence.generated();
  if (before == 0) job.first_token_at_ms = now;
  job.timings.first_token_ms = job.first_token_at_ms;
  job.timings.decode_ms = now - job.first_token_at_ms;
  Event event;
  event.request = job.request->id;
  event.index = job.index;
  event.at_ms = now;
  const auto end = [&](FinishReason reason) {
    scheduler_.finish(task);
    finish(job, reason, std::move(event), events);
  };
  if (sample.token < 0) {
    ++stats_.corrupted;
    return end(FinishReason::error);
  }
  if (ends_answer(job.sampling, sample.token) && before >= job.sampling.min_tokens) {
    event.stop_cause = is_eos(job.sampling, sample.token) ? StopCause::eos : StopCause::stop_token;
    event.stop_token = sample.token;
    return end(FinishReason::stop);
  }
  scheduler_.append(task, sample.token);
  ++stats_.generated_tokens;
  event.token = sample.token;
  event.logprob = sample.logprob;
  event.top_logprobs = sample.top;
  event.logits_hash = sample.logits_hash;
  const bool loops = job.guarded && job.repetition.push(sample.token);
  if (loops && before + 1 >= job.sampling.min_tokens) {
    event.stop_cause = StopCause::repetition;
    return end(FinishReason::stop);
  }
  if (before + 1 == task.max_tokens) return end(FinishReason::length);
  events.push_back(std::move(event));
}

/// The last event of an answer whose task has ended.
void EngineImpl::finish(Job& job, FinishReason reason, Event event, std::vector<Event>& events) {
  const Sequence& s = job.task->sequence;
  event.request = job.request->id;
  event.index = job.index;
  event.at_ms = job.since_submit.ms();
  event.finish = reason;
  event.usage.prompt_tokens = s.prompt_tokens;
  for (const EmbedSpan& span : s.spans) event.usage.image_tokens += span.rows;
  event.usage.cached_tokens = job.task->cached_tokens();
  event.usage.completion_tokens = s.generated();
  event.timings = job.timings;
  events.push_back(std::move(event));
  ++stats_.ended;
}

void EngineImpl::forget(TaskId id) {
  const auto job = jobs_.find(id);
  const auto request = requests_.find(job->second.request->id);
  jobs_.erase(job);
  if (--request->second.unfinished == 0) requests_.erase(request);
}

std::vector<Event> EngineImpl::step(const std::function<void()>& meanwhile) {
  std::vector<Event> events;
  if (!failure_.empty()) return events;
  try {
    if (speculates()) guess();
    if (planned_ == nullptr || speculates()) plan(events);
    stalled_ = planned_->empty();
    if (stalled_) {
      planned_ = nullptr;
      scheduler_.forget_ended();
      return events;
    }
    const StepPlan& now = scheduler_.start();
    launch(now);
    meanwhile();
    if (!speculates()) plan(events);  // the step after it, while the device works
    take(now, device_->finish(), events);
  } catch (const std::exception& error) {
    fail(error.what(), events);
  }
  check_laws(events);
  if (planned_ == nullptr && failure_.empty()) scheduler_.forget_ended();
  return events;
}

void EngineImpl::check_laws(std::vector<Event>& events) {
  if (!failure_.empty()) return;
  const double now = clock_.ms();
  if (config_.law_check == LawCheck::every_second && now < laws_checked_at_ms_ + kLawCheckMs)
    return;
  laws_checked_at_ms_ = now;
  std::string broken = scheduler_.broken_law();
  if (!broken.empty()) fail(std::move(broken), events);
}

void EngineImpl::fail(std::string why, std::vector<Event>& events) {
  failure_ = std::move(why);
  for (auto& [id, job] : jobs_) {
    if (!job.task->ended()) finish(job, FinishReason::error, {}, events);
  }
  jobs_.clear();
  requests_.clear();
  planned_ = nullptr;
}

}  // namespace

RequestCost cost_of(const Request& request) {
  RequestCost cost{.answers = request.sampling.n,
                   .prompt_tokens = static_cast<int64_t>(request.prompt_tokens.size())};
  for (const Patches& media : request.media) {
    cost.media_bytes += static_cast<int64_t>(media.rows.size());
  }
  return cost;
}

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "none";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::deadline:
      return "deadline";
    case FinishReason::error:
      return "error";
  }
  return "none";
}

namespace {

Status check_config(const EngineConfig& config) {
  const auto at_least = [](int64_t found, int64_t least, const char* field) {
    return found >= least
               ? Status()
               : Status(Error{ErrorCode::bad_flag,
                              fmt::format("found {}, expected at least {}", found, least), field});
  };
  // Every running sequence decodes one row per step.
  for (const Status& status :
       {at_least(config.max_num_seqs, 1, "max_num_seqs"),
        at_least(config.max_step_tokens, config.max_num_seqs, "max_step_tokens"),
        at_least(config.max_patches, 1, "max_patches"),
        at_least(config.max_queue, 1, "max_queue")}) {
    if (!status) return status.error();
  }
  const NgramSpeculation& s = config.speculation;
  if (s.num_speculative_tokens < 0 || s.num_speculative_tokens > 16 || s.prompt_lookup_min < 1 ||
      s.prompt_lookup_max < s.prompt_lookup_min || s.prompt_lookup_max > 16) {
    return Error{ErrorCode::bad_flag,
                 fmt::format("found {} guesses from {} to {} equal tokens, expected 0 to 16 from 1 "
                             "to 16",
                             s.num_speculative_tokens, s.prompt_lookup_min, s.prompt_lookup_max),
                 "speculation"};
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Engine>> make_engine(std::unique_ptr<Device> device, EngineModel model,
                                            const EngineConfig& config) {
  const Status valid = check_config(config);
  if (!valid) return valid.error();
  return std::unique_ptr<Engine>(
      std::make_unique<EngineImpl>(std::move(device), std::move(model), config));
}

Result<std::unique_ptr<Engine>> make_engine(const ModelFiles& model, const EngineConfig& config) {
  const Status valid = check_config(config);
  if (!valid) return valid.error();
  Result<std::unique_ptr<Runner>> runner = make_runner(model, config);
  if (!runner) return runner.error();
  EngineModel facts{(*runner)->config(), (*runner)->memory_plan(), (*runner)->load_stats(),
                    (*runner)->feature_rows()};
  return make_engine(make_runner_device(std::move(*runner), config.token_limit), std::move(facts),
                     config);
}

Result<std::unique_ptr<Engine>> Engine::create(const EngineConfig& config) {
  Result<ModelFiles> model = open_model(config.model, config.load_format);
  if (!model) return model.error();
  return make_engine(*model, config);
}

}  // namespace qvl

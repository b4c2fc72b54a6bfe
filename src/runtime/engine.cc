#include "qvl/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>

#include "core/clock.h"
#include "runtime/block_pool.h"
#include "runtime/engine_impl.h"
#include "runtime/feature_cache.h"
#include "runtime/repetition.h"
#include "runtime/sampler.h"

namespace qvl {
namespace {

constexpr size_t kMaxSaltBytes = 1024;

/// One answer of a request, from submission to its last event.
struct Job {
  RequestId id = 0;
  int index = 0;
  SamplingParams sampling;                            ///< with the seed of this answer
  std::shared_ptr<const std::vector<Patches>> media;  ///< of all answers of the request
  Sequence sequence;
  int64_t max_tokens = 0;             ///< what is asked for, or what the context has room for
  std::vector<PageKey> keys;          ///< of the prompt's full pages; empty: nothing is shared
  std::vector<PageKey> feature_keys;  ///< per media item
  int64_t shared_pages = 0;           ///< first pages that were found or published
  int64_t cached_tokens = 0;
  bool cancelled = false;
  bool guarded = false;  ///< against repetition
  RepetitionDetector repetition;

  Stopwatch since_submit;
  bool started = false;
  double first_token_at_ms = 0;
  Timings timings;

  int64_t generated() const {
    return static_cast<int64_t>(sequence.tokens.size()) - sequence.prompt_tokens;
  }
  std::span<const int32_t> prompt() const {
    return {sequence.tokens.data(), static_cast<size_t>(sequence.prompt_tokens)};
  }
  std::span<const int32_t> answer() const {
    return std::span(sequence.tokens).subspan(static_cast<size_t>(sequence.prompt_tokens));
  }
  /// Keys that may be looked up: the last token of the prompt is always computed.
  std::span<const PageKey> reusable_keys() const {
    const auto pages = static_cast<size_t>((sequence.prompt_tokens - 1) / kPageTokens);
    return std::span(keys).first(std::min(keys.size(), pages));
  }
  bool prefilling() const { return sequence.computed < sequence.prompt_tokens; }
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

int64_t pages_for(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

class EngineImpl final : public Engine {
 public:
  EngineImpl(std::unique_ptr<Runner> runner, const EngineConfig& config)
      : runner_(std::move(runner)),
        config_(config),
        blocks_(runner_->memory_plan().kv_pages),
        features_(*runner_,
                  config.enable_prefix_caching ? FeatureCache::Keep::yes : FeatureCache::Keep::no),
        sampler_(runner_->config().text.vocab_size) {
    const int64_t vocab = runner_->config().text.vocab_size;
    if (config.token_limit <= 0 || config.token_limit >= vocab) return;
    allowed_.assign(static_cast<size_t>((vocab + 63) / 64), 0);
    for (int64_t id = 0; id < config.token_limit; ++id) {
      allowed_[static_cast<size_t>(id / 64)] |= uint64_t{1} << (id % 64);
    }
  }

  Result<RequestId> submit(Request request) override;
  std::vector<Event> step() override;
  void cancel(RequestId id) override;
  void cancel_answer(RequestId id, int index) override;
  bool idle() const override { return waiting_.empty() && running_.empty(); }
  PageUse page_use() const override {
    return {blocks_.total_pages(), blocks_.free_pages(), blocks_.cached_pages(),
            blocks_.owned_pages()};
  }
  const MemoryPlan& memory_plan() const override { return runner_->memory_plan(); }
  const LoadStats& load_stats() const override { return runner_->load_stats(); }

 private:
  Status check(const Request& request) const;
  Status check_span(const Request& request, size_t index) const;
  void admit();
  bool admit(Job& job);
  bool prefix_is_coming(const Job& job) const;
  void publish_pages(Job& job);
  std::vector<SequenceChunk> plan_step();
  int64_t prepare_features(Job& job, int64_t rows);
  void release_features(Job& job);
  void take_token(Job& job, Vec<const float> logits, std::vector<Event>& events);
  void finish(Job& job, FinishReason reason, Event event, std::vector<Event>& events);
  void drop_cancelled(std::vector<Event>& events);

  std::unique_ptr<Runner> runner_;
  EngineConfig config_;
  BlockPool blocks_;
  FeatureCache features_;
  Sampler sampler_;
  std::vector<uint64_t> allowed_;  // tokens that have a text; empty: all
  RequestId next_id_ = 1;
  std::deque<std::unique_ptr<Job>> waiting_;
  std::vector<std::unique_ptr<Job>> running_;
};

Status EngineImpl::check_span(const Request& request, size_t index) const {
  const EmbedSpan& span = request.spans[index];
  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::bad_messages, fmt::format("span {}: {}", index, what), "spans"};
  };
  const int64_t begin = index == 0 ? 0 : request.spans[index - 1].end();
  const auto tokens = static_cast<int64_t>(request.prompt_tokens.size());
  if (span.merged_h < 1 || span.merged_w < 1 ||
      span.rows != int64_t{span.merged_h} * span.merged_w) {
    return bad(fmt::format("{} rows for a grid of {}×{}", span.rows, span.merged_h, span.merged_w));
  }
  if (span.first_token < begin || span.first_token > tokens - span.rows) {
    return bad(fmt::format("tokens {} to {} of {}", span.first_token, span.end(), tokens));
  }
  if (span.media < 0 || static_cast<size_t>(span.media) >= request.media.size()) {
    return bad(fmt::format("media item {} of {}", span.media, request.media.size()));
  }
  if (index > 0 && span.media < request.spans[index - 1].media) {
    return bad("media items are not in the order of the prompt");
  }
  const int64_t rows = request.media[static_cast<size_t>(span.media)].grid.patches() /
                       runner_->config().vision.merge_unit();
  if (span.feature_row < 0 || span.feature_row > rows - span.rows) {
    return bad(fmt::format("feature rows {} to {} of {}", span.feature_row,
                           span.feature_row + span.rows, rows));
  }
  return {};
}

Status EngineImpl::check(const Request& request) const {
  const ModelConfig& model = runner_->config();
  const Status sampling = validate(request.sampling);
  if (!sampling) return sampling.error();
  if (request.prompt_tokens.empty()) return Error{ErrorCode::prompt_empty, "0 tokens", "prompt"};
  const auto tokens = static_cast<int64_t>(request.prompt_tokens.size());
  const int64_t longest =
      std::min(memory_plan().max_model_len, memory_plan().kv_pages * kPageTokens);
  if (tokens >= longest) {
    return Error{ErrorCode::prompt_too_long,
                 fmt::format("found {} tokens of prompt, expected at most {} and one of answer",
                             tokens, longest - 1),
                 "prompt"};
  }
  for (const int32_t id : request.prompt_tokens) {
    if (id < 0 || id >= model.text.vocab_size) {
      return Error{
          ErrorCode::bad_messages,
          fmt::format("token {} is outside the vocabulary of {}", id, model.text.vocab_size),
          "prompt"};
    }
  }
  for (const Patches& media : request.media) {
    const Grid& g = media.grid;
    const int merge = model.vision.spatial_merge_size;
    if (g.t < 1 || g.h < merge || g.w < merge || g.h % merge != 0 || g.w % merge != 0) {
      return Error{ErrorCode::bad_image, fmt::format("grid of {}×{}×{} patches", g.t, g.h, g.w),
                   "media"};
    }
    if (g.patches() > runner_->max_patches()) {
      return Error{
          ErrorCode::image_too_large,
          fmt::format("found {} patches, expected at most {}", g.patches(), runner_->max_patches()),
          "media"};
    }
    if (static_cast<int64_t>(media.rows.size()) != g.patches() * model.vision.patch_dim()) {
      return Error{ErrorCode::bad_image,
                   fmt::format("{} bytes for {} patches of {}", media.rows.size(), g.patches(),
                               model.vision.patch_dim()),
                   "media"};
    }
  }
  for (size_t i = 0; i < request.spans.size(); ++i) {
    const Status span = check_span(request, i);
    if (!span) return span.error();
  }
  if (request.cache_salt.size() > kMaxSaltBytes) {
    return Error{ErrorCode::bad_messages,
                 fmt::format("found {} bytes, expected at most {}", request.cache_salt.size(),
                             kMaxSaltBytes),
                 "cache_salt"};
  }
  for (const LogitBias& bias : request.sampling.logit_bias) {
    if (bias.token >= model.text.vocab_size) {
      return Error{ErrorCode::bad_sampling,
                   fmt::format("found token {}, expected one of the vocabulary of {}", bias.token,
                               model.text.vocab_size),
                   "logit_bias"};
    }
  }
  const auto unfinished = static_cast<int64_t>(waiting_.size() + running_.size());
  if (unfinished + request.sampling.n > config_.max_queue) {
    return Error{ErrorCode::queue_full,
                 fmt::format("found {} unfinished answers and {} asked for, expected at most {}",
                             unfinished, request.sampling.n, config_.max_queue),
                 ""};
  }
  return {};
}

Result<RequestId> EngineImpl::submit(Request request) {
  const Status ok = check(request);
  if (!ok) return ok.error();
  const RequestId id = next_id_++;
  const auto media = std::make_shared<const std::vector<Patches>>(std::move(request.media));
  const auto prompt_tokens = static_cast<int64_t>(request.prompt_tokens.size());
  const int64_t longest =
      std::min(memory_plan().max_model_len, memory_plan().kv_pages * kPageTokens);
  const int64_t max_tokens = std::min(request.sampling.max_tokens, longest - prompt_tokens);
  std::vector<PageKey> keys;
  if (config_.enable_prefix_caching) {
    keys = prefix_keys(request.prompt_tokens, request.spans, *media, request.cache_salt);
  }
  for (int index = 0; index < request.sampling.n; ++index) {
    auto job = std::make_unique<Job>();
    job->id = id;
    job->index = index;
    job->sampling = request.sampling;
    job->sampling.seed = answer_seed(request.sampling.seed, index);
    job->media = media;
    job->keys = keys;
    for (size_t m = 0; m < media->size(); ++m) {
      job->feature_keys.push_back(config_.enable_prefix_caching
                                      ? feature_key((*media)[m], request.cache_salt)
                                      : private_key(id, index, m));
    }
    job->max_tokens = max_tokens;
    job->guarded = repetition_guard_is_on(request.sampling);
    Sequence& s = job->sequence;
    s.tokens = request.prompt_tokens;
    s.prompt_tokens = prompt_tokens;
    s.spans = request.spans;
    s.features.resize(media->size());
    waiting_.push_back(std::move(job));
  }
  return id;
}

void EngineImpl::cancel(RequestId id) {
  for (auto& job : waiting_) job->cancelled |= job->id == id;
  for (auto& job : running_) job->cancelled |= job->id == id;
}

void EngineImpl::cancel_answer(RequestId id, int index) {
  for (auto& job : waiting_) job->cancelled |= job->id == id && job->index == index;
  for (auto& job : running_) job->cancelled |= job->id == id && job->index == index;
}

/// True if a running request is computing the next page that `job` could share: waiting for it is
/// less work than doing it twice.
bool EngineImpl::prefix_is_coming(const Job& job) const {
  const std::span<const PageKey> keys = job.reusable_keys();
  const auto next = static_cast<size_t>(blocks_.known(keys));
  if (next == keys.size()) return false;
  return std::any_of(running_.begin(), running_.end(), [&](const auto& other) {
    return other->prefilling() && next < other->keys.size() && other->keys[next] == keys[next];
  });
}

/// Takes all pages that the prompt and its whole answer need, the first ones from the cache.
bool EngineImpl::admit(Job& job) {
  if (prefix_is_coming(job)) return false;
  Sequence& s = job.sequence;
  std::vector<int32_t> pages = blocks_.take_known(job.reusable_keys());
  const auto shared = static_cast<int64_t>(pages.size());
  const auto fresh = blocks_.take(pages_for(s.prompt_tokens + job.max_tokens) - shared);
  if (!fresh) {
    blocks_.give_back(pages);
    return false;
  }
  pages.insert(pages.end(), fresh->begin(), fresh->end());
  s.block_table = std::move(pages);
  s.computed = shared * kPageTokens;
  s.tokens.reserve(static_cast<size_t>(s.prompt_tokens + job.max_tokens));
  job.shared_pages = shared;
  job.cached_tokens = s.computed;
  job.timings.queue_ms = job.since_submit.ms();
  return true;
}

/// First come, first served. A request starts when the cache has room for its prompt and its whole
/// answer, so that what runs never has to stop for lack of pages.
void EngineImpl::admit() {
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < config_.max_num_seqs &&
         admit(*waiting_.front())) {
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

/// Pages that the prompt has filled are there for other prompts. Pages with generated tokens never
/// are: prompts are computed by prompt rows, so that an answer has the same bits in every history.
void EngineImpl::publish_pages(Job& job) {
  const Sequence& s = job.sequence;
  const int64_t full = std::min(s.computed / kPageTokens, static_cast<int64_t>(job.keys.size()));
  for (; job.shared_pages < full; ++job.shared_pages) {
    const auto page = static_cast<size_t>(job.shared_pages);
    blocks_.publish(s.block_table[page], job.keys[page]);
  }
}

/// Sees to it that the pictures among the next `rows` tokens are encoded; returns how many rows can
/// run now.
int64_t EngineImpl::prepare_features(Job& job, int64_t rows) {
  Sequence& s = job.sequence;
  for (const EmbedSpan& span : s.spans) {
    if (span.end() <= s.computed) continue;
    if (span.first_token >= s.computed + rows) break;
    const auto m = static_cast<size_t>(span.media);
    if (s.features[m]) continue;
    const Patches& media = (*job.media)[m];
    const auto taken = features_.take(job.feature_keys[m], media.grid);
    if (!taken) return std::max<int64_t>(0, span.first_token - s.computed);
    s.features[m] = taken->features;
    if (taken->computed) continue;
    const Stopwatch clock;
    const VisionItem item{media.grid, media.rows.data(), *s.features[m]};
    VisionPass pass = runner_->begin_vision({&item, 1});
    while (!runner_->advance_vision(pass, runner_->config().vision.depth)) {
    }
    job.timings.vision_ms += clock.ms();
  }
  return rows;
}

/// Features are given back when the last span that reads them is prefilled.
void EngineImpl::release_features(Job& job) {
  Sequence& s = job.sequence;
  for (size_t m = 0; m < s.features.size(); ++m) {
    if (!s.features[m]) continue;
    const bool needed = std::any_of(s.spans.begin(), s.spans.end(), [&](const EmbedSpan& span) {
      return static_cast<size_t>(span.media) == m && span.end() > s.computed;
    });
    if (needed) continue;
    features_.give_back(job.feature_keys[m]);
    s.features[m].reset();
  }
}

/// One token for every decoding sequence, the rest of the budget for prompts in order of arrival.
std::vector<SequenceChunk> EngineImpl::plan_step() {
  int64_t budget = config_.max_step_tokens;
  for (const auto& job : running_) budget -= job->prefilling() ? 0 : 1;
  std::vector<SequenceChunk> chunks;
  for (auto& job : running_) {
    if (!job->prefilling() || budget <= 0) continue;
    const Sequence& s = job->sequence;
    const int64_t rows = prepare_features(*job, std::min(budget, s.prompt_tokens - s.computed));
    if (rows == 0) continue;
    chunks.push_back({&s, rows, Role::prompt});
    budget -= rows;
  }
  for (const auto& job : running_) {
    if (!job->prefilling()) chunks.push_back({&job->sequence, 1, Role::generated});
  }
  return chunks;
}

std::vector<Event> EngineImpl::step() {
  std::vector<Event> events;
  drop_cancelled(events);
  admit();
  double vision_before = 0;
  for (const auto& job : running_) vision_before += job->timings.vision_ms;
  const Stopwatch clock;
  const std::vector<SequenceChunk> chunks = plan_step();
  if (chunks.empty()) return events;
  runner_->step(chunks, nullptr);

  // Logits: the last row of a prompt that is now complete, and every generated row.
  std::vector<int32_t> rows;
  std::vector<Job*> owners;
  RowRoles roles;
  int64_t row = 0;
  for (const SequenceChunk& chunk : chunks) {
    const auto owner = std::find_if(running_.begin(), running_.end(), [&](const auto& job) {
      return &job->sequence == chunk.sequence;
    });
    Job& job = **owner;
    row += chunk.rows;
    job.sequence.computed += chunk.rows;
    if (job.prefilling()) continue;
    rows.push_back(static_cast<int32_t>(row - 1));
    owners.push_back(&job);
    (chunk.role == Role::prompt ? roles.prompt : roles.generated) += 1;
  }
  Mat<const float> logits;
  if (!rows.empty())
    logits = runner_->logits(roles, {rows.data(), static_cast<int64_t>(rows.size())});

  double vision_after = 0;
  for (const auto& job : running_) vision_after += job->timings.vision_ms;
  const double step_ms = clock.ms() - (vision_after - vision_before);
  for (const SequenceChunk& chunk : chunks) {
    if (chunk.role != Role::prompt) continue;
    for (auto& job : running_) {
      if (&job->sequence != chunk.sequence) continue;
      job->timings.prefill_ms += step_ms;
      publish_pages(*job);
      release_features(*job);
    }
  }
  for (size_t i = 0; i < owners.size(); ++i) {
    const auto r = static_cast<int64_t>(i);
    take_token(*owners[i], {logits.row(r), logits.cols}, events);
  }
  std::erase_if(running_, [](const auto& job) { return job->sequence.block_table.empty(); });
  return events;
}

void EngineImpl::take_token(Job& job, Vec<const float> logits, std::vector<Event>& events) {
  const bool may_end = job.generated() >= job.sampling.min_tokens;
  const Sample sample = sampler_.sample(logits, job.sampling,
                                        {.index = static_cast<uint64_t>(job.generated()),
                                         .prompt = job.prompt(),
                                         .generated = job.answer(),
                                         .allowed = allowed_,
                                         .may_end = may_end});
  const double now = job.since_submit.ms();
  if (job.generated() == 0) job.first_token_at_ms = now;
  job.timings.first_token_ms = job.first_token_at_ms;
  job.timings.decode_ms = now - job.first_token_at_ms;
  Event event;
  event.request = job.id;
  event.index = job.index;
  event.at_ms = now;
  if (sample.token < 0) {
    finish(job, FinishReason::error, std::move(event), events);
    return;
  }
  if (ends_answer(job.sampling, sample.token)) {
    event.stop_cause = is_eos(job.sampling, sample.token) ? StopCause::eos : StopCause::stop_token;
    event.stop_token = sample.token;
    finish(job, FinishReason::stop, std::move(event), events);
    return;
  }
  job.sequence.tokens.push_back(sample.token);
  event.token = sample.token;
  event.logprob = sample.logprob;
  event.top_logprobs = sample.top;
  const bool loops = job.guarded && job.repetition.push(sample.token);
  if (loops && job.generated() >= job.sampling.min_tokens) {
    event.stop_cause = StopCause::repetition;
    finish(job, FinishReason::stop, std::move(event), events);
  } else if (job.generated() == job.max_tokens) {
    finish(job, FinishReason::length, std::move(event), events);
  } else {
    events.push_back(std::move(event));
  }
}

/// Gives everything back and sends the last event. An empty block table marks the job as done.
void EngineImpl::finish(Job& job, FinishReason reason, Event event, std::vector<Event>& events) {
  Sequence& s = job.sequence;
  blocks_.give_back(s.block_table);
  s.block_table.clear();
  for (size_t m = 0; m < s.features.size(); ++m) {
    if (s.features[m]) features_.give_back(job.feature_keys[m]);
    s.features[m].reset();
  }
  event.request = job.id;
  event.index = job.index;
  event.at_ms = job.since_submit.ms();
  event.finish = reason;
  event.usage.prompt_tokens = s.prompt_tokens;
  for (const EmbedSpan& span : s.spans) event.usage.image_tokens += span.rows;
  event.usage.cached_tokens = job.cached_tokens;
  event.usage.completion_tokens = job.generated();
  event.timings = job.timings;
  events.push_back(std::move(event));
}

void EngineImpl::drop_cancelled(std::vector<Event>& events) {
  const auto drop = [&](const std::unique_ptr<Job>& job) {
    if (!job->cancelled) return false;
    finish(*job, FinishReason::cancelled, {}, events);
    return true;
  };
  std::erase_if(waiting_, drop);
  std::erase_if(running_, drop);
}

}  // namespace

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
  return {};
}

}  // namespace

Result<std::unique_ptr<Engine>> make_engine(const ModelFiles& model, const EngineConfig& config) {
  const Status valid = check_config(config);
  if (!valid) return valid.error();
  Result<std::unique_ptr<Runner>> runner = make_runner(model, config);
  if (!runner) return runner.error();
  return std::unique_ptr<Engine>(std::make_unique<EngineImpl>(std::move(*runner), config));
}

Result<std::unique_ptr<Engine>> Engine::create(const EngineConfig& config) {
  Result<ModelFiles> model = open_model(config.model, config.load_format);
  if (!model) return model.error();
  return make_engine(*model, config);
}

}  // namespace qvl

#pragma once

/// The engine: requests in, events out.
///
///   EngineConfig config{.model = "Qwen3-VL-2B-Instruct"};
///   Result<std::unique_ptr<Engine>> engine = Engine::create(config);
///   if (!engine) return fail(engine.error());
///   Result<RequestId> id = (*engine)->submit(request);
///   while (!(*engine)->idle()) {
///     for (const Event& event : (*engine)->step()) print(event);
///   }
///
/// One thread owns an engine and makes all calls on it.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qvl/admission.h"
#include "qvl/memory_plan.h"
#include "qvl/request.h"
#include "qvl/result.h"

namespace qvl {

enum class LoadFormat : uint8_t { checkpoint, dummy };
/// automatic: cuda if a GPU can be used and activations are bfloat16, else cpu.
enum class BackendKind : uint8_t { automatic, cpu, ref, cuda };
enum class IsaChoice : uint8_t { best, avx2, avx512, avx512_bf16 };

/// Element type of activations and cache. `automatic`: bfloat16 for BF16 and quantised weights,
/// otherwise float32.
enum class ActivationType : uint8_t { automatic, float32, bfloat16 };

/// Guesses several tokens at once from earlier places in the same sequence ("prompt lookup") and
/// checks them in one step. Answers have the same bits with and without, at any temperature.
struct NgramSpeculation {
  int num_speculative_tokens = 0;  ///< guesses per step; 0: off
  int prompt_lookup_min = 2;       ///< tokens that must stand in both places, at least and at most
  int prompt_lookup_max = 4;
};

/// How often an engine recounts what it has handed out. A count that is wrong ends all requests
/// with an error rather than going on.
enum class LawCheck : uint8_t { every_second, every_step };

struct EngineConfig {
  std::string model;  ///< checkpoint folder, or a preset with LoadFormat::dummy
  LoadFormat load_format = LoadFormat::checkpoint;
  BackendKind backend = BackendKind::cpu;
  IsaChoice isa = IsaChoice::best;
  int threads = 0;  ///< 0: one per available core
  ActivationType dtype = ActivationType::automatic;
  /// Launch every kernel of every step by itself instead of replaying recorded graphs; for tests.
  bool enforce_eager = false;

  int64_t memory_bytes = 0;   ///< cap on all that the process takes; 0: 90 % of what is available
  int64_t kv_bytes = 0;       ///< of keys and values; 0: max_num_seqs whole sequences
  int64_t max_model_len = 0;  ///< prompt and answer; 0: as the model says
  int64_t max_num_seqs = 1;   ///< sequences that run at the same time
  int64_t max_step_tokens =
      512;  ///< rows of one step: prompts are prefilled in chunks of at most this
  int64_t max_logits_rows = 0;   ///< rows of logits of one step; 0: one per sequence
  int64_t token_limit = 0;       ///< ids from here on have no text and are never generated; 0: none
  int64_t max_queue = 1024;      ///< answers waiting or running
  int64_t max_queue_tokens = 0;  ///< of the prompts of unfinished requests together; 0: any
  int64_t max_media_bytes = 0;   ///< of the media of unfinished requests together; 0: any
  int64_t max_patches = 65'536;  ///< of one picture or video: 16 × 16 pixels each
  /// Room for features of pictures that were seen before, or are waiting for their prompt; at least
  /// one picture of max_patches always fits.
  int64_t feature_cache_bytes = 0;
  /// The longest that decoding sequences wait for the vision tower in one step; one layer of the
  /// tower always runs.
  double vision_slice_ms = 50;
  NgramSpeculation speculation;
  LawCheck law_check = LawCheck::every_second;
  /// Keep the keys and values of prompts, as long as there is room, for later prompts that begin
  /// alike. Answers have the same bits with and without.
  bool enable_prefix_caching = true;
  std::function<void(double fraction)>
      load_progress;  ///< called while weights load, fraction in [0, 1]
};

struct LoadStats {
  double load_ms = 0;
  int64_t weight_bytes = 0;  ///< as held in memory
  std::vector<std::string> unused_tensors;
  std::string backend;  ///< "cpu avx512_bf16, 2 threads, bfloat16"
};

/// Parts of a store now; free + cached + owned = total.
struct Use {
  int64_t total = 0;
  int64_t free = 0;
  int64_t cached = 0;  ///< of earlier requests; given up when room is needed
  int64_t owned = 0;   ///< of running requests
};

/// What an engine has and has done; counters since it was made.
struct EngineStats {
  int64_t waiting = 0;  ///< answers
  int64_t running = 0;
  Use pages;         ///< of the cache of keys and values, 64 tokens each
  Use feature_rows;  ///< of pictures, one per token

  int64_t steps = 0;
  int64_t ended = 0;             ///< answers, in whatever way
  int64_t prompt_tokens = 0;     ///< computed, again ones included
  int64_t generated_tokens = 0;  ///< sent
  int64_t preemptions = 0;       ///< answers that gave way and were computed again
  int64_t prefix_queries = 0;    ///< prompt tokens looked up in the prefix cache
  int64_t prefix_hits = 0;       ///< and found there
  int64_t feature_queries = 0;   ///< pictures looked up
  int64_t feature_hits = 0;      ///< and found
  int64_t vision_passes = 0;     ///< of the tower; several pictures may share one
  int64_t vision_tokens = 0;     ///< of pictures that it has made
  int64_t corrupted = 0;         ///< answers ended by logits that are not numbers
  int64_t drafts = 0;            ///< tokens guessed by speculation
  int64_t accepted_drafts = 0;   ///< and right
  double device_ms = 0;          ///< steps under way
  double vision_ms = 0;          ///< part of it
};

/// What a request takes while it is unfinished.
RequestCost cost_of(const Request& request);

class Engine {
 public:
  /// Plans memory, then loads. Nothing large is allocated before every header and the plan have
  /// been checked.
  static Result<std::unique_ptr<Engine>> create(const EngineConfig& config);
  virtual ~Engine() = default;

  /// Checks the request against the table of limits and queues it.
  virtual Result<RequestId> submit(Request request) = 0;
  /// The same for a request whose room was reserved before, with at least what it needs.
  virtual Result<RequestId> submit(Request request, Admission::Ticket ticket) = 0;
  /// What submit() would refuse, but for a full queue. May be called from any thread.
  virtual Status check(const Request& request) const = 0;
  virtual Admission& admission() = 0;

  /// Does one step of work for all running requests. Empty when there is nothing to do: idle, or
  /// everything is paused.
  std::vector<Event> step() {
    return step([] {});
  }
  /// The same; calls `meanwhile` as soon as the device works on the step, for what must not keep it
  /// waiting. Not called if there is nothing to do.
  virtual std::vector<Event> step(const std::function<void()>& meanwhile) = 0;
  /// All answers of the request that have not ended end with FinishReason::cancelled in the next
  /// step; unknown ids are ignored.
  virtual void cancel(RequestId id) = 0;
  /// The same for one answer.
  virtual void cancel_answer(RequestId id, int index) = 0;
  /// The answer gets no tokens, and gives way to all others, until it is resumed; for readers that
  /// do not keep up.
  virtual void pause_answer(RequestId id, int index, bool paused) = 0;
  virtual bool idle() const = 0;
  /// True after a step() that found nothing to do: idle, or everything is paused.
  virtual bool stalled() const = 0;
  /// Empty while all is well. Otherwise what went wrong for good: all requests have ended with
  /// FinishReason::error and no new ones are taken.
  virtual const std::string& failure() const = 0;

  virtual EngineStats stats() const = 0;
  virtual const MemoryPlan& memory_plan() const = 0;
  virtual const LoadStats& load_stats() const = 0;
};

}  // namespace qvl

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

#include "qvl/memory_plan.h"
#include "qvl/request.h"
#include "qvl/result.h"

namespace qvl {

enum class LoadFormat : uint8_t { checkpoint, dummy };
enum class BackendKind : uint8_t { cpu, ref };
enum class IsaChoice : uint8_t { best, avx2, avx512, avx512_bf16 };

/// Element type of activations and cache. `automatic`: bfloat16 for BF16 and quantised weights,
/// otherwise float32.
enum class ActivationType : uint8_t { automatic, float32, bfloat16 };

struct EngineConfig {
  std::string model;  ///< checkpoint folder, or a preset with LoadFormat::dummy
  LoadFormat load_format = LoadFormat::checkpoint;
  BackendKind backend = BackendKind::cpu;
  IsaChoice isa = IsaChoice::best;
  int threads = 0;  ///< 0: one per available core
  ActivationType dtype = ActivationType::automatic;

  int64_t memory_bytes = 0;   ///< cap on all that the process takes; 0: 90 % of what is available
  int64_t max_model_len = 0;  ///< prompt and answer; 0: as the model says
  int64_t max_num_seqs = 1;   ///< sequences that run at the same time
  int64_t max_step_tokens =
      512;  ///< rows of one step: prompts are prefilled in chunks of at most this
  int64_t max_logits_rows = 0;   ///< rows of logits of one step; 0: one per sequence
  int64_t token_limit = 0;       ///< ids from here on have no text and are never generated; 0: none
  int64_t max_queue = 1024;      ///< answers waiting or running
  int64_t max_patches = 65'536;  ///< of one picture or video: 16 × 16 pixels each
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

/// Pages of the cache now; free + cached + owned = total.
struct PageUse {
  int64_t total = 0;
  int64_t free = 0;
  int64_t cached = 0;  ///< of earlier prompts; given up when pages are needed
  int64_t owned = 0;   ///< of running requests
};

class Engine {
 public:
  /// Plans memory, then loads. Nothing large is allocated before every header and the plan have
  /// been checked.
  static Result<std::unique_ptr<Engine>> create(const EngineConfig& config);
  virtual ~Engine() = default;

  /// Checks the request against the table of limits and queues it.
  virtual Result<RequestId> submit(Request request) = 0;
  /// Does one step of work for all running requests. Empty when idle.
  virtual std::vector<Event> step() = 0;
  /// All answers of the request that have not ended end with FinishReason::cancelled in the next
  /// step; unknown ids are ignored.
  virtual void cancel(RequestId id) = 0;
  /// The same for one answer.
  virtual void cancel_answer(RequestId id, int index) = 0;
  virtual bool idle() const = 0;

  virtual PageUse page_use() const = 0;
  virtual const MemoryPlan& memory_plan() const = 0;
  virtual const LoadStats& load_stats() const = 0;
};

}  // namespace qvl

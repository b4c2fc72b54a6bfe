#pragma once

/// The memory plan: every arena's size, worked out before the first is made.

#include "core/arena.h"
#include "model/text.h"
#include "model/vision.h"
#include "qvl/engine.h"

namespace qvl {

/// Sizes that follow from a plan; what the runner allocates.
struct ArenaSizes {
  int64_t weights = 0;
  int64_t kv = 0;
  int64_t vision = 0;
  int64_t features = 0;
  int64_t activations = 0;
  int64_t scratch = 0;
  int64_t step_lists = 0;
  int64_t feature_rows = 0;
  int64_t kv_page_bytes = 0;
};

struct PlannedMemory {
  MemoryPlan plan;
  ArenaSizes sizes;
};

/// The memory that the cap is about: of the machine, or of a GPU.
struct MemoryRoom {
  int64_t taken_bytes = 0;      ///< already, by this process
  int64_t available_bytes = 0;  ///< beyond that
  int64_t reserve_bytes = 0;    ///< what the process adds after the plan is made
  std::string detail;           ///< what taken and reserved memory is
};
/// Of this machine. Taken: program, tokenizer, decoded pictures.
MemoryRoom host_room();

/// What a backend needs beside weights, activations and cache.
struct BackendNeeds {
  int64_t scratch = 0;
  int64_t step_lists = 0;
  int64_t kv_page_bytes = 0;
};

/// The largest shapes that operators will see.
OperatorShapes operator_shapes(const ModelConfig& model, const EngineConfig& config);

/// If the cache for max_num_seqs sequences of max_model_len does not fit, first the number of whole
/// sequences it holds shrinks, then the context. Error does_not_fit if less than 256 tokens would
/// remain.
Result<PlannedMemory> plan_memory(const BackendNeeds& needs, const MemoryRoom& room,
                                  const ModelConfig& model, const WeightPlan& weights,
                                  ActFormat activation, const EngineConfig& config);

template <class Backend>
BackendNeeds backend_needs(const Backend& backend, const ModelConfig& model, ActFormat activation,
                           const EngineConfig& config) {
  return {.scratch = scratch_bytes(backend, operator_shapes(model, config)),
          .kv_page_bytes = kv_page_bytes(backend, kv_shape(model.text, activation))};
}

/// Rows of logits that a step has room for.
inline int64_t logits_rows(const EngineConfig& config) {
  if (config.max_logits_rows > 0) return config.max_logits_rows;
  const int64_t most = config.max_num_seqs * (1 + config.speculation.num_speculative_tokens);
  return std::min(most, config.max_step_tokens);
}

/// Memory of this process that is resident now.
int64_t resident_bytes();

/// "1.23 GB", decimal units.
std::string format_bytes(int64_t bytes);

}  // namespace qvl

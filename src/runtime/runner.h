#pragma once

/// Owns a loaded model on one backend and runs steps: chunks of sequences → tensors → logits. The
/// only place where the kind of backend is hidden behind a virtual call; it knows no requests and
/// keeps no sequences.

#include <memory>
#include <span>

#include "model/model_files.h"
#include "model/text.h"
#include "model/vision.h"
#include "qvl/engine.h"
#include "runtime/memory.h"
#include "runtime/sequence.h"

namespace qvl {

class Runner {
 public:
  virtual ~Runner() = default;

  /// Runs the chunks, prompt chunks before generated ones, and writes their keys and values. Every
  /// media item that a chunk touches must have its features set. The caller advances
  /// Sequence::computed.
  virtual void step(std::span<const SequenceChunk> chunks, LayerObserver* observer) = 0;
  /// Logits of rows of the last step (row 0 is the first row of the first chunk), at most
  /// max_logits_rows; valid until the next call. roles counts the rows by role.
  virtual Mat<const float> logits(RowRoles roles, Vec<const int32_t> rows) = 0;

  /// Room for the features of `patches`, or nothing while others hold it.
  virtual std::optional<ActMat> take_features(const Grid& grid) = 0;
  virtual void give_back_features(const ActMat& features) = 0;
  virtual VisionPass begin_vision(std::span<const VisionItem> items) = 0;
  /// True when the features of all items are complete.
  virtual bool advance_vision(VisionPass& pass, int64_t layers) = 0;
  /// The tower's residual stream of the last pass, [patches, hidden_size]; for parity.
  virtual Mat<const float> vision_hidden() const = 0;

  const ModelConfig& config() const { return config_; }
  const MemoryPlan& memory_plan() const { return plan_; }
  const LoadStats& load_stats() const { return stats_; }
  int64_t max_patches() const { return max_patches_; }

 protected:
  ModelConfig config_;
  MemoryPlan plan_;
  LoadStats stats_;
  int64_t max_patches_ = 0;
};

/// Plans, allocates and loads.
Result<std::unique_ptr<Runner>> make_runner(const ModelFiles& model, const EngineConfig& config);

/// What the cache of `tokens` tokens of one sequence takes, in whole pages.
int64_t kv_cache_bytes(const ModelFiles& model, const EngineConfig& config, int64_t tokens);

}  // namespace qvl

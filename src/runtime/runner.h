#pragma once

/// Owns a loaded model on one backend and runs steps: chunks of sequences → tensors → logits. The
/// only place where the kind of backend is hidden behind a virtual call; it knows no requests and
/// keeps no sequences.

#include <memory>
#include <optional>
#include <span>

#include "kernels/candidates.h"
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

  /// Takes over all that run() needs to know of the chunks, prompt chunks before generated ones;
  /// the sequences may change after it. Every media item that a chunk touches must have its
  /// features set.
  virtual void prepare(std::span<const SequenceChunk> chunks) = 0;
  /// Runs the prepared chunks and writes their keys and values. The caller advances
  /// Sequence::computed.
  virtual void run(LayerObserver* observer) = 0;
  void step(std::span<const SequenceChunk> chunks, LayerObserver* observer) {
    prepare(chunks);
    run(observer);
  }
  /// Logits of rows of the last step (row 0 is the first row of the first chunk), at most
  /// max_logits_rows; valid until the next call. roles counts the rows by role.
  virtual Mat<const float> logits(RowRoles roles, Vec<const int32_t> rows) = 0;

  /// Runs the prepared chunks and works out the logits of `rows`: a whole step without its details.
  /// `wanted` are candidates of these logits, if the device ranks them itself. Done when wait()
  /// returns.
  virtual void compute(RowRoles roles, Vec<const int32_t> rows,
                       Vec<const CandidateRequest> wanted) = 0;
  virtual void wait() = 0;
  /// True if calls return while a device still works; no thread is needed to plan beside it.
  virtual bool is_asynchronous() const = 0;
  /// Of compute(): the token with the largest of the logits of its row `row`, of equal ones the
  /// first, below EngineConfig::token_limit, if the device has found it; -1 if no logit is finite.
  virtual std::optional<int32_t> greedy_token(int64_t row) const = 0;
  /// Of compute(): what was wanted at `index`; null if the device does not rank.
  virtual const Candidates* candidates(int64_t index) const = 0;
  /// Logits of row `row` of compute(); valid until the next call.
  virtual Vec<const float> logits_row(int64_t row) = 0;

  /// Starts a pass of the vision tower; one that is under way is dropped. All pictures together
  /// have at most max_patches.
  virtual void begin_vision(std::span<const Picture> pictures) = 0;
  /// Runs up to `layers` more layers. True when the features of all pictures are complete, for
  /// what is called after it.
  virtual bool advance_vision(int64_t layers) = 0;
  /// What the last advance_vision() took, with a begin_vision() right before it; after wait().
  virtual double vision_ms() const = 0;
  /// [rows, feature columns] of the feature buffer; valid until the next call.
  virtual ActMat features(RowRange rows) = 0;
  /// The tower's residual stream of the last pass, [patches, hidden_size]; for parity.
  virtual Mat<const float> vision_hidden() = 0;

  const ModelConfig& config() const { return config_; }
  const MemoryPlan& memory_plan() const { return plan_; }
  const LoadStats& load_stats() const { return stats_; }
  int64_t max_patches() const { return max_patches_; }
  int64_t feature_rows() const { return feature_rows_; }

 protected:
  ModelConfig config_;
  MemoryPlan plan_;
  LoadStats stats_;
  int64_t max_patches_ = 0;
  int64_t feature_rows_ = 0;
};

/// Whether make_runner takes the GPU: it was asked for, or it was left open, suits the model's
/// activations and there is one.
bool runs_on_gpu(const ModelFiles& model, const EngineConfig& config);

/// Plans, allocates and loads.
Result<std::unique_ptr<Runner>> make_runner(const ModelFiles& model, const EngineConfig& config);

/// What the cache of `tokens` tokens of one sequence takes, in whole pages.
int64_t kv_cache_bytes(const ModelFiles& model, const EngineConfig& config, int64_t tokens);

}  // namespace qvl

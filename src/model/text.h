#pragma once

/// The text model: one step over a ragged batch of sequences.

#include <span>
#include <vector>

#include "model/kv_pool.h"
#include "model/weights.h"

namespace qvl {

/// Rows of the batch that take their embedding from the vision tower.
struct FeatureRows {
  int64_t row = 0;  ///< first row of the batch
  ActMat features;  ///< [rows, (1 + deepstack) · hidden_size]: embedding, then what each of the
                    ///< first layers adds
};

/// One step. Rows are grouped by sequence, all prompt rows before all generated rows. Tokens and
/// positions lie where the backend reads them.
struct TextBatch {
  Vec<const int32_t> tokens;     ///< [rows]; a placeholder's own embedding is overwritten
  Mat<const int32_t> positions;  ///< [3, rows] T, H, W
  RowRoles roles;
  std::span<const SequenceRows> sequences;
  std::span<const FeatureRows> features;
};

/// Sees the residual stream between layers; for parity and tests.
class LayerObserver {
 public:
  virtual ~LayerObserver() = default;
  /// layer 0: the embeddings; layer l: after decoder layer l - 1 and its DeepStack addition. x is
  /// host memory.
  virtual void hidden(int64_t layer, Mat<const float> x) = 0;
};

/// Buffers of a step, sized once.
struct TextWorkspace {
  TextWorkspace() = default;
  TextWorkspace(const TextConfig& config, ActFormat activation, int64_t max_rows,
                int64_t max_logits_rows, Arena& arena);
  static int64_t bytes(const TextConfig& config, ActFormat activation, int64_t max_rows,
                       int64_t max_logits_rows);

  Mat<float> x;  ///< residual stream [max_rows, hidden_size]
  ActMat qkv;
  ActMat attention;
  ActMat mlp;  ///< empty for mixtures of experts
  RopeTable rope;
  Mat<float> logits;  ///< [max_logits_rows, vocab_size]
};

class TextModel {
 public:
  TextModel() = default;
  TextModel(const ModelConfig& config, const TextWeights& weights);

  /// Runs all layers, writes the cache, and leaves the residual stream of the batch in the
  /// workspace.
  template <class Backend>
  void forward(Backend& backend, const TextBatch& batch, const KvPool& cache,
               TextWorkspace& workspace, LayerObserver* observer = nullptr) const;

  /// Logits of some rows of the last forward: [rows.size, vocab_size], a view into the workspace.
  /// roles counts `rows` by role.
  template <class Backend>
  Mat<const float> logits(Backend& backend, RowRoles roles, Vec<const int32_t> rows,
                          TextWorkspace& workspace) const;

 private:
  TextConfig config_;
  TextWeights weights_;
  std::vector<uint8_t> rope_axes_;
  std::vector<float> inv_freq_;
};

}  // namespace qvl

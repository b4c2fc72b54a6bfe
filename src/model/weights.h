#pragma once

/// The model's weights as the forward pass sees them: views into one arena, packed for a backend.

#include <string>
#include <vector>

#include "io/model_config.h"
#include "io/tensor_source.h"
#include "kernels/attention.h"
#include "kernels/moe.h"
#include "model/weight_reader.h"

namespace qvl {

struct TextLayerWeights {
  RmsNorm input_norm;
  Linear qkv;
  AttentionLayer attention;
  Linear output;
  RmsNorm post_attention_norm;
  Linear gate_up;
  Linear down;
  Experts experts;  ///< of a mixture-of-experts layer, which has no gate_up and down of its own
};

struct TextWeights {
  Linear embedding;
  std::vector<TextLayerWeights> layers;
  RmsNorm norm;
  Linear head;  ///< the embedding itself when tied
};

struct VisionBlockWeights {
  LayerNorm norm1;
  Linear qkv;
  Linear proj;
  LayerNorm norm2;
  Linear fc1;
  Linear fc2;
};

/// norm over hidden_size elements (main merger) or over four patches at once (DeepStack): see
/// layer_norm_linear_gelu.
struct MergerWeights {
  LayerNorm norm;
  Linear fc1;
  Linear fc2;
};

struct VisionWeights {
  Linear patch_embed;
  Mat<const float> position_table;  ///< [side², hidden_size]
  std::vector<VisionBlockWeights> blocks;
  MergerWeights merger;
  std::vector<MergerWeights> deepstack;
};

struct ModelWeights {
  TextWeights text;
  VisionWeights vision;
};

/// What loading will need, known from the headers alone.
struct WeightPlan {
  /// Quantised weights of one form and what they become in memory.
  struct Quantised {
    std::string_view stored;  ///< "INT4"
    std::string_view held;    ///< "INT4", "BF16" or "F32"
    int64_t stored_bytes = 0;
  };

  int64_t bytes = 0;                ///< of the arena
  std::vector<std::string> unused;  ///< tensors of the source that the model does not read
  std::vector<Quantised> quantised;
  int64_t scratch_bytes = 0;  ///< that products with these weights add to the operators'
};

/// Checks presence, shape and type of every tensor of a source that model_tensors gave. Nothing is
/// read or allocated.
template <class Backend>
Result<WeightPlan> plan_weights(const Backend& backend, const ModelConfig& config,
                                const TensorSource& source, ActFormat activation);

/// Packs all weights into `arena`, which must have the planned size. Error bad_tensor for NaN or
/// infinity.
template <class Backend>
Result<ModelWeights> load_weights(Backend& backend, const ModelConfig& config,
                                  const TensorSource& source, ActFormat activation, Arena& arena,
                                  LoadProgress progress);

}  // namespace qvl

#pragma once

/// Checkpoint folders as they are published, with everything but the numbers: configs, index and
/// safetensors headers are complete, the data is a hole in the file. Names, shapes and layouts are
/// written from the models' documentation, not from the code that reads them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qvl::published {

/// The figures of one published size.
struct Size {
  std::string_view name;
  int64_t hidden;
  int64_t layers;
  int64_t mlp;  ///< intermediate_size; unused by mixtures of experts
  int64_t heads;
  int64_t kv_heads;
  int64_t experts;  ///< 0: dense
  int64_t expert_mlp;
  bool tied;
  int64_t vision_depth;
  int64_t vision_hidden;
  int64_t vision_mlp;
  std::vector<int64_t> deepstack;
  // What the published index adds up to.
  int64_t vision_parameters;
  int64_t text_parameters;
  int64_t vision_tensors;
  int64_t text_tensors;  ///< of the BF16 files
};

/// 2B, 4B, 8B, 32B, 30B-A3B, 235B-A22B.
const std::vector<Size>& sizes();
const Size& size(std::string_view name);

enum class Format {
  bf16,
  bf16_unfused,       ///< experts as one Linear each
  bf16_transposed,    ///< fused experts as [E, out, in]
  fp8_block,          ///< the official FP8 files: blocks of 128 × 128, scales in BF16
  fp8_block_unfused,  ///< the same with one Linear per expert, scales in F32
  fp8_tensor,         ///< static: one scale per weight, one per input, scales of the cache besides
  fp8_channel,        ///< FP8_DYNAMIC: one scale per output row
  fp8_block_compressed,  ///< compressed-tensors, blocks of 128 × 128
  awq,                   ///< GEMM layout, groups of 128
  gptq,                  ///< version 1, symmetric, groups of 128, g_idx stored
  gptq_act_order,        ///< the same with desc_act and zero points
  w4a16_group128,        ///< compressed-tensors, symmetric
  w4a16_group32,         ///< compressed-tensors with zero points
  w4a16_channel,         ///< compressed-tensors, one scale per row, the vision tower quantised too
  bnb_int8,              ///< bitsandbytes LLM.int8()
};

/// How names are spelled.
enum class Prefix {
  published,       ///< model.visual. and model.language_model.
  flat,            ///< visual. and model.layers.
  language_model,  ///< vision_tower. and language_model.model.
};

enum class ConfigStyle { transformers4, transformers5 };

/// What config.json says of tie_word_embeddings.
enum class Tying {
  both,        ///< at the top and in text_config
  text_only,   ///< only in text_config
  text_wrong,  ///< text_config claims tied embeddings though there is an lm_head
  wrong,       ///< both claim them
};

struct Spelling {
  Prefix prefix = Prefix::published;
  ConfigStyle config = ConfigStyle::transformers4;
  Tying tying = Tying::both;
};

struct Written {
  int64_t tensors = 0;
  int64_t bytes = 0;  ///< of data
  int64_t shards = 0;
};

/// Writes the folder's files into `folder`, which exists.
Written write(const std::string& folder, const Size& size, Format format,
              const Spelling& spelling = {});

}  // namespace qvl::published

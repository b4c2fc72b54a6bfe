#pragma once

/// Random weights of a real shape, for benchmarks: deterministic in the tensor's name and the
/// element's index, so that a dummy model in memory and the folder that `qvl make-dummy` writes are
/// the same model.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/model_config.h"
#include "io/tensor_source.h"

namespace qvl {

/// The published shape of "2b", "4b" or "8b". Error bad_flag lists the names.
Result<ModelConfig> preset_config(std::string_view name);

/// Every tensor of a checkpoint of this shape, published names, BF16, in the order of their names.
std::vector<TensorInfo> expected_tensors(const ModelConfig& config);

std::unique_ptr<TensorSource> make_dummy_source(const ModelConfig& config);

/// Writes a complete checkpoint folder: config, processor and generation configs, weights as one
/// safetensors file; tokenizer.json and chat_template.jinja are copied from `text_folder`.
/// The folder is made if need be; error write_failed if it holds a model already. The weights come
/// last and appear at once, so an interrupted run leaves a folder without them.
Status write_dummy_checkpoint(const ModelConfig& config, const std::string& text_folder,
                              const std::string& folder);

}  // namespace qvl

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

/// "2b", "4b", "8b", "32b", "30b-a3b" and "235b-a22b".
std::vector<std::string> preset_names();

/// The published shape of one of them; with "-thinking" behind the name the Thinking model's, which
/// is the same; with "-awq" behind that, the text layers of a dense one in 4 bits, groups of 128.
/// Error bad_flag lists the names.
Result<ModelConfig> preset_config(std::string_view name);
/// They differ in the chat template and in the recommended sampling.
enum class Variant : uint8_t { instruct, thinking };
Variant preset_variant(std::string_view name);

/// The published size that has this shape, "30B-A3B" for instance; empty if none has.
std::string size_name(const ModelConfig& config);

/// Every tensor of a checkpoint of this shape, published names and layouts, BF16, in the order of
/// their names.
std::vector<TensorInfo> expected_tensors(const ModelConfig& config);

/// Those tensors; of a config with AWQ the stored ones of that format (io/int4_tensors.h) in place
/// of the text layers' projections.
std::unique_ptr<TensorSource> make_dummy_source(const ModelConfig& config);

/// Writes a complete checkpoint folder: config, processor and generation configs, weights as one
/// safetensors file; tokenizer.json and chat_template.jinja are copied from `text_folder`.
/// The folder is made if need be; error write_failed if it holds a model already. The weights come
/// last and appear at once, so an interrupted run leaves a folder without them.
Status write_dummy_checkpoint(const ModelConfig& config, const std::string& text_folder,
                              const std::string& folder, Variant variant = Variant::instruct);

}  // namespace qvl

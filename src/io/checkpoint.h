#pragma once

/// A Hugging Face checkpoint folder: model.safetensors, or the shards that
/// model.safetensors.index.json names, behind canonical tensor names whatever prefix the writer
/// used.

#include <memory>
#include <string>

#include "io/tensor_source.h"

namespace qvl {

/// Reads and checks every header; maps the data without reading it. A tensor that two names of the
/// file map to, or that the index places in a shard that lacks it, is an error.
Result<std::unique_ptr<TensorSource>> open_checkpoint(const std::string& folder);

/// "visual.blocks.0…", "model.layers.0…", "thinker.model.visual…" and other spellings →
/// the published name. Names that are already canonical, and unknown ones, come back as they are.
std::string canonical_tensor_name(std::string_view name);

}  // namespace qvl

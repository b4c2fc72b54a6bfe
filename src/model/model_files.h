#pragma once

/// A model by the name a user gives it: a checkpoint folder, the id of a model that Hugging Face's
/// tools have downloaded, or a preset with random weights.

#include <memory>
#include <string>

#include "io/dummy.h"
#include "io/model_config.h"
#include "io/processor_config.h"
#include "io/tensor_source.h"
#include "qvl/engine.h"

namespace qvl {

struct ModelFiles {
  std::string name;
  std::string
      text_folder;  ///< where tokenizer.json, the chat template and the processor configs are
  ModelConfig config;
  GenerationConfig generation;
  ProcessorConfig image_processor;
  ProcessorConfig video_processor;
  std::unique_ptr<TensorSource> weights;
};

struct ModelFolder {
  std::string name;  ///< the id, or the folder's own name
  std::string folder;
};

/// The checkpoint folder that `model` means. A folder of that name wins; else "org/name",
/// "org/name@revision" or "name" is looked up in the Hugging Face cache.
Result<ModelFolder> find_model(const std::string& model);

/// Reads configs and tensor headers; no weight data.
Result<ModelFiles> open_model(const std::string& model, LoadFormat format);

/// The folder of data that ships with the program (tokenizer, demo model): $QVL_DATA_DIR, or found
/// from the program's own path in a source tree (<root>/models) or an installation
/// (<prefix>/share/qvl).
Result<std::string> data_folder();
/// Of the folder below it that holds the tokenizer and the chat template of a variant.
std::string text_folder_name(Variant variant);

}  // namespace qvl

#pragma once

#include <memory>

#include "model/processor.h"
#include "parity/parity.h"
#include "parity/reference.h"

namespace qvl {

/// A reference case with its pictures decoded and its prompt built.
struct ParityCase {
  ReferenceCase reference;
  ReferenceTensors tensors;
  std::vector<MediaItem> media;
  Prompt prompt;
  std::string rendered;

  int64_t patches() const {
    int64_t n = 0;
    for (const MediaItem& m : media) n += m.patches.grid.patches();
    return n;
  }
};

Result<std::unique_ptr<ParityCase>> load_parity_case(const Processor& processor,
                                                     const std::string& model_folder,
                                                     const std::string& name);

/// A reference file is foreign: its tensors must have the shapes that this model's results have.
Status check_shapes(const ParityCase& c, const ModelConfig& config);

/// The parts that must be equal, whatever the arithmetic: prompt, ids, grids, pixels, positions.
void compare_inputs(const ParityCase& c, ParityResult& result);

}  // namespace qvl

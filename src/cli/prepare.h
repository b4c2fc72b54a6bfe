#pragma once

/// From flags to a model that is ready to answer; the same for every command.

#include <memory>

#include "cli/engine_flags.h"
#include "model/processor.h"
#include "qvl/engine.h"

namespace qvl {

/// All that is known without reading weights.
struct Prepared {
  EngineConfig config;  ///< max_step_tokens suits the device
  ModelFiles model;
  Processor processor;
  bool on_gpu = false;

  /// Tokens of the longest prompt and answer that the flags and the model allow.
  int64_t context() const;
};

Result<Prepared> prepare(const EngineFlags& flags);

/// Loads the weights. Shows progress if the standard error is a terminal, and what the memory plan
/// had to shorten.
Result<std::unique_ptr<Engine>> load_engine(const Prepared& prepared);

}  // namespace qvl

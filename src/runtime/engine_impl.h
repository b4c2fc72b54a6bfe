#pragma once

#include "qvl/engine.h"
#include "runtime/runner.h"

namespace qvl {

/// Engine::create for a model that is open already.
Result<std::unique_ptr<Engine>> make_engine(const ModelFiles& model, const EngineConfig& config);

}  // namespace qvl

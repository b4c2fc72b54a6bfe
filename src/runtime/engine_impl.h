#pragma once

#include "qvl/engine.h"
#include "runtime/device.h"
#include "runtime/runner.h"

namespace qvl {

/// What an engine knows of the model behind its device.
struct EngineModel {
  ModelConfig config;
  MemoryPlan plan;
  LoadStats stats;
  int64_t feature_rows = 0;
};

/// Engine::create for a model that is open already.
Result<std::unique_ptr<Engine>> make_engine(const ModelFiles& model, const EngineConfig& config);

/// An engine on any device.
Result<std::unique_ptr<Engine>> make_engine(std::unique_ptr<Device> device, EngineModel model,
                                            const EngineConfig& config);

}  // namespace qvl

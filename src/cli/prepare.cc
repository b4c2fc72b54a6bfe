#include "cli/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "cli/load_bar.h"
#include "runtime/engine_impl.h"
#include "runtime/runner.h"

namespace qvl {
namespace {

/// A GPU computes more rows in the time that it takes to read the weights.
constexpr int64_t kGpuStepTokens = 2048;

}  // namespace

int64_t Prepared::context() const {
  const int64_t longest = model.config.text.max_position_embeddings;
  return config.max_model_len > 0 ? std::min(config.max_model_len, longest) : longest;
}

Result<Prepared> prepare(const EngineFlags& flags) {
  Result<EngineConfig> config = engine_config(flags);
  if (!config) return config.error();
  const Result<ProcessorOptions> options = processor_options(flags);
  if (!options) return options.error();
  Result<ModelFiles> model = open_model(flags.model, config->load_format);
  if (!model) return model.error();
  Result<Processor> processor = Processor::load(*model, *options);
  if (!processor) return processor.error();
  config->token_limit = processor->tokenizer().size();
  const bool on_gpu = runs_on_gpu(*model, *config);
  if (on_gpu) config->max_step_tokens = kGpuStepTokens;
  return Prepared{std::move(*config), std::move(*model), std::move(*processor), on_gpu};
}

Result<std::unique_ptr<Engine>> load_engine(const Prepared& prepared) {
  EngineConfig config = prepared.config;
  LoadBar bar(*prepared.model.weights, config);
  Result<std::unique_ptr<Engine>> engine = make_engine(prepared.model, config);
  bar.finish();
  if (!engine) return engine;
  for (const std::string& note : (*engine)->memory_plan().notes) {
    fmt::print(stderr, "qvl: {}\n", note);
  }
  return engine;
}

}  // namespace qvl

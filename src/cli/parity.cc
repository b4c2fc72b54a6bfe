#include "parity/parity.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/engine_flags.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

struct ParityFlags {
  EngineFlags engine;
  std::vector<std::string> cases;
  ParityOptions options;
  bool json = false;
};

std::string error_text(double error) { return error < 0 ? "-" : fmt::format("{:.1e}", error); }

void print_table(const std::vector<ParityResult>& results, bool bits) {
  fmt::print("{:<14}{:>7}  {:<6}{:<6}{:<6}{:<6} {:>8} {:>8} {:>8} {:>6}  {:<8}{}result\n", "case",
             "tokens", "ids", "grid", "pos", "pixel", "vision", "hidden", "logits", "×hf", "greedy",
             bits ? "bits  " : "");
  const auto yes = [](bool ok) { return ok ? "=" : "DIFF"; };
  for (const ParityResult& r : results) {
    const std::string ratio = r.hf_bf16_error > 0 && r.logits_error >= 0
                                  ? fmt::format("{:.2f}", r.logits_error / r.hf_bf16_error)
                                  : "-";
    const std::string greedy = fmt::format(
        "{}/{}", r.greedy_tokens - r.greedy_differs - r.greedy_near_ties, r.greedy_tokens);
    fmt::print("{:<14}{:>7}  {:<6}{:<6}{:<6}{:<6} {:>8} {:>8} {:>8} {:>6}  {:<8}{}{}\n", r.name,
               r.tokens, yes(r.ids_equal), yes(r.grids_equal), yes(r.positions_equal),
               yes(r.patches_equal), error_text(r.vision_error), error_text(r.hidden_error),
               error_text(r.logits_error), ratio, greedy,
               bits ? fmt::format("{:<6}", yes(r.bits_equal)) : "",
               r.failure.empty() ? "pass" : "FAIL: " + r.failure);
  }
}

Json result_json(const ParityResult& r) {
  return {{"case", r.name},
          {"tokens", r.tokens},
          {"ids_equal", r.ids_equal},
          {"grids_equal", r.grids_equal},
          {"positions_equal", r.positions_equal},
          {"patches_equal", r.patches_equal},
          {"vision_error", r.vision_error},
          {"hidden_error", r.hidden_error},
          {"logits_error", r.logits_error},
          {"hf_bf16_error", r.hf_bf16_error},
          {"argmax_rows", r.argmax_rows},
          {"argmax_differs", r.argmax_differs},
          {"greedy_tokens", r.greedy_tokens},
          {"greedy_differs", r.greedy_differs},
          {"greedy_near_ties", r.greedy_near_ties},
          {"bits_equal", r.bits_equal},
          {"failure", r.failure}};
}

int parity(const ParityFlags& flags) {
  Result<EngineConfig> config = engine_config(flags.engine);
  if (!config) return fail(config.error());
  Result<ProcessorOptions> options = processor_options(flags.engine);
  if (!options) return fail(options.error());
  options->video_wrapper = VideoWrapper::kept;  // the references are made with transformers 5
  const Result<ModelFiles> model = open_model(flags.engine.model, config->load_format);
  if (!model) return fail(model.error());
  const Result<Processor> processor = Processor::load(*model, *options);
  if (!processor) return fail(processor.error());
  std::vector<std::string> cases = flags.cases;
  if (cases.empty()) {
    Result<std::vector<std::string>> all = list_reference_cases(flags.engine.model);
    if (!all) return fail(all.error());
    cases = *all;
  }
  // float32 unless asked otherwise: the strict comparison first.
  if (config->dtype == ActivationType::automatic) config->dtype = ActivationType::float32;
  const ActFormat activation =
      config->dtype == ActivationType::bfloat16 ? ActFormat::bf16 : ActFormat::f32;
  config = parity_config(*config, *processor, flags.engine.model, cases, flags.options);
  if (!config) return fail(config.error());
  const Result<std::unique_ptr<Runner>> runner = make_runner(*model, *config);
  if (!runner) return fail(runner.error());
  const Result<std::vector<ParityResult>> results =
      run_parity(**runner, *processor, flags.engine.model, cases, activation, flags.options);
  if (!results) return fail(results.error());

  bool passed = true;
  for (const ParityResult& r : *results) passed = passed && r.failure.empty();
  const double ratio = mean_bf16_ratio(*results);
  const double limit = bf16_limits(model->config).mean;
  if (activation == ActFormat::bf16) passed = passed && ratio <= limit;
  if (flags.json) {
    Json out = {{"model", model->name},         {"backend", (*runner)->load_stats().backend},
                {"chunk", flags.options.chunk}, {"batch", flags.options.batch},
                {"mean_bf16_ratio", ratio},     {"passed", passed},
                {"cases", Json::array()}};
    for (const ParityResult& r : *results) out["cases"].push_back(result_json(r));
    fmt::print("{}\n", out.dump(1));
  } else {
    fmt::print("{} on {}\n", model->name, (*runner)->load_stats().backend);
    print_table(*results, flags.options.chunk > 0 || flags.options.batch > 1);
    if (activation == ActFormat::bf16) {
      fmt::print("mean error / transformers' own bfloat16 error: {:.2f}, expected at most {:.2f}\n",
                 ratio, limit);
    }
    fmt::print("{}\n", passed ? "all pass" : "FAILED");
  }
  return passed ? kSuccess : kFailure;
}

}  // namespace

void add_parity(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ParityFlags>();
  CLI::App& parity_app =
      *app.add_subcommand("parity", "compare with reference cases made by transformers");
  parity_app.add_option("model", flags->engine.model, "checkpoint folder with cases/")->required();
  add_engine_flags(parity_app, flags->engine);
  parity_app.add_option("--case", flags->cases, "only these cases");
  parity_app
      .add_option("--chunk", flags->options.chunk,
                  "also prefill in chunks of N tokens and compare bits")
      ->check(CLI::Range(1, 1 << 20));
  parity_app
      .add_option("--batch", flags->options.batch,
                  "also run among N - 1 other cases and compare bits")
      ->check(CLI::Range(1, 256));
  parity_app.add_flag("--json", flags->json, "print one JSON object");
  parity_app.callback([flags, &exit_code] { exit_code = parity(*flags); });
}

}  // namespace qvl

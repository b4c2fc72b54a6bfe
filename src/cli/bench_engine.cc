#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "bench/engine_bench.h"
#include "bench/gpu_roofs.h"
#include "bench/roofs.h"
#include "cli/commands.h"
#include "cli/engine_flags.h"
#include "cli/prepare.h"
#include "core/check.h"
#include "io/dummy.h"
#include "io/file_writer.h"
#include "runtime/runner.h"
#include "runtime/runner_cuda.h"

namespace qvl {
namespace {

struct EngineBenchFlags {
  EngineFlags engine;
  std::vector<int64_t> rows = {1, 8, 64, 256};
  int64_t steps = 2000;
  int64_t requests = 0;
  LoadOptions load;
  int64_t max_num_batched_tokens = 0;  ///< 0: as the device takes
  bool json = false;
  std::string out;
  std::string commit = "unknown";
};

Provenance provenance(const EngineBenchFlags& flags, std::string command) {
  return {.qvl_version = QVL_VERSION,
          .commit = flags.commit,
          .command = std::move(command),
          .date = utc_now()};
}

int deliver(const EngineBenchFlags& flags, const std::string& json, const std::string& table) {
  fmt::print("{}", flags.json ? json : table);
  if (flags.out.empty()) return kSuccess;
  const Status written = write_file(flags.out, json);
  return written ? kSuccess : fail(written.error());
}

/// Without a model: what the engine itself costs.
int bench_without_model(const EngineBenchFlags& flags) {
  std::vector<StepCost> costs;
  for (const int64_t rows : flags.rows) costs.push_back(measure_step_cost(rows, flags.steps));
  RequestCostRun requests;
  if (flags.requests > 0) {
    const bool show = isatty(STDERR_FILENO) != 0;
    requests = measure_requests(flags.requests, [&](int64_t done) {
      if (show) fmt::print(stderr, "\r{} of {} requests", done, flags.requests);
    });
    if (show) fmt::print(stderr, "\r\x1b[K");
  }
  const std::string command = fmt::format("qvl bench engine --rows {} --steps {} --requests {}",
                                          fmt::join(flags.rows, ","), flags.steps, flags.requests);
  return deliver(flags, engine_bench_json(costs, requests, provenance(flags, command)),
                 engine_bench_table(costs, requests));
}

/// The roofs of the device, by several samples.
class RoofSamples {
 public:
  Status take(const Prepared& prepared) {
    if (prepared.on_gpu) {
      const Result<GpuRoofs> roofs = measure_gpu_roofs();
      if (!roofs) return roofs.error();
      read_.push_back(roofs->read_gb_per_s);
      product_.push_back(roofs->gflop_per_s);
      return {};
    }
    Threads threads(prepared.config.threads);
    const Result<Isa> isa = preferred_isa();
    if (!isa) return isa.error();
    Arena scratch;
    Result<RoofMeter> meter = RoofMeter::create(make_cpu(threads, scratch, *isa));
    if (!meter) return meter.error();
    for (int i = 0; i < 5; ++i) {
      read_.push_back(meter->read_gb_per_s());
      const double f32 = meter->gflop_per_s(RowFormat::f32);
      product_.push_back(meter->has_bf16_product() ? meter->gflop_per_s(RowFormat::bf16_pairs)
                                                   : f32);
    }
    return {};
  }
  double read() const { return summarize(read_).median; }
  double product() const { return summarize(product_).median; }

 private:
  std::vector<double> read_;
  std::vector<double> product_;
};

/// What the model's weights take less than two bytes each.
int64_t saved_bytes(const ModelConfig& config, const MemoryPlan& plan) {
  int64_t plain = 0;
  for (const TensorInfo& tensor : expected_tensors(config)) plain += 2 * tensor.elements();
  const auto weights = std::find_if(plan.lines.begin(), plan.lines.end(),
                                    [](const auto& line) { return line.what == "weights"; });
  require(weights != plan.lines.end(), "a memory plan without weights");
  return std::max<int64_t>(0, plain - weights->bytes);
}

int bench_model(const EngineBenchFlags& flags) {
  Result<Prepared> prepared = prepare(flags.engine);
  if (!prepared) return fail(prepared.error());
  EngineConfig& config = prepared->config;
  config.max_num_seqs =
      *std::max_element(flags.load.concurrency.begin(), flags.load.concurrency.end());
  if (flags.max_num_batched_tokens > 0) config.max_step_tokens = flags.max_num_batched_tokens;
  config.max_step_tokens = std::max(config.max_step_tokens, config.max_num_seqs);
  config.max_model_len = flags.load.input_tokens + flags.load.output_tokens;
  config.max_patches = prepared->model.config.vision.merge_unit();
  config.enable_prefix_caching = false;
  RoofSamples roofs;
  if (const Status status = roofs.take(*prepared); !status) return fail(status.error());
  const TextConfig& text = prepared->model.config.text;
  LoadBench bench;
  bench.step_weights = step_weights(text);
  bench.kv_token_bytes = kv_cache_bytes(prepared->model, config, kPageTokens) / kPageTokens;
  bench.read_gb_per_s = roofs.read();
  bench.gflop_per_s = roofs.product();
  {
    Result<std::unique_ptr<Engine>> engine = load_engine(*prepared);
    if (!engine) return fail(engine.error());
    bench.step_weights.saved_bytes = saved_bytes(prepared->model.config, (*engine)->memory_plan());
    Result<LoadBench> measured =
        measure_load(**engine, text.vocab_size, flags.load, std::move(bench));
    if (!measured) return fail(measured.error());
    bench = std::move(*measured);
  }
  const std::string command = fmt::format(
      "qvl bench engine {} --load-format {} --concurrency {} --input-len {} "
      "--output-len {} --temperature {} --top-k {} --top-p {} --rounds {} "
      "--max-num-batched-tokens {} --device {}",
      flags.engine.model, flags.engine.load_format, fmt::join(flags.load.concurrency, ","),
      flags.load.input_tokens, flags.load.output_tokens, flags.load.sampling.temperature,
      flags.load.sampling.top_k, flags.load.sampling.top_p, flags.load.rounds,
      config.max_step_tokens, flags.engine.backend);
  return deliver(flags, load_bench_json(bench, flags.engine.model, provenance(flags, command)),
                 load_bench_table(bench));
}

}  // namespace

void add_bench_engine(CLI::App& bench_app, int& exit_code) {
  auto flags = std::make_shared<EngineBenchFlags>();
  CLI::App& app = *bench_app.add_subcommand(
      "engine",
      "with MODEL: decode speed at several levels of concurrency, beside what memory and "
      "arithmetic of this machine allow; without: what a step and a request cost the engine "
      "itself");
  constexpr int64_t kMany = 1'000'000'000;
  app.add_option("MODEL", flags->engine.model, "checkpoint folder, id in the cache, or preset");
  add_engine_flags(app, flags->engine);
  app.add_option("--concurrency", flags->load.concurrency, "requests at the same time")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  app.add_option("--input-len", flags->load.input_tokens, "tokens per prompt")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--output-len", flags->load.output_tokens, "tokens per answer")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--temperature", flags->load.sampling.temperature,
                 "of every request, with MODEL; 0: the most likely tokens")
      ->capture_default_str();
  app.add_option("--top-k", flags->load.sampling.top_k, "the same; 0: all")->capture_default_str();
  app.add_option("--top-p", flags->load.sampling.top_p, "the same")->capture_default_str();
  app.add_option("--max-num-batched-tokens", flags->max_num_batched_tokens,
                 "rows of one step, with MODEL; without it, 512, on a GPU 2048")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--rounds", flags->load.rounds, "samples per level")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--rows", flags->rows, "without MODEL: sequences that decode in every step")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  app.add_option("--steps", flags->steps, "without MODEL: steps per number of rows")
      ->check(CLI::Range(int64_t{10}, kMany))
      ->capture_default_str();
  app.add_option("--requests", flags->requests,
                 "without MODEL: send so many requests through and watch the memory")
      ->check(CLI::Range(int64_t{0}, kMany))
      ->capture_default_str();
  app.add_flag("--json", flags->json, "print JSON instead of a table");
  app.add_option("--out", flags->out, "also write the JSON to this file");
  app.add_option("--commit", flags->commit, "the source's commit, for the JSON")
      ->capture_default_str();
  app.callback([flags, &exit_code] {
    exit_code = flags->engine.model.empty() ? bench_without_model(*flags) : bench_model(*flags);
  });
}

}  // namespace qvl

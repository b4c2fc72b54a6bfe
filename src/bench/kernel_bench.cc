#include "bench/kernel_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/kernel_runs.h"
#include "core/clock.h"
#include "io/dummy.h"

namespace qvl {
namespace {

constexpr int kWarmUpCalls = 3;
/// Short calls are repeated within a sample: the clock costs some 30 ns, and a thread that was just
/// woken up is not yet at speed.
constexpr double kSampleMs = 10.0;
constexpr int64_t kMostCalls = 10'000;

double sample_us(KernelRuns& runs, size_t i, int64_t calls) {
  const Stopwatch time;
  for (int64_t n = 0; n < calls; ++n) runs.run(i);
  return time.ms() * 1e3 / static_cast<double>(calls);
}

int64_t calls_per_sample(double us) {
  return std::clamp(static_cast<int64_t>(std::ceil(kSampleMs * 1e3 / us)), int64_t{1}, kMostCalls);
}

std::vector<KernelCase> chosen_cases(const ModelConfig& config, const KernelBenchOptions& options) {
  std::vector<KernelCase> cases =
      kernel_cases(config, options.activation, options.row_counts, options.layers);
  if (!options.ops.empty()) {
    std::erase_if(cases, [&](const KernelCase& c) {
      return std::find(options.ops.begin(), options.ops.end(), c.op) == options.ops.end();
    });
  }
  return cases;
}

class RoofSamples {
 public:
  void take(RoofMeter& meter) {
    read_.push_back(meter.read_gb_per_s());
    f32_.push_back(meter.gflop_per_s(RowFormat::f32));
    if (meter.has_bf16_product()) bf16_.push_back(meter.gflop_per_s(RowFormat::bf16_pairs));
  }
  Roofs summary() const {
    Roofs roofs{.read_gb_per_s = summarize(read_), .f32_gflop_per_s = summarize(f32_)};
    if (!bf16_.empty()) roofs.bf16_gflop_per_s = summarize(bf16_);
    return roofs;
  }

 private:
  std::vector<double> read_;
  std::vector<double> f32_;
  std::vector<double> bf16_;
};

}  // namespace

Rating rate(const KernelCase& kernel, double us, const Roofs& roofs) {
  // Products round their rows as the activations are; attention is float32 by contract.
  const ActFormat rows = kernel.weight.out > 0 ? kernel.activation : ActFormat::f32;
  Rating rating;
  rating.gb_per_s = static_cast<double>(kernel.bytes) / us / 1e3;
  rating.gflop_per_s = static_cast<double>(kernel.flops) / us / 1e3;
  rating.percent_of_read = 100 * rating.gb_per_s / roofs.read_gb_per_s.median;
  rating.percent_of_peak = 100 * rating.gflop_per_s / roofs.peak(rows).median;
  rating.bound = rating.percent_of_read >= rating.percent_of_peak ? Bound::read : Bound::arithmetic;
  return rating;
}

Result<KernelBench> run_kernel_bench(const KernelBenchOptions& options,
                                     FunctionRef<void(int done, int rounds)> progress) {
  const Result<ModelConfig> config = preset_config(options.model);
  if (!config) return config.error();
  const std::vector<KernelCase> cases = chosen_cases(*config, options);
  if (cases.empty()) {
    return Error{ErrorCode::bad_flag,
                 fmt::format("found no case of these operators with these rows, expected at most "
                             "{} rows for rms_norm_head",
                             kMaxHeadRows),
                 "--rows"};
  }

  KernelBench bench{.options = options, .machine = this_machine()};
  Threads threads(options.threads);
  bench.threads = threads.count();
  Arena no_scratch;
  Result<RoofMeter> meter = RoofMeter::create(make_cpu(threads, no_scratch, options.isa));
  if (!meter) return meter.error();
  Result<std::unique_ptr<KernelRuns>> runs = KernelRuns::create(
      threads, options.isa, cases, {.available_bytes = this_machine().free_memory_bytes});
  if (!runs) return runs.error();

  RoofSamples warm_up;
  warm_up.take(*meter);
  std::vector<int64_t> calls;
  for (size_t i = 0; i < cases.size(); ++i) {
    calls.push_back(calls_per_sample(sample_us(**runs, i, kWarmUpCalls)));
  }
  // One sample of everything per round: what disturbs the machine for a while disturbs all alike.
  RoofSamples roofs;
  std::vector<std::vector<double>> us(cases.size());
  for (int round = 0; round < options.repeat; ++round) {
    roofs.take(*meter);
    for (size_t i = 0; i < cases.size(); ++i) us[i].push_back(sample_us(**runs, i, calls[i]));
    progress(round + 1, options.repeat);
  }

  bench.roofs = roofs.summary();
  for (size_t i = 0; i < cases.size(); ++i) {
    const Summary time = summarize(us[i]);
    bench.results.push_back({cases[i], calls[i], time, rate(cases[i], time.median, bench.roofs)});
  }
  return bench;
}

}  // namespace qvl

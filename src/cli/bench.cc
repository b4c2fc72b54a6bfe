#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "bench/report.h"
#include "cli/commands.h"
#include "io/file_writer.h"

namespace qvl {
namespace {

struct KernelFlags {
  std::vector<std::string> ops;
  std::string model = "2b";
  std::vector<int64_t> rows = {1, 8, 64, 512};
  std::string dtype = "bfloat16";
  std::string weights = "bf16";
  std::string isa = "auto";
  int threads = 0;
  int repeat = 11;
  bool json = false;
  std::string out;
  std::string commit = "unknown";
};

Result<Isa> choose_isa(const std::string& name) {
  if (name == "auto") return preferred_isa();
  const Result<Isa> best = detect_isa();
  if (!best) return best.error();
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (isa_name(isa) != name) continue;
    if (isa <= *best) return isa;
    return Error{
        ErrorCode::bad_flag,
        fmt::format("found {}, expected at most {} on this processor", name, isa_name(*best)),
        "--isa"};
  }
  return Error{ErrorCode::bad_flag,
               fmt::format("found '{}', expected auto, avx2, avx512 or avx512_bf16", name),
               "--isa"};
}

Result<KernelBenchOptions> bench_options(const KernelFlags& flags) {
  KernelBenchOptions options{.model = flags.model,
                             .row_counts = flags.rows,
                             .threads = flags.threads,
                             .repeat = flags.repeat};
  for (const std::string& name : flags.ops) {
    const Result<Op> op = find_op(name);
    if (!op) return Error{op.error().code, op.error().detail, "--op"};
    options.ops.push_back(*op);
  }
  options.activation = flags.dtype == "bfloat16" ? ActFormat::bf16 : ActFormat::f32;
  options.layers = flags.weights == "int4" ? WeightFormat::int4 : WeightFormat::bf16;
  const Result<Isa> isa = choose_isa(flags.isa);
  if (!isa) return isa.error();
  options.isa = *isa;
  return options;
}

/// The command that measures the same again, with every choice spelled out.
std::string command_line(const KernelFlags& flags, const KernelBench& bench) {
  std::string command = "qvl bench kernel";
  for (const std::string& op : flags.ops) command += " --op " + op;
  command +=
      fmt::format(" --model {} --rows {} --dtype {} --weights {} --isa {} --threads {} --repeat {}",
                  flags.model, fmt::join(flags.rows, ","), flags.dtype, flags.weights,
                  isa_name(bench.options.isa), bench.threads, flags.repeat);
  return command;
}

int bench_kernel(const KernelFlags& flags) {
  const Result<KernelBenchOptions> options = bench_options(flags);
  if (!options) return fail(options.error());
  const bool show_progress = isatty(STDERR_FILENO) != 0;
  const Result<KernelBench> bench = run_kernel_bench(*options, [&](int done, int rounds) {
    if (show_progress) fmt::print(stderr, "\rround {} of {}", done, rounds);
  });
  if (show_progress) fmt::print(stderr, "\r\x1b[K");
  if (!bench) return fail(bench.error());
  const std::string json = kernel_bench_json(*bench, {.qvl_version = QVL_VERSION,
                                                      .commit = flags.commit,
                                                      .command = command_line(flags, *bench),
                                                      .date = utc_now()});
  fmt::print("{}", flags.json ? json : kernel_bench_table(*bench));
  if (flags.out.empty()) return kSuccess;
  const Status written = write_file(flags.out, json);
  return written ? kSuccess : fail(written.error());
}

}  // namespace

void add_bench(CLI::App& app, int& exit_code) {
  CLI::App& bench_app = *app.add_subcommand("bench", "measure speed on this machine");
  bench_app.require_subcommand(1);
  add_bench_engine(bench_app, exit_code);

  auto flags = std::make_shared<KernelFlags>();
  CLI::App& kernel_app = *bench_app.add_subcommand(
      "kernel",
      "time each operator of a model, beside the read bandwidth and the arithmetic peak measured "
      "in the same run");
  constexpr int kMostRows = 1 << 14;
  constexpr int kMostThreads = 1024;
  constexpr int kMostSamples = 10'000;
  kernel_app.add_option("--op", flags->ops, "only this operator; may be given several times");
  kernel_app
      .add_option("--model", flags->model, "the shape: 2b, 4b, 8b, 32b, 30b-a3b or 235b-a22b")
      ->capture_default_str();
  kernel_app
      .add_option("--rows", flags->rows,
                  "tokens per call of the text operators; up to 64 count as a decode batch, more "
                  "as a prompt")
      ->delimiter(',')
      ->check(CLI::Range(1, kMostRows))
      ->capture_default_str();
  kernel_app.add_option("--dtype", flags->dtype, "activations and cache: bfloat16 or float32")
      ->check(CLI::IsMember({"bfloat16", "float32"}))
      ->capture_default_str();
  kernel_app
      .add_option("--weights", flags->weights,
                  "of the text layers: bf16, or int4 in groups of 128; others are bf16")
      ->check(CLI::IsMember({"bf16", "int4"}))
      ->capture_default_str();
  kernel_app.add_option("--isa", flags->isa, "auto, avx2, avx512 or avx512_bf16")
      ->envname("QVL_ISA")
      ->capture_default_str();
  kernel_app.add_option("--threads", flags->threads, "worker threads; 0: one per available core")
      ->envname("QVL_THREADS")
      ->check(CLI::Range(0, kMostThreads))
      ->capture_default_str();
  kernel_app.add_option("--repeat", flags->repeat, "samples per case, interleaved over all cases")
      ->check(CLI::Range(1, kMostSamples))
      ->capture_default_str();
  kernel_app.add_flag("--json", flags->json, "print JSON instead of a table");
  kernel_app.add_option("--out", flags->out, "also write the JSON to this file");
  kernel_app.add_option("--commit", flags->commit, "the source's commit, for the JSON")
      ->envname("QVL_COMMIT")
      ->capture_default_str();
  kernel_app.callback([flags, &exit_code] { exit_code = bench_kernel(*flags); });
}

}  // namespace qvl

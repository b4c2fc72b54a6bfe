#include "bench/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSchema = "qvl.bench.kernel/1";

std::string_view weights_flag(WeightFormat layers) {
  return layers == WeightFormat::int4 ? "int4" : "bf16";
}

std::string_view dtype_flag(ActFormat format) {
  return format == ActFormat::bf16 ? "bfloat16" : "float32";
}

std::string_view bound_name(Bound bound) { return bound == Bound::read ? "read" : "arithmetic"; }

/// Three digits of a time: 1.23 us, 45.6 us, 789 us, 1.23 ms.
std::string time_text(double us) {
  const double value = us < 1e3 ? us : us / 1e3;
  const int decimals = value < 10 ? 2 : value < 100 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, us < 1e3 ? "us" : "ms");
}

std::string spread_text(const Summary& s) {
  return fmt::format("{:.1f} (p10 {:.1f}, p90 {:.1f})", s.median, s.p10, s.p90);
}

Json summary_json(const Summary& s) {
  return {{"median", s.median}, {"p10", s.p10}, {"p90", s.p90}};
}

Json roofs_json(const Roofs& roofs) {
  Json out = {{"read_gb_per_s", summary_json(roofs.read_gb_per_s)},
              {"f32_gflop_per_s", summary_json(roofs.f32_gflop_per_s)}};
  if (roofs.bf16_gflop_per_s) out["bf16_gflop_per_s"] = summary_json(*roofs.bf16_gflop_per_s);
  return out;
}

Json result_json(const KernelResult& result) {
  const KernelCase& c = result.kernel;
  Json out = {{"op", op_name(c.op)}, {"part", c.part}, {"rows", c.rows}};
  if (c.weight.out > 0) {
    out["in"] = c.weight.in;
    out["out"] = c.weight.out;
  } else {
    out["context"] = c.context;
    out["num_heads"] = c.heads.num_heads;
    out["num_kv_heads"] = c.heads.num_kv_heads;
    out["head_dim"] = c.heads.head_dim;
  }
  out["bytes"] = c.bytes;
  out["flops"] = c.flops;
  out["calls_per_sample"] = result.calls;
  out["us"] = summary_json(result.us);
  out["gb_per_s"] = result.rating.gb_per_s;
  out["gflop_per_s"] = result.rating.gflop_per_s;
  out["percent_of_read"] = result.rating.percent_of_read;
  out["percent_of_peak"] = result.rating.percent_of_peak;
  out["bound"] = bound_name(result.rating.bound);
  out["percent_of_roof"] = result.rating.percent_of_roof();
  return out;
}

}  // namespace

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

std::string kernel_bench_table(const KernelBench& bench) {
  const Machine& machine = bench.machine;
  const Roofs& roofs = bench.roofs;
  std::string out = fmt::format(
      "{}, {} cores, {:.1f} GB, load {:.1f}; {}, {} threads\n"
      "{}, activations {}, weights {}, random; {} samples per case\n"
      "roofs: read {} GB/s; float32 FMA {} GFLOP/s",
      machine.cpu, machine.cores, static_cast<double>(machine.memory_bytes) / 1e9,
      machine.load_average, isa_name(bench.options.isa), bench.threads, bench.options.model,
      dtype_flag(bench.options.activation), weights_flag(bench.options.layers),
      bench.options.repeat, spread_text(roofs.read_gb_per_s), spread_text(roofs.f32_gflop_per_s));
  if (roofs.bf16_gflop_per_s) {
    out += fmt::format("; bfloat16 dot {} GFLOP/s", spread_text(*roofs.bf16_gflop_per_s));
  }
  constexpr double kQuiet = 0.5;
  if (machine.load_average > kQuiet) {
    out += "\nnote: other processes are at work; these are not the times of an idle machine";
  }
  out += fmt::format("\n\n{:<23}{:<12}{:>5}{:>8}{:>10}{:>10}{:>10}{:>8}{:>7}{:>9}{:>7}  bound by\n",
                     "operator", "part", "rows", "context", "median", "p10", "p90", "GB/s", "read",
                     "GFLOP/s", "peak");
  for (const KernelResult& r : bench.results) {
    const KernelCase& c = r.kernel;
    out += fmt::format(
        "{:<23}{:<12}{:>5}{:>8}{:>10}{:>10}{:>10}{:>8.1f}{:>5.0f} %{:>9.1f}{:>5.0f} %  {}\n",
        op_name(c.op), c.part, c.rows, c.context > 0 ? std::to_string(c.context) : "-",
        time_text(r.us.median), time_text(r.us.p10), time_text(r.us.p90), r.rating.gb_per_s,
        r.rating.percent_of_read, r.rating.gflop_per_s, r.rating.percent_of_peak,
        bound_name(r.rating.bound));
  }
  return out;
}

std::string kernel_bench_json(const KernelBench& bench, const Provenance& provenance) {
  const Machine& machine = bench.machine;
  Json out = {
      {"schema", kSchema},
      {"qvl_version", provenance.qvl_version},
      {"commit", provenance.commit},
      {"command", provenance.command},
      {"date", provenance.date},
      {"machine",
       {{"cpu", machine.cpu},
        {"cores", machine.cores},
        {"isa", isa_name(bench.options.isa)},
        {"memory_bytes", machine.memory_bytes},
        {"load_average", machine.load_average}}},
      {"model", bench.options.model},
      {"dtype", dtype_flag(bench.options.activation)},
      {"weights", weights_flag(bench.options.layers)},
      {"threads", bench.threads},
      {"repeat", bench.options.repeat},
      {"roofs", roofs_json(bench.roofs)},
      {"cases", Json::array()},
  };
  for (const KernelResult& result : bench.results) out["cases"].push_back(result_json(result));
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace qvl

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/gpus.h"
#include "core/check.h"
#include "core/host.h"
#include "io/dummy.h"
#include "io/hf_cache.h"
#include "io/model_tensors.h"
#include "kernels/backend.h"
#include "model/weights.h"
#include "runtime/memory.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

/// How a published size would run here.
struct Fit {
  std::string size;
  std::string precision;       ///< "bf16" or "int4": of the text layers in the checkpoint
  int64_t weight_bytes = 0;    ///< in memory; this build may hold 4 bits as more
  int64_t context_tokens = 0;  ///< that fit beside the weights; 0: the model does not fit
};

struct Diagnosis {
  Host host;
  int cores = 0;  ///< that this process may run on
  std::string isa;
  std::string isa_problem;
  GpuReport gpus;
  std::string hub;
  int64_t hub_free_bytes = -1;  ///< -1: unknown
  std::vector<HfCachedModel> models;
  std::vector<Setting> settings;
  std::vector<Fit> fits;

  bool can_run() const {
    return isa_problem.empty() &&
           std::any_of(fits.begin(), fits.end(), [](const Fit& f) { return f.context_tokens > 0; });
  }
};

/// The tensors of a published size, without data.
class ShapeSource final : public TensorSource {
 public:
  explicit ShapeSource(std::vector<TensorInfo> tensors) : tensors_(std::move(tensors)) {}

  const TensorInfo* find(std::string_view name) const override {
    const auto at = std::lower_bound(
        tensors_.begin(), tensors_.end(), name,
        [](const TensorInfo& tensor, std::string_view key) { return tensor.name < key; });
    return at == tensors_.end() || at->name != name ? nullptr : &*at;
  }
  std::vector<const TensorInfo*> tensors() const override {
    std::vector<const TensorInfo*> all;
    for (const TensorInfo& tensor : tensors_) all.push_back(&tensor);
    return all;
  }
  const void* rows(const TensorInfo&, int64_t, int64_t, void*) const override {
    require(false, "a shape has no rows");
    return nullptr;
  }
  void release(const TensorInfo&, int64_t, int64_t) const override {}

 private:
  const std::vector<TensorInfo> tensors_;  ///< sorted by name
};

enum class Precision : uint8_t { bf16, int4 };

/// A BF16 checkpoint, or one whose text layers have 4-bit Linears in groups of 128 as AWQ and GPTQ
/// files do.
Result<std::unique_ptr<TensorSource>> published_shape(const ModelConfig& config,
                                                      Precision precision) {
  const auto source = model_tensors(make_dummy_source(config), config);
  if (!source) return source.error();
  std::vector<TensorInfo> tensors;
  for (const TensorInfo* tensor : (*source)->tensors()) {
    TensorInfo info = *tensor;
    if (precision == Precision::int4 && info.name.ends_with("_proj.weight") &&
        info.name.starts_with("model.language_model.layers.")) {
      info.dtype = DType::i4;
      info.group_size = 128;
      info.quantised = "INT4";
    }
    tensors.push_back(std::move(info));
  }
  return std::unique_ptr<TensorSource>(std::make_unique<ShapeSource>(std::move(tensors)));
}

std::vector<Fit> find_fits(Isa isa, int64_t available) {
  // Pictures of up to 1024 × 1024 and one user, as an everyday use.
  EngineConfig engine;
  engine.max_patches = 4096;
  engine.memory_bytes = resident_bytes() + available / 10 * 9;
  Threads threads;
  Arena scratch;
  const Cpu cpu = make_cpu(threads, scratch, isa);
  std::vector<Fit> fits;
  for (const std::string& preset : preset_names()) {
    const Result<ModelConfig> config = preset_config(preset);
    if (!config) continue;
    for (const Precision precision : {Precision::bf16, Precision::int4}) {
      const auto source = published_shape(*config, precision);
      if (!source) continue;
      const Result<WeightPlan> weights = plan_weights(cpu, *config, **source, ActFormat::bf16);
      if (!weights) continue;
      Fit fit{size_name(*config), precision == Precision::bf16 ? "bf16" : "int4", weights->bytes,
              0};
      const Result<PlannedMemory> plan =
          plan_memory(backend_needs(cpu, *config, ActFormat::bf16, engine), host_room(), *config,
                      *weights, ActFormat::bf16, engine);
      if (plan) fit.context_tokens = plan->plan.max_model_len;
      fits.push_back(std::move(fit));
    }
  }
  return fits;
}

int64_t free_bytes(std::filesystem::path folder) {
  std::error_code error;
  while (!std::filesystem::exists(folder, error) && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  return error ? -1 : static_cast<int64_t>(space.available);
}

Diagnosis diagnose(const CLI::App& root) {
  Diagnosis out;
  out.host = read_host();
  out.cores = affinity_cores();
  const Result<Isa> isa = preferred_isa();
  if (isa) {
    out.isa = isa_name(*isa);
    out.fits = find_fits(*isa, out.host.available_bytes);
  } else {
    out.isa_problem = isa.error().message();
  }
  out.gpus = list_gpus();
  out.hub = hf_hub_folder();
  out.hub_free_bytes = free_bytes(out.hub);
  out.models = list_hf_cache(out.hub);
  out.settings = environment_settings(root);
  return out;
}

Json diagnosis_json(const Diagnosis& d) {
  Json json = {
      {"can_run", d.can_run()},
      {"cpu",
       {{"name", d.host.cpu},
        {"features", d.host.features},
        {"kernels", d.isa},
        {"problem", d.isa_problem.empty() ? Json() : Json(d.isa_problem)},
        {"cores", d.cores},
        {"online_cores", d.host.online_cores},
        {"quota_cores", d.host.quota_cores > 0 ? Json(d.host.quota_cores) : Json()}}},
      {"memory",
       {{"total_bytes", d.host.memory_bytes},
        {"available_bytes", d.host.available_bytes},
        {"limit_bytes", d.host.memory_limit_bytes > 0 ? Json(d.host.memory_limit_bytes) : Json()},
        {"transparent_huge_pages", d.host.transparent_huge_pages}}}};
  json["gpu"] = {{"backend", "not in this build"},
                 {"driver", d.host.nvidia_driver},
                 {"cuda_version", d.gpus.cuda_version},
                 {"problem", d.gpus.problem.empty() ? Json() : Json(d.gpus.problem)},
                 {"devices", Json::array()}};
  for (const Gpu& gpu : d.gpus.gpus) {
    json["gpu"]["devices"].push_back({{"name", gpu.name},
                                      {"memory_bytes", gpu.memory_bytes},
                                      {"compute_capability", gpu.compute_capability}});
  }
  json["cache"] = {{"folder", d.hub}, {"free_bytes", d.hub_free_bytes}, {"models", Json::array()}};
  for (const HfCachedModel& model : d.models) {
    json["cache"]["models"].push_back(
        {{"id", model.snapshot.id},
         {"commit", model.snapshot.commit},
         {"problem", model.problem.empty() ? Json() : Json(model.problem)}});
  }
  json["settings"] = Json::array();
  for (const Setting& setting : d.settings) {
    json["settings"].push_back(
        {{"name", setting.name}, {"value", setting.value}, {"known", setting.is_known}});
  }
  json["fits"] = Json::array();
  for (const Fit& fit : d.fits) {
    json["fits"].push_back({{"size", fit.size},
                            {"precision", fit.precision},
                            {"weight_bytes", fit.weight_bytes},
                            {"context_tokens", fit.context_tokens}});
  }
  return json;
}

void print_line(std::string_view what, std::string_view value) {
  fmt::print("{:<13}{}\n", what, value);
}

void print_machine(const Diagnosis& d) {
  print_line("processor", d.host.cpu);
  print_line("", fmt::format("{}", fmt::join(d.host.features, " ")));
  print_line("kernels", d.isa_problem.empty() ? d.isa : "none: " + d.isa_problem);
  std::string cores = fmt::format("{} of {}", d.cores, d.host.online_cores);
  if (d.host.quota_cores > 0) {
    cores += fmt::format(
        ", and the control group allows the time of {:.1f}; --threads {} may be "
        "faster",
        d.host.quota_cores, std::max(1, static_cast<int>(d.host.quota_cores)));
  }
  print_line("cores", cores);
  std::string memory = fmt::format("{} available of {}", format_bytes(d.host.available_bytes),
                                   format_bytes(d.host.memory_bytes));
  if (d.host.memory_limit_bytes > 0) {
    memory += fmt::format(", control group limited to {}", format_bytes(d.host.memory_limit_bytes));
  }
  print_line("memory", memory);
  print_line("huge pages",
             d.host.transparent_huge_pages.empty() ? "none" : d.host.transparent_huge_pages);
}

void print_gpus(const Diagnosis& d) {
  if (d.host.nvidia_driver.empty() && d.gpus.gpus.empty()) {
    print_line("GPU", "none found; this build runs on processors only");
    return;
  }
  print_line("GPU", fmt::format("driver {}, CUDA up to {}.{}; this build has no CUDA backend and "
                                "will not use it",
                                d.host.nvidia_driver.empty() ? "unknown" : d.host.nvidia_driver,
                                d.gpus.cuda_version / 1000, d.gpus.cuda_version % 1000 / 10));
  if (!d.gpus.problem.empty()) print_line("", d.gpus.problem);
  for (const Gpu& gpu : d.gpus.gpus) {
    print_line("", fmt::format("{}, {}, compute capability {}.{}", gpu.name,
                               format_bytes(gpu.memory_bytes), gpu.compute_capability / 10,
                               gpu.compute_capability % 10));
  }
}

void print_models(const Diagnosis& d) {
  print_line("model cache", d.hub_free_bytes < 0 ? d.hub
                                                 : fmt::format("{}, {} free on its disk", d.hub,
                                                               format_bytes(d.hub_free_bytes)));
  for (const HfCachedModel& model : d.models) {
    print_line("", model.snapshot.id + (model.problem.empty() ? "" : ": " + model.problem));
  }
  if (d.models.empty()) {
    print_line("",
               "no Qwen3-VL model; `hf download Qwen/Qwen3-VL-2B-Instruct` fetches the smallest");
  }
}

void print_fits(const Diagnosis& d) {
  fmt::print("\nContext that fits beside the weights, with pictures of up to 1024 × 1024:\n");
  fmt::print("{:<13}{:<12}{:>12}{:>16}\n", "size", "checkpoint", "weights", "tokens");
  for (const Fit& fit : d.fits) {
    fmt::print("{:<13}{:<12}{:>12}{:>16}\n", fit.size,
               fit.precision == "bf16" ? "BF16, FP8" : "AWQ, GPTQ", format_bytes(fit.weight_bytes),
               fit.context_tokens > 0 ? fmt::to_string(fit.context_tokens) : "does not fit");
  }
}

void print_diagnosis(const Diagnosis& d) {
  print_machine(d);
  print_gpus(d);
  print_models(d);
  for (size_t i = 0; i < d.settings.size(); ++i) {
    const Setting& s = d.settings[i];
    print_line(i == 0 ? "environment" : "",
               fmt::format("{}={}{}", s.name, s.value, s.is_known ? "" : "  (no such setting)"));
  }
  if (d.isa_problem.empty()) print_fits(d);
  fmt::print("\n{}\n", d.can_run() ? "This machine can run Qwen3-VL."
                                   : "This machine cannot run any size of Qwen3-VL.");
}

}  // namespace

void add_doctor(CLI::App& app, int& exit_code) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App& doctor_app =
      *app.add_subcommand("doctor", "say what this machine has, and what runs on it");
  doctor_app.add_flag("--json", *as_json, "print one JSON object");
  doctor_app.callback([as_json, &app, &exit_code] {
    const Diagnosis diagnosis = diagnose(app);
    if (*as_json) {
      fmt::print("{}\n",
                 diagnosis_json(diagnosis).dump(1, ' ', false, Json::error_handler_t::replace));
    } else {
      print_diagnosis(diagnosis);
    }
    exit_code = diagnosis.can_run() ? kSuccess : kFailure;
  });
}

}  // namespace qvl

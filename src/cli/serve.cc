#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <thread>

#include "cli/commands.h"
#include "cli/prepare.h"
#include "cli/serve_arguments.h"
#include "cli/serve_flags.h"
#include "core/host.h"
#include "kernels/attention.h"
#include "model/sampling_defaults.h"
#include "runtime/runner_cuda.h"
#include "server/access_log.h"
#include "server/api.h"
#include "server/http_server.h"

namespace qvl {
namespace {

using namespace std::chrono_literals;

/// A context that most requests fit in and most machines hold; --max-model-len asks for more.
constexpr int64_t kDefaultContext = 32'768;
constexpr int64_t kCpuSequences = 16;
constexpr int64_t kGpuSequences = 256;
/// Of those that decode pictures: one for so many cores, within bounds. Each reserves room for the
/// largest picture (100 MB) out of kMediaBytes until its own is decoded.
constexpr int kCoresPerMediaThread = 4;
constexpr int kFewestMediaThreads = 2;
constexpr int kMostMediaThreads = 4;
constexpr int64_t kMediaBytes = int64_t{1} << 30;
/// With a model on a GPU there is more room: this share of the machine's memory, if that is more.
constexpr int64_t kMediaShare = 16;
/// Exit status after an error that only a new process can get over.
constexpr int kBrokenDevice = 86;

/// SIGINT and SIGTERM, blocked in all threads and waited for in one.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // of the log; sockets never raise it
  }
  /// The signal, or 0 after `timeout`.
  int wait(std::chrono::milliseconds timeout) const {
    const timespec time{timeout.count() / 1000, timeout.count() % 1000 * 1'000'000};
    return std::max(0, sigtimedwait(&set_, nullptr, &time));
  }

 private:
  sigset_t set_{};
};

/// As many open files as this process may have: every connection is one.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::vector<std::string> served_names(const ServeFlags& flags, const std::string& name) {
  if (!flags.served_model_names.empty()) return flags.served_model_names;
  std::vector<std::string> names;
  // "Qwen/Qwen3-VL-2B-Instruct" is also called "Qwen3-VL-2B-Instruct".
  for (const std::string& one : {flags.engine.model, name}) {
    for (const std::string& spelling : {one, std::filesystem::path(one).filename().string()}) {
      if (spelling.empty() || std::find(names.begin(), names.end(), spelling) != names.end())
        continue;
      names.push_back(spelling);
    }
  }
  return names;
}

Status set_engine_config(const ServeFlags& flags, Prepared& prepared) {
  EngineConfig& config = prepared.config;
  const Result<std::string> line = check_quantization(flags, prepared.model.config.quantization);
  if (!line) return line.error();
  if (!line->empty()) fmt::print(stderr, "qvl: {}\n", *line);
  const Host host = read_host();
  const int64_t machine_bytes = host.memory_limit_bytes > 0
                                    ? std::min(host.memory_limit_bytes, host.memory_bytes)
                                    : host.memory_bytes;
  const std::optional<int64_t> gpu_bytes = prepared.on_gpu ? gpu_memory_bytes() : std::nullopt;
  const Result<int64_t> cap = memory_cap(flags, gpu_bytes.value_or(machine_bytes));
  if (!cap) return cap.error();
  if (*cap > 0) config.memory_bytes = *cap;
  if (config.max_model_len == 0) {
    config.max_model_len = std::min(prepared.context(), kDefaultContext);
  }
  config.max_num_seqs = prepared.on_gpu ? kGpuSequences : kCpuSequences;
  if (flags.max_num_seqs > 0) config.max_num_seqs = flags.max_num_seqs;
  if (flags.max_num_batched_tokens > 0) config.max_step_tokens = flags.max_num_batched_tokens;
  config.max_step_tokens = std::max(config.max_step_tokens, config.max_num_seqs);
  config.max_patches = prepared.processor.max_patches();
  if (flags.max_num_queued_reqs > 0) {
    config.max_queue = flags.max_num_queued_reqs + config.max_num_seqs;
  }
  config.max_queue_tokens = flags.max_num_queued_tokens;
  config.max_media_bytes =
      prepared.on_gpu ? std::max(kMediaBytes, machine_bytes / kMediaShare) : kMediaBytes;
  if (flags.max_media_bytes > 0) config.max_media_bytes = flags.max_media_bytes;
  config.kv_bytes = flags.kv_cache_memory_bytes;
  config.feature_cache_bytes = flags.feature_cache_bytes;
  if (flags.vision_slice_ms > 0) config.vision_slice_ms = flags.vision_slice_ms;
  return {};
}

HttpServerOptions server_options(const ServeFlags& flags, Metrics& metrics, AccessLog* log) {
  HttpServerOptions options;
  options.addresses = {flags.uds.empty() ? flags.host : flags.uds};
  options.port = static_cast<uint16_t>(flags.port);
  options.auth = {.keys = flags.api_keys,
                  .allowed_hosts = flags.allowed_hosts,
                  .allowed_origins = flags.allowed_origins,
                  .open_without_key = flags.open_without_key};
  if (flags.max_connections > 0) {
    options.max_connections = static_cast<size_t>(flags.max_connections);
    options.max_connections_per_local_peer = options.max_connections;
  }
  options.max_connections_per_peer = static_cast<size_t>(flags.max_connections_per_address);
  if (flags.max_body_bytes > 0)
    options.limits.body_bytes = static_cast<uint64_t>(flags.max_body_bytes);
  options.on_request = [&metrics, log](const AccessRecord& record) {
    metrics.observe_http(record);
    if (log != nullptr) log->write(record);
  };
  return options;
}

Result<ApiOptions> api_options(const ServeFlags& flags, const Prepared& prepared) {
  ApiOptions options;
  options.version = QVL_VERSION;
  options.created = std::time(nullptr);
  options.media_threads =
      std::clamp(affinity_cores() / kCoresPerMediaThread, kFewestMediaThreads, kMostMediaThreads);
  options.honours_priority = flags.scheduling_policy == "priority";
  options.request_timeout_ms = flags.request_timeout_s * 1e3;
  options.model = {.processor = &prepared.processor,
                   .names = served_names(flags, prepared.model.name),
                   .context = prepared.context(),
                   .fingerprint = "qvl-" QVL_VERSION};
  const GenerationConfig none;
  const GenerationConfig& generation =
      flags.generation_config == "vllm" ? none : prepared.model.generation;
  const Result<ChosenSampling> sampling =
      choose_sampling(flags.sampling, generation, prepared.processor.tokenizer());
  if (!sampling) return sampling.error();
  options.parse.sampling = sampling->params;
  options.parse.sampling.seed = static_cast<uint64_t>(flags.seed);
  options.parse.max_tokens =
      flags.sampling.max_tokens ? flags.sampling.max_tokens : generation.max_new_tokens;
  options.parse.fields.unknown = flags.strict_params ? UnknownFields::refuse : UnknownFields::warn;
  options.parse.tokens_as_ids = flags.return_tokens_as_token_ids;
  options.parse.include_usage = flags.enable_force_include_usage;
  if (!flags.default_chat_template_kwargs.empty()) {
    options.parse.template_variables =
        nlohmann::ordered_json::parse(flags.default_chat_template_kwargs);
  }
  WireLimits& limits = options.parse.fields.limits;
  limits.max_logprobs = flags.max_logprobs;
  if (flags.max_images_per_prompt) limits.max_images = *flags.max_images_per_prompt;
  if (flags.max_body_bytes > 0) limits.max_body_bytes = static_cast<size_t>(flags.max_body_bytes);
  return options;
}

/// Serves until a signal comes or the engine fails. Returns the exit status.
int watch(const StopSignals& signals, Api& api, AsyncEngine& engine, HealthState& health) {
  for (;;) {
    if (signals.wait(200ms) != 0) return kSuccess;
    api.publish_metrics();
    if (const std::string failure = engine.failure(); !failure.empty()) {
      health.set(Health::failed, "the engine has stopped");
      fmt::print(stderr, "qvl: the engine has stopped: {}\n", failure);
      return kBrokenDevice;
    }
  }
}

int serve(const ServeFlags& flags) {
  const StopSignals signals;  // before any thread
  raise_file_limit();
  Result<Prepared> prepared = prepare(flags.engine);
  if (!prepared) return fail(prepared.error());
  if (const Status set = set_engine_config(flags, *prepared); !set) return fail(set.error());
  Result<ApiOptions> options = api_options(flags, *prepared);
  if (!options) return fail(options.error());

  HealthState health;
  Metrics metrics(
      {.model_name = options->model.names[0], .max_model_len = prepared->config.max_model_len});
  std::unique_ptr<AccessLog> log;
  if (flags.logs_requests() && (!flags.disable_access_log || flags.enable_log_requests)) {
    log = std::make_unique<AccessLog>();
  }
  if (log && flags.enable_log_requests) {
    options->on_finished = [&log = *log](std::string_view id, const FinishedRequest& request) {
      log.write(id, request);
    };
  }
  Api api(*options, health, metrics);
  Router router;
  api.add_routes(router);
  add_health_routes(router, health);
  add_metrics_route(router, metrics, Access::key);
  Result<std::unique_ptr<HttpServer>> server = HttpServer::start(
      server_options(flags, metrics, flags.disable_access_log ? nullptr : log.get()),
      std::move(router));
  if (!server) return fail(server.error());
  for (const std::string& address : (*server)->addresses()) {
    fmt::print(stderr, "qvl: listening on {}, loading {}\n", address, options->model.names[0]);
  }

  Result<std::unique_ptr<Engine>> loaded = load_engine(*prepared);
  if (!loaded) return fail(loaded.error());
  const MemoryPlan& plan = (*loaded)->memory_plan();
  fmt::print(stderr, "{}", plan.text());
  const auto engine = std::make_shared<AsyncEngine>(std::move(*loaded));
  metrics.set_memory(
      engine->load_stats().backend.starts_with("cuda") ? MemoryPlace::gpu : MemoryPlace::host,
      engine->memory_plan());
  metrics.set_kv_cache_size(kPageTokens, engine->memory_plan().kv_pages);
  api.set_engine(engine, std::min(engine->memory_plan().max_model_len,
                                  engine->memory_plan().kv_pages * kPageTokens));
  health.set(Health::ready);
  fmt::print(stderr, "qvl: ready\n");

  const int status = watch(signals, api, *engine, health);
  if (status == kBrokenDevice) {
    (*server)->drain(0ms);
    std::fflush(nullptr);
    _exit(kBrokenDevice);
  }
  fmt::print(stderr, "qvl: draining for at most {} s\n", flags.shutdown_timeout_s);
  health.set(Health::draining);
  engine->drain();
  const auto grace =
      std::chrono::milliseconds(static_cast<int64_t>(flags.shutdown_timeout_s * 1e3));
  const bool complete = (*server)->drain(grace);
  fmt::print(stderr, "qvl: {}\n", complete ? "all answers were complete" : "some answers were cut");
  return kSuccess;
}

}  // namespace

void add_serve(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App& serve_app =
      *app.add_subcommand("serve", "an OpenAI-compatible server; takes vLLM's flags");
  add_serve_flags(serve_app, *flags);
  serve_app.callback([flags, &exit_code] { exit_code = serve(*flags); });
}

}  // namespace qvl

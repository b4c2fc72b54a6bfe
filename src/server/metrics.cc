#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "server/process_usage.h"

namespace qvl {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using Buckets = Histogram::BucketBoundaries;

// Buckets as vLLM has them: a dashboard's quantiles depend on them.
const Buckets& first_token_buckets() {
  static const Buckets buckets = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                  1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
  return buckets;
}
const Buckets& token_buckets() {
  static const Buckets buckets = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                  .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
  return buckets;
}
const Buckets& request_buckets() {
  static const Buckets buckets = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                  30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
  return buckets;
}
const Buckets& step_buckets() {
  static const Buckets buckets = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  return buckets;
}
const Buckets& media_buckets() {
  static const Buckets buckets = {.001, .0025, .005, .01, .025, .05, .1,
                                  .25,  .5,    1,    2.5, 5,    10,  30};
  return buckets;
}
const Buckets& http_buckets() {
  static const Buckets buckets = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300};
  return buckets;
}

/// 1, 2, 5, 10, 20, 50, ... up to `most`.
Buckets token_count_buckets(int64_t most) {
  Buckets buckets;
  for (int64_t decade = 1;; decade *= 10) {
    for (const int64_t step : {1, 2, 5}) {
      if (decade * step > most) return buckets;
      buckets.push_back(static_cast<double>(decade * step));
    }
  }
}

/// vLLM's words for how an answer ended.
constexpr std::array kFinishReasons = {"stop", "length", "abort", "error"};

size_t finish_index(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return 0;
    case FinishReason::length:
      return 1;
    case FinishReason::cancelled:
    case FinishReason::deadline:
      return 2;
    case FinishReason::none:
    case FinishReason::error:
      break;
  }
  return 3;
}

/// Words of enums, in the order of their values.
constexpr std::array kMediaRefusals = {"too_large", "not_decodable", "not_supported"};
constexpr std::array kMethods = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH", "-"};

/// "KV cache" -> "kv_cache"
std::string label_value(std::string_view words) {
  std::string out;
  for (const char c : words) {
    out += c == ' ' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

std::string known_method(std::string_view method) {
  return std::ranges::find(kMethods, method) == kMethods.end() ? "other" : std::string(method);
}

}  // namespace

struct Metrics::Families {
  explicit Families(const MetricsOptions& options)
      : labels{{"model_name", options.model_name}, {"engine", "0"}},
        count_buckets(token_count_buckets(options.max_model_len)) {}

  Labels with(const std::string& name, const std::string& value) const {
    Labels all = labels;
    if (!name.empty()) all[name] = value;
    return all;
  }
  Gauge& gauge(const std::string& name, const std::string& help, const std::string& label = {},
               const std::string& value = {}) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(
        with(label, value));
  }
  Counter& counter(const std::string& name, const std::string& help, const std::string& label = {},
                   const std::string& value = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(
        with(label, value));
  }
  Histogram& histogram(const std::string& name, const std::string& help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels,
                                                                                     buckets);
  }
  /// One metric for each word of an enum, all there from the start, so that a rate has a zero.
  template <class T, size_t kCount>
  std::array<T*, kCount> each(Family<T>& family, const std::string& label,
                              const std::array<const char*, kCount>& words) {
    std::array<T*, kCount> metrics{};
    for (size_t i = 0; i < kCount; ++i) metrics[i] = &family.Add(with(label, words[i]));
    return metrics;
  }
  Family<Counter>& counters(const std::string& name, const std::string& help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Gauge>& gauges(const std::string& name, const std::string& help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }

  prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};
  const Labels labels;
  const Buckets count_buckets;

  Gauge& running = gauge("vllm:num_requests_running", "Requests that are being computed.");
  Gauge& waiting = gauge("vllm:num_requests_waiting", "Requests that wait to be computed.");
  Gauge& waiting_capacity = gauge("vllm:num_requests_waiting_by_reason",
                                  "Requests that wait, by reason.", "reason", "capacity");
  Gauge& waiting_deferred = gauge("vllm:num_requests_waiting_by_reason",
                                  "Requests that wait, by reason.", "reason", "deferred");
  Gauge& kv_usage = gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.");
  Gauge& kv_usage_old =
      gauge("vllm:gpu_cache_usage_perc", "Former name of vllm:kv_cache_usage_perc.");
  Gauge& swapped = gauge("vllm:num_requests_swapped", "Always 0: nothing is swapped.");
  Family<Gauge>& cache_config = gauges("vllm:cache_config_info", "Size of the KV cache.");
  Family<Gauge>& gpu_memory =
      gauges("qvl:gpu_memory_bytes", "Memory of the GPU that the engine has reserved.");
  Family<Gauge>& host_memory =
      gauges("qvl:host_memory_bytes", "Memory of the machine that the engine has reserved.");

  Counter& prompt_tokens =
      counter("vllm:prompt_tokens_total", "Prompt tokens, computed or taken from a cache.");
  Counter& computed_tokens = counter("vllm:prompt_tokens_by_source_total",
                                     "Prompt tokens, by source.", "source", "local_compute");
  Counter& cache_hit_tokens = counter("vllm:prompt_tokens_by_source_total",
                                      "Prompt tokens, by source.", "source", "local_cache_hit");
  Counter& generation_tokens = counter("vllm:generation_tokens_total", "Tokens generated.");
  Counter& cached_tokens =
      counter("vllm:prompt_tokens_cached_total", "Prompt tokens taken from the prefix cache.");
  Counter& prefix_queries =
      counter("vllm:prefix_cache_queries_total", "Tokens looked for in the prefix cache.");
  Counter& prefix_hits =
      counter("vllm:prefix_cache_hits_total", "Tokens found in the prefix cache.");
  Counter& media_queries =
      counter("vllm:mm_cache_queries_total", "Pictures looked for in the feature cache.");
  Counter& media_hits = counter("vllm:mm_cache_hits_total", "Pictures found in the feature cache.");
  Counter& preemptions =
      counter("vllm:num_preemptions_total", "Requests put back for lack of KV cache.");
  Counter& corrupted =
      counter("vllm:corrupted_requests_total", "Requests whose logits were not finite.");
  std::array<Counter*, kFinishReasons.size()> finished =
      each(counters("vllm:request_success_total", "Requests that ended, by reason."),
           "finished_reason", kFinishReasons);

  Histogram& step_tokens =
      histogram("vllm:iteration_tokens_total", "Tokens of one step.", step_buckets());
  Histogram& first_token = histogram("vllm:time_to_first_token_seconds",
                                     "From arrival to the first token.", first_token_buckets());
  Histogram& inter_token =
      histogram("vllm:inter_token_latency_seconds", "From one token to the next.", token_buckets());
  Histogram& per_token =
      histogram("vllm:request_time_per_output_token_seconds",
                "Mean time of a request's tokens after the first.", token_buckets());
  Histogram& per_token_old =
      histogram("vllm:time_per_output_token_seconds",
                "Former name of vllm:inter_token_latency_seconds.", token_buckets());
  Histogram& end_to_end = histogram("vllm:e2e_request_latency_seconds",
                                    "From arrival to the last token.", request_buckets());
  Histogram& queue_time = histogram("vllm:request_queue_time_seconds",
                                    "From arrival to the first step.", request_buckets());
  Histogram& inference_time =
      histogram("vllm:request_inference_time_seconds", "From the first step to the last token.",
                request_buckets());
  Histogram& prefill_time = histogram("vllm:request_prefill_time_seconds",
                                      "From the first step to the first token.", request_buckets());
  Histogram& decode_time = histogram("vllm:request_decode_time_seconds",
                                     "From the first token to the last.", request_buckets());
  Histogram& request_prompt =
      histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", count_buckets);
  Histogram& request_computed =
      histogram("vllm:request_prefill_kv_computed_tokens",
                "Prompt tokens of a request that no cache had.", count_buckets);
  Histogram& request_generation =
      histogram("vllm:request_generation_tokens", "Tokens generated for a request.", count_buckets);
  Histogram& request_longest =
      histogram("vllm:request_max_num_generation_tokens",
                "Tokens of the longest answer to a request.", count_buckets);
  Histogram& request_n =
      histogram("vllm:request_params_n", "Answers that a request asks for.", {1, 2, 5, 10, 20});
  Histogram& request_max_tokens =
      histogram("vllm:request_params_max_tokens", "Limit that a request sets.", count_buckets);

  std::array<Histogram*, 3> media_stages = {
      &histogram("qvl:media_decode_seconds", "Decoding the pictures of a request.",
                 media_buckets()),
      &histogram("qvl:preprocess_seconds",
                 "Resizing the pictures of a request and cutting them into patches.",
                 media_buckets()),
      &histogram("qvl:encoder_seconds", "The pictures of a request in the vision tower.",
                 media_buckets())};
  Counter& encoder_tokens =
      counter("qvl:encoder_tokens_total", "Tokens of pictures that the vision tower has made.");
  std::array<Counter*, kMediaRefusals.size()> refusals =
      each(counters("qvl:media_rejected_total", "Pictures and videos refused, by reason."),
           "reason", kMediaRefusals);
  Counter& repetition_stops =
      counter("qvl:repetition_stops_total", "Answers ended because they repeated themselves.");

  Family<Counter>& http_requests = counters("http_requests_total", "HTTP requests.");
  Family<Histogram>& http_seconds =
      prometheus::BuildHistogram()
          .Name("http_request_duration_seconds")
          .Help("From the head of a request to the end of its answer.")
          .Register(registry);

  Counter& process_cpu = prometheus::BuildCounter()
                             .Name("process_cpu_seconds_total")
                             .Help("Processor time used.")
                             .Register(registry)
                             .Add({});
  Gauge& process_resident = process("process_resident_memory_bytes", "Memory in use.");
  Gauge& process_virtual = process("process_virtual_memory_bytes", "Address space in use.");
  Gauge& process_files = process("process_open_fds", "Open files.");
  Gauge& process_max_files = process("process_max_fds", "Files that may be open.");
  Gauge& process_start = process("process_start_time_seconds", "Start, in Unix time.");

  Gauge& process(const std::string& name, const std::string& help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
};

Metrics::Metrics(const MetricsOptions& options) : families_(std::make_unique<Families>(options)) {
  // There are no adapters; routers of inference gateways ask for the list before they send.
  prometheus::BuildGauge()
      .Name("vllm:lora_requests_info")
      .Help("Adapters of running requests: there are none.")
      .Register(families_->registry)
      .Add({{"max_lora", "0"}, {"waiting_lora_adapters", ""}, {"running_lora_adapters", ""}})
      .SetToCurrentTime();
}
Metrics::~Metrics() = default;

void Metrics::set_requests(int64_t running, int64_t waiting_for_capacity, int64_t deferred) {
  families_->running.Set(static_cast<double>(running));
  families_->waiting.Set(static_cast<double>(waiting_for_capacity + deferred));
  families_->waiting_capacity.Set(static_cast<double>(waiting_for_capacity));
  families_->waiting_deferred.Set(static_cast<double>(deferred));
}

void Metrics::set_kv_cache(double used_share) {
  families_->kv_usage.Set(used_share);
  families_->kv_usage_old.Set(used_share);
}

void Metrics::set_kv_cache_size(int64_t block_tokens, int64_t blocks) {
  Labels labels = families_->with("block_size", std::to_string(block_tokens));
  labels["num_gpu_blocks"] = std::to_string(blocks);
  families_->cache_config.Add(labels).Set(1);
}

void Metrics::set_memory(MemoryPlace place, const MemoryPlan& plan) {
  Family<Gauge>& family =
      place == MemoryPlace::gpu ? families_->gpu_memory : families_->host_memory;
  const auto set = [&](std::string_view pool, int64_t bytes) {
    family.Add(families_->with("pool", label_value(pool))).Set(static_cast<double>(bytes));
  };
  for (const MemoryPlan::Line& line : plan.lines) set(line.what, line.bytes);
  set("free", plan.limit_bytes - plan.total_bytes());
}

void Metrics::add_steps(int64_t steps, int64_t computed_prompt_tokens, int64_t cached_prompt_tokens,
                        int64_t generation_tokens) {
  const auto computed = static_cast<double>(computed_prompt_tokens);
  const auto cached = static_cast<double>(cached_prompt_tokens);
  const auto generated = static_cast<double>(generation_tokens);
  families_->prompt_tokens.Increment(computed + cached);
  families_->computed_tokens.Increment(computed);
  families_->cache_hit_tokens.Increment(cached);
  families_->cached_tokens.Increment(cached);
  families_->generation_tokens.Increment(generated);
  for (int64_t i = 0; i < steps; ++i) {
    families_->step_tokens.Observe((computed + cached + generated) / static_cast<double>(steps));
  }
}

void Metrics::add_prefix_cache(int64_t queried_tokens, int64_t hit_tokens) {
  families_->prefix_queries.Increment(static_cast<double>(queried_tokens));
  families_->prefix_hits.Increment(static_cast<double>(hit_tokens));
}

void Metrics::add_preemptions(int64_t count) {
  families_->preemptions.Increment(static_cast<double>(count));
}

void Metrics::observe_first_token(double seconds) { families_->first_token.Observe(seconds); }

void Metrics::observe_inter_token(double seconds) {
  families_->inter_token.Observe(seconds);
  families_->per_token_old.Observe(seconds);
}

void Metrics::observe_finished(const FinishedRequest& request) {
  Families& f = *families_;
  f.finished[finish_index(request.reason)]->Increment();
  f.end_to_end.Observe(request.end_to_end);
  f.queue_time.Observe(request.queue);
  f.inference_time.Observe(request.prefill + request.decode);
  f.prefill_time.Observe(request.prefill);
  f.decode_time.Observe(request.decode);
  f.request_prompt.Observe(static_cast<double>(request.prompt_tokens));
  f.request_computed.Observe(static_cast<double>(request.computed_prompt_tokens));
  f.request_generation.Observe(static_cast<double>(request.generation_tokens));
  f.request_longest.Observe(static_cast<double>(request.longest_generation_tokens));
  f.request_n.Observe(static_cast<double>(request.n));
  if (request.max_tokens > 0) {
    f.request_max_tokens.Observe(static_cast<double>(request.max_tokens));
  }
  if (request.longest_generation_tokens > 1) {
    f.per_token.Observe(request.decode /
                        static_cast<double>(request.longest_generation_tokens - 1));
  }
}

void Metrics::add_repetition_stop() { families_->repetition_stops.Increment(); }
void Metrics::add_corrupted_requests(int64_t count) {
  families_->corrupted.Increment(static_cast<double>(count));
}

void Metrics::observe_media(MediaStage stage, double seconds) {
  families_->media_stages[static_cast<size_t>(stage)]->Observe(seconds);
}

void Metrics::add_encoder_tokens(int64_t count) {
  families_->encoder_tokens.Increment(static_cast<double>(count));
}

void Metrics::add_media_cache(int64_t queried_items, int64_t hit_items) {
  families_->media_queries.Increment(static_cast<double>(queried_items));
  families_->media_hits.Increment(static_cast<double>(hit_items));
}

void Metrics::add_media_refusal(MediaRefusal refusal) {
  families_->refusals[static_cast<size_t>(refusal)]->Increment();
}

void Metrics::observe_http(const AccessRecord& record) {
  Labels labels = {{"handler", std::string(record.route)}, {"method", known_method(record.method)}};
  families_->http_seconds.Add(labels, http_buckets()).Observe(record.seconds);
  labels["status"] = std::to_string(record.status / 100) + "xx";
  families_->http_requests.Add(labels).Increment();
}

std::string Metrics::text() const {
  const ProcessUsage usage = read_process_usage();
  families_->process_cpu.Increment(usage.cpu_seconds - families_->process_cpu.Value());
  families_->process_resident.Set(static_cast<double>(usage.resident_bytes));
  families_->process_virtual.Set(static_cast<double>(usage.virtual_bytes));
  families_->process_files.Set(static_cast<double>(usage.open_files));
  families_->process_max_files.Set(static_cast<double>(usage.max_files));
  families_->process_start.Set(usage.start_time);
  return prometheus::TextSerializer().Serialize(families_->registry.Collect());
}

void add_metrics_route(Router& router, const Metrics& metrics, Access access) {
  router.add({.method = "GET",
              .path = "/metrics",
              .access = access,
              .handler = [&metrics](const HttpRequest&, const ResponseWriter& writer) {
                writer.respond(200, "text/plain; version=0.0.4; charset=utf-8", metrics.text());
              }});
}

}  // namespace qvl

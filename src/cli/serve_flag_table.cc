#include "cli/serve_flag_table.h"

#include <algorithm>
#include <array>

#include "cli/serve_flag_values.h"

namespace qvl {
namespace {

using enum FlagKind;
using F = ServeFlags;

struct Range {
  double min;
  double max;
};

constexpr Range kAny = {0, 1e15};

FlagKind kind_of(const FlagField& field) {
  if (std::holds_alternative<bool F::*>(field)) return boolean;
  if (std::holds_alternative<int64_t F::*>(field)) return integer;
  if (std::holds_alternative<double F::*>(field)) return number;
  if (std::holds_alternative<std::vector<std::string> F::*>(field)) return list;
  return text;
}

ServeFlag honour(const char* name, FlagField field, const char* help, Range range = kAny) {
  return {.name = name,
          .kind = kind_of(field),
          .text = help,
          .field = field,
          .min = range.min,
          .max = range.max};
}

ServeFlag honour(FlagKind kind, const char* name, FlagField field, const char* help,
                 Range range = kAny) {
  ServeFlag flag = honour(name, field, help, range);
  flag.kind = kind;
  return flag;
}

ServeFlag choose(const char* name, FlagField field, const char* values, const char* help) {
  ServeFlag flag = honour(choice, name, field, help);
  flag.values = values;
  return flag;
}

/// Declared by add_engine_flags().
ServeFlag engine(FlagKind kind, const char* name,
                 Result<std::string> (*translate)(const std::string&) = nullptr) {
  return {.name = name, .kind = kind, .translate = translate};
}

ServeFlag accept(FlagKind kind, const char* name) {
  return {.name = name, .kind = kind, .treatment = Treatment::accept};
}

ServeFlag warn(FlagKind kind, const char* name, const char* reason, const char* harmless = "") {
  return {.name = name,
          .kind = kind,
          .treatment = Treatment::warn,
          .text = reason,
          .values = kind == boolean ? "false" : harmless};
}

/// A switch that is always on.
ServeFlag always(const char* name, const char* reason) {
  ServeFlag flag = warn(boolean, name, reason);
  flag.values = "true";
  return flag;
}

ServeFlag refuse(FlagKind kind, const char* name, const char* reason, const char* harmless = "") {
  ServeFlag flag = warn(kind, name, reason, harmless);
  flag.treatment = Treatment::refuse;
  return flag;
}

constexpr const char* kTls = "qvl speaks plain HTTP; let a reverse proxy speak TLS";
constexpr const char* kOneDevice = "one process serves one model on one device";
constexpr const char* kLora = "adapters are not read; merge them into the checkpoint";
constexpr const char* kTools = "tools are not called yet; tool calls stay text";
constexpr const char* kGrammar = "answers are not bound to a grammar yet";
constexpr const char* kNoMedia = "pictures are read from requests only, not yet from addresses";
constexpr const char* kNoHub = "qvl downloads nothing; it looks into HF_HOME and folders";
constexpr const char* kShape = "the shape of the model is that of its config.json";
constexpr const char* kCode = "qvl runs no Python";
constexpr const char* kSteps = "prompts are prefilled in chunks beside decoding, as room is";
constexpr const char* kPages = "the cache has pages of 64 tokens and takes what memory leaves";
constexpr const char* kSpeculation = "write --speculative-config '{\"method\": \"ngram\"}'";
constexpr const char* kTelemetry = "figures are at /metrics";
constexpr const char* kReasoning =
    "reasoning is told from the answer by the tags of the checkpoint's template";

struct Group {
  const char* name;
  std::vector<ServeFlag> flags;
};

std::vector<Group> groups() {
  return {
      {"Model",
       {
           honour("--model", &EngineFlags::model,
                  "checkpoint folder, id such as Qwen/Qwen3-VL-2B-Instruct, or preset with "
                  "--load-format dummy; the flag's name may be left out"),
           engine(text, "--load-format", translate_load_format),
           engine(text, "--dtype", translate_dtype),
           honour("--quantization", set_quantization,
                  "what the checkpoint must be: awq, gptq, fp8, compressed-tensors or int8"),
           engine(text, "--backend"),
           engine(boolean, "--cpu-only"),
           engine(text, "--isa"),
           engine(integer, "--threads"),
           warn(text, "--tokenizer", "the tokenizer is the checkpoint's"),
           warn(choice, "--tokenizer-mode", "the tokenizer is the checkpoint's",
                "auto|hf|slow|fast"),
           warn(boolean, "--skip-tokenizer-init", "the tokenizer is always there"),
           refuse(text, "--revision", "write it behind the model: MODEL@REVISION", "main"),
           warn(text, "--tokenizer-revision", "the tokenizer is the checkpoint's", "main"),
           warn(text, "--code-revision", kCode, "main"),
           accept(boolean, "--trust-remote-code"),
           accept(text, "--hf-token"),
           warn(text, "--download-dir", kNoHub),
           accept(list, "--ignore-patterns"),
           warn(text, "--config-format", "config.json is in Hugging Face's form", "auto|hf"),
           refuse(text, "--hf-config-path", kShape),
           refuse(json, "--hf-overrides", kShape, "{}"),
           refuse(json, "--rope-scaling", kShape, "{}"),
           refuse(number, "--rope-theta", kShape),
           accept(json, "--model-loader-extra-config"),
           accept(boolean, "--use-tqdm-on-load"),
           accept(text, "--safetensors-load-strategy"),
           refuse(choice, "--task", "qvl generates text", "generate|auto"),
           refuse(choice, "--runner", "qvl generates text", "generate|auto"),
           refuse(choice, "--convert", "qvl generates text", "none|auto"),
           accept(text, "--model-impl"),
           refuse(boolean, "--enable-lora", kLora),
           refuse(list, "--lora-modules", kLora),
           refuse(boolean, "--enable-tower-connector-lora", kLora),
           accept(integer, "--max-loras"),
           accept(integer, "--max-lora-rank"),
           accept(integer, "--max-cpu-loras"),
           accept(text, "--lora-dtype"),
           accept(integer, "--lora-extra-vocab-size"),
           accept(boolean, "--fully-sharded-loras"),
           accept(text, "--pt-load-map-location"),
           warn(json, "--pooler-config", "qvl generates text", "{}"),
       }},
      {"Answers",
       {
           honour("--served-model-name", &F::served_model_names,
                  "names of the model in requests; the first one is in answers"),
           engine(text, "--chat-template"),
           honour(json, "--default-chat-template-kwargs", set_template_kwargs,
                  "what templates get if a request does not say: JSON"),
           choose("--generation-config", &F::generation_config, "auto|vllm",
                  "where defaults of sampling come from: auto, the checkpoint; vllm, nowhere"),
           honour(json, "--override-generation-config", set_generation_overrides,
                  "defaults of sampling before the checkpoint's: JSON such as "
                  "{\"temperature\": 0.6}"),
           honour("--seed", &F::seed, "seed of requests that name none"),
           honour("--max-logprobs", &F::max_logprobs,
                  "most alternatives that a request may ask for", {0, 20}),
           honour("--enable-force-include-usage", &F::enable_force_include_usage,
                  "end every stream with the usage, whether asked for or not"),
           honour("--return-tokens-as-token-ids", &F::return_tokens_as_token_ids,
                  "write tokens of log probabilities as token_id:N"),
           always("--enable-request-id-headers", "every answer has X-Request-Id"),
           honour("--strict-params", &F::strict_params, "refuse requests with unknown fields"),
           always("--enable-prompt-tokens-details", "usage always has the details"),
           warn(text, "--response-role", "answers have the role assistant", "assistant"),
           warn(choice, "--logprobs-mode", "log probabilities are those before sampling",
                "raw_logprobs"),
           warn(choice, "--chat-template-content-format", "content reaches the template as parts",
                "auto|openai"),
           refuse(boolean, "--trust-request-chat-template",
                  "templates come from the checkpoint or --chat-template"),
           warn(text, "--reasoning-parser", kReasoning, "|qwen3|deepseek_r1"),
           warn(text, "--reasoning-parser-plugin", kCode),
           accept(boolean, "--enable-reasoning"),
           warn(json, "--reasoning-config", kReasoning, "{}"),
           warn(boolean, "--enable-auto-tool-choice", kTools),
           warn(text, "--tool-call-parser", kTools),
           warn(text, "--tool-parser-plugin", kCode),
           warn(text, "--tool-server", kTools),
           accept(boolean, "--exclude-tools-when-tool-choice-none"),
           warn(json, "--structured-outputs-config", kGrammar, "{}"),
           warn(text, "--guided-decoding-backend", kGrammar, "auto"),
           refuse(list, "--logits-processors", kCode),
           refuse(text, "--logits-processor-pattern", kCode),
           warn(boolean, "--enable-tokenizer-info-endpoint", "there is no such route"),
           accept(text, "--fingerprint-mode"),
       }},
      {"Memory and batches",
       {
           engine(text, "--memory"),
           honour("--gpu-memory-utilization", &F::gpu_memory_utilization,
                  "the same as --memory, as a share of the machine's memory", {0.01, 1}),
           honour(size, "--kv-cache-memory-bytes", &F::kv_cache_memory_bytes,
                  "memory for keys and values, such as 4GiB; without it, enough for --max-num-seqs "
                  "answers of --max-model-len"),
           engine(text, "--max-model-len", translate_max_model_len),
           honour("--max-num-seqs", &F::max_num_seqs,
                  "answers that are made at the same time; without it, 16, on a GPU 256",
                  {1, 4096}),
           honour(count, "--max-num-batched-tokens", &F::max_num_batched_tokens,
                  "tokens of one step, longer prompts are prefilled in several; without it, 512, "
                  "on a GPU 2048",
                  {16, 1 << 20}),
           engine(boolean, "--enable-prefix-caching"),
           choose("--scheduling-policy", &F::scheduling_policy, "fcfs|priority",
                  "fcfs: first come, first served; priority: by the field of requests"),
           engine(text, "--speculative-config"),
           honour("--vision-slice-ms", &F::vision_slice_ms,
                  "the longest that answers wait for a picture of another in one step",
                  {1, 60'000}),
           always("--enable-chunked-prefill", kSteps),
           engine(boolean, "--enforce-eager"),
           accept(boolean, "--async-scheduling"),
           accept(boolean, "--disable-chunked-mm-input"),
           accept(boolean, "--use-v2-block-manager"),
           accept(integer, "--num-scheduler-steps"),
           accept(integer, "--num-lookahead-slots"),
           accept(boolean, "--multi-step-stream-outputs"),
           accept(integer, "--max-num-partial-prefills"),
           accept(integer, "--max-long-partial-prefills"),
           accept(integer, "--long-prefill-token-threshold"),
           accept(text, "--performance-mode"),
           accept(number, "--scheduler-delay-factor"),
           warn(text, "--scheduler-cls", kCode),
           warn(integer, "--stream-interval", "every token is sent as it comes", "1"),
           warn(integer, "--block-size", kPages, "64"),
           warn(integer, "--num-gpu-blocks-override", kPages),
           refuse(text, "--kv-cache-dtype", "keys and values have the type of --dtype", "auto"),
           warn(boolean, "--calculate-kv-scales", "the cache is not quantised"),
           accept(text, "--prefix-caching-hash-algo"),
           accept(number, "--swap-space"),
           warn(number, "--cpu-offload-gb", "nothing is moved out of the device", "0|0.0"),
           warn(number, "--kv-offloading-size", "nothing is moved out of the device", "0|0.0"),
           warn(text, "--kv-offloading-backend", "nothing is moved out of the device"),
           refuse(json, "--kv-transfer-config", kOneDevice, "{}"),
           refuse(json, "--kv-events-config", kOneDevice, "{}"),
           refuse(json, "--ec-transfer-config", kOneDevice, "{}"),
           refuse(text, "--speculative-model", kSpeculation),
           warn(integer, "--num-speculative-tokens", kSpeculation),
           warn(text, "--spec-method", kSpeculation),
           refuse(text, "--spec-model", kSpeculation),
           warn(integer, "--spec-tokens", kSpeculation),
           warn(boolean, "--enable-sliding-window",
                "the model attends to all of its context; long inputs are prefilled in chunks"),
           accept(boolean, "--disable-sliding-window"),
           accept(json, "--compilation-config"),
           accept(text, "--optimization-level"),
           accept(list, "--cuda-graph-sizes"),
           accept(list, "--cudagraph-capture-sizes"),
           accept(integer, "--max-cudagraph-capture-size"),
           accept(integer, "--max-seq-len-to-capture"),
           accept(boolean, "--disable-cascade-attn"),
           accept(boolean, "--disable-hybrid-kv-cache-manager"),
           accept(boolean, "--disable-async-output-proc"),
           accept(text, "--preemption-mode"),
           accept(text, "--mamba-cache-dtype"),
           accept(text, "--mamba-ssm-cache-dtype"),
           accept(integer, "--mamba-block-size"),
           accept(text, "--moe-backend"),
           accept(text, "--attention-backend"),
           accept(json, "--attention-config"),
           accept(json, "--kernel-config"),
           accept(json, "--additional-config"),
       }},
      {"Devices",
       {
           refuse(integer, "--tensor-parallel-size", kOneDevice, "1"),
           refuse(integer, "--pipeline-parallel-size", kOneDevice, "1"),
           refuse(integer, "--data-parallel-size", kOneDevice, "1"),
           refuse(integer, "--data-parallel-size-local", kOneDevice, "1"),
           refuse(text, "--data-parallel-address", kOneDevice),
           refuse(integer, "--data-parallel-rpc-port", kOneDevice),
           refuse(integer, "--data-parallel-rank", kOneDevice, "0"),
           refuse(integer, "--data-parallel-start-rank", kOneDevice, "0"),
           refuse(text, "--data-parallel-backend", kOneDevice, "mp"),
           refuse(boolean, "--data-parallel-hybrid-lb", kOneDevice),
           refuse(boolean, "--data-parallel-external-lb", kOneDevice),
           refuse(integer, "--decode-context-parallel-size", kOneDevice, "1"),
           refuse(integer, "--prefill-context-parallel-size", kOneDevice, "1"),
           refuse(integer, "--api-server-count", kOneDevice, "1"),
           refuse(integer, "--nnodes", kOneDevice, "1"),
           refuse(integer, "--node-rank", kOneDevice, "0"),
           refuse(text, "--master-addr", kOneDevice, "127.0.0.1|localhost"),
           refuse(integer, "--master-port", kOneDevice),
           refuse(boolean, "--headless", kOneDevice),
           accept(text, "--distributed-executor-backend"),
           accept(boolean, "--enable-expert-parallel"),
           accept(boolean, "--enable-eplb"),
           accept(json, "--eplb-config"),
           accept(boolean, "--enable-dbo"),
           accept(text, "--all2all-backend"),
           accept(integer, "--distributed-timeout-seconds"),
           accept(boolean, "--disable-custom-all-reduce"),
           accept(integer, "--max-parallel-loading-workers"),
           accept(boolean, "--ray-workers-use-nsight"),
           warn(text, "--worker-cls", kCode, "auto"),
           warn(text, "--worker-extension-cls", kCode),
           warn(boolean, "--enable-sleep-mode", "stop the server instead; it starts in seconds"),
       }},
      {"Pictures and videos",
       {
           engine(text, "--max-image-size"),
           engine(text, "--max-pixels"),
           engine(text, "--min-pixels"),
           engine(text, "--video-wrapper"),
           honour(json, "--limit-mm-per-prompt", set_media_limits,
                  "most pictures of one request: JSON such as {\"image\": 4}"),
           honour(json, "--mm-processor-kwargs", std::monostate(),
                  "--max-pixels and --min-pixels as JSON: {\"max_pixels\": 1003520}"),
           honour(number, "--mm-processor-cache-gb", set_feature_cache,
                  "GiB for what the vision tower made of pictures, to be used again"),
           warn(json, "--media-io-kwargs", "media are decoded one way", "{}"),
           warn(text, "--allowed-local-media-path", kNoMedia, ""),
           warn(list, "--allowed-media-domains", kNoMedia),
           accept(text, "--mm-processor-cache-type"),
           accept(integer, "--mm-shm-cache-max-object-size-mb"),
           accept(text, "--mm-encoder-tp-mode"),
           accept(text, "--mm-encoder-attn-backend"),
           accept(text, "--mm-encoder-attn-dtype"),
           refuse(boolean, "--mm-encoder-only", "qvl generates text"),
           accept(boolean, "--skip-mm-profiling"),
           accept(boolean, "--interleave-mm-strings"),
           warn(boolean, "--enable-mm-embeds", "requests bring pictures, not their features"),
           warn(boolean, "--enable-prompt-embeds", "requests bring text or tokens"),
           warn(number, "--video-pruning-rate", "all frames count", "0|0.0"),
           warn(text, "--video-pruning-method", "all frames count"),
           accept(text, "--mm-tensor-ipc"),
           accept(text, "--mm-hasher"),
           accept(integer, "--renderer-num-workers"),
       }},
      {"Queue",
       {
           honour(count, "--max-num-queued-reqs", &F::max_num_queued_reqs,
                  "answers that may wait beside those being made; more are refused with 429",
                  {1, 1e6}),
           honour(count, "--max-num-queued-tokens", &F::max_num_queued_tokens,
                  "tokens of the prompts of unfinished requests", {1, 1e12}),
           honour(size, "--max-media-bytes", &F::max_media_bytes,
                  "decoded pictures and videos of unfinished requests, such as 2GiB; without it, "
                  "1GiB, with a GPU a sixteenth of the machine's memory if that is more"),
           honour("--request-timeout", &F::request_timeout_s,
                  "seconds until a request is given up; 0: never", {0, 86'400}),
           honour("--shutdown-timeout", &F::shutdown_timeout_s,
                  "seconds that answers have left when the server is told to stop", {0, 86'400}),
       }},
      {"Network",
       {
           honour("--host", &F::host, "address to listen on; 0.0.0.0 or :: for all"),
           honour("--port", &F::port, "port to listen on; 0: any that is free", {0, 65'535}),
           honour("--uds", &F::uds, "path of a Unix socket to listen on, instead of --host"),
           honour("--api-key", &F::api_keys, "keys that clients must show one of"),
           warn(list, "--admin-key", "no route is the administrator's alone"),
           honour("--open-without-key", &F::open_without_key,
                  "listen beyond this machine without --api-key"),
           honour("--allowed-origins", &F::allowed_origins,
                  "web pages that may call, such as https://chat.example; * is every page"),
           honour("--allowed-hosts", &F::allowed_hosts,
                  "names that the server answers to beside its addresses; * is every name"),
           honour("--max-connections", &F::max_connections, "open connections", {1, 1e6}),
           honour("--max-connections-per-address", &F::max_connections_per_address,
                  "open connections of one address, or one /64 network of IPv6, but not of this "
                  "machine's own",
                  {1, 1e6}),
           honour(size, "--max-body-bytes", &F::max_body_bytes, "largest request, such as 64MiB"),
           warn(list, "--allowed-methods", "those of the routes are allowed", "*"),
           warn(list, "--allowed-headers", "those that the routes read are allowed", "*"),
           warn(boolean, "--allow-credentials",
                "keys come in a header, which needs no credentials"),
           warn(text, "--root-path", "let the reverse proxy take the path off", "|/"),
           refuse(list, "--middleware", kCode),
           refuse(text, "--ssl-keyfile", kTls),
           refuse(text, "--ssl-certfile", kTls),
           refuse(text, "--ssl-ca-certs", kTls),
           refuse(integer, "--ssl-cert-reqs", kTls, "0"),
           refuse(text, "--ssl-ciphers", kTls),
           refuse(boolean, "--enable-ssl-refresh", kTls),
           warn(size, "--h11-max-incomplete-event-size", "heads have limits of their own"),
           warn(integer, "--h11-max-header-count", "heads have limits of their own"),
           accept(boolean, "--disable-frontend-multiprocessing"),
           warn(boolean, "--disable-fastapi-docs", "/openapi.json stays; there are no other pages"),
           accept(boolean, "--enable-offline-docs"),
       }},
      {"Logs",
       {
           honour("--enable-log-requests", &F::enable_log_requests,
                  "a line for each answered request: its tokens and times, never its text"),
           accept(boolean, "--disable-log-stats"),
           honour("--disable-uvicorn-access-log", &F::disable_access_log,
                  "no line for each HTTP request"),
           choose("--uvicorn-log-level", &F::log_level, "trace|debug|info|warning|error|critical",
                  "from warning on, no lines for requests"),
           warn(text, "--disable-access-log-for-endpoints",
                "write --disable-uvicorn-access-log for all"),
           accept(integer, "--max-log-len"),
           warn(boolean, "--enable-log-outputs", "outputs are never logged"),
           accept(boolean, "--enable-log-deltas"),
           warn(text, "--log-config-file", "log lines go to the standard error"),
           warn(boolean, "--enable-server-load-tracking", kTelemetry),
           accept(boolean, "--enable-per-request-metrics"),
           warn(text, "--otlp-traces-endpoint", kTelemetry),
           warn(list, "--collect-detailed-traces", kTelemetry),
           accept(text, "--show-hidden-metrics-for-version"),
           accept(boolean, "--kv-cache-metrics"),
           accept(boolean, "--cudagraph-metrics"),
           accept(boolean, "--enable-mfu-metrics"),
           accept(boolean, "--enable-logging-iteration-details"),
           accept(boolean, "--log-error-stack"),
           warn(json, "--profiler-config", kTelemetry, "{}"),
       }},
      {"Settings",
       {
           honour(
               "--config", std::monostate(),
               "YAML file with a flag a line, such as max-model-len: 32k; the command line wins, "
               "then the file, then QVL_<FLAG>"),
           honour("--strict-args", &F::strict_args, "unknown flags are an error"),
       }},
  };
}

std::vector<ServeFlag> all_flags() {
  std::vector<ServeFlag> all;
  for (Group& group : groups()) {
    for (ServeFlag& flag : group.flags) {
      flag.group = group.name;
      all.push_back(std::move(flag));
    }
  }
  return all;
}

/// vLLM's short and older names, then those of SGLang and of llama-server.
constexpr auto kAliases = std::to_array<ServeAlias>({
    {"-q", "--quantization"},
    {"-tp", "--tensor-parallel-size"},
    {"-pp", "--pipeline-parallel-size"},
    {"-dp", "--data-parallel-size"},
    {"-dpl", "--data-parallel-size-local"},
    {"-dcp", "--decode-context-parallel-size"},
    {"-ep", "--enable-expert-parallel"},
    {"-asc", "--api-server-count"},
    {"-cc", "--compilation-config"},
    {"-sc", "--speculative-config"},
    {"-O", "--optimization-level"},
    {"--device", "--backend"},
    {"--disable-log-requests", "--enable-log-requests", "false"},
    {"--disable-mm-preprocessor-cache", "--mm-processor-cache-gb", "0"},
    {"--language-model-only", "--limit-mm-per-prompt", R"({"image":0,"video":0})"},
    {"--log-level", "--uvicorn-log-level"},

    {"--model-path", "--model"},
    {"--tp", "--tensor-parallel-size"},
    {"--tp-size", "--tensor-parallel-size"},
    {"--dp-size", "--data-parallel-size"},
    {"--mem-fraction-static", "--gpu-memory-utilization"},
    {"--context-length", "--max-model-len"},
    {"--chunked-prefill-size", "--max-num-batched-tokens"},
    {"--max-running-requests", "--max-num-seqs"},
    {"--schedule-policy", "--scheduling-policy"},
    {"--disable-radix-cache", "--enable-prefix-caching", "false"},
    {"--disable-cuda-graph", "--enforce-eager", "true"},
    {"--grammar-backend", "--guided-decoding-backend"},
    {"--mm-attention-backend", "--mm-encoder-attn-backend"},
    {"--random-seed", "--seed"},

    {"-m", "--model"},
    {"-a", "--served-model-name"},
    {"--alias", "--served-model-name"},
    {"-c", "--max-model-len"},
    {"--ctx-size", "--max-model-len"},
    {"-np", "--max-num-seqs"},
    {"--parallel", "--max-num-seqs"},
    {"-t", "--threads"},
    {"--chat-template-file", "--chat-template"},
    {"--chat-template-kwargs", "--default-chat-template-kwargs"},
    {"--ssl-key-file", "--ssl-keyfile"},
    {"--ssl-cert-file", "--ssl-certfile"},
    {"--lora", "--lora-modules"},
});

}  // namespace

std::span<const ServeFlag> serve_flags() {
  static const std::vector<ServeFlag> flags = all_flags();
  return flags;
}

std::span<const ServeAlias> serve_aliases() { return kAliases; }

const ServeFlag* find_serve_flag(std::string_view name) {
  const std::span<const ServeFlag> flags = serve_flags();
  const auto it = std::find_if(flags.begin(), flags.end(),
                               [&](const ServeFlag& flag) { return flag.name == name; });
  return it == flags.end() ? nullptr : &*it;
}

const ServeAlias* find_serve_alias(std::string_view name) {
  const auto* const it = std::find_if(kAliases.begin(), kAliases.end(),
                                      [&](const ServeAlias& a) { return a.name == name; });
  return it == kAliases.end() ? nullptr : it;
}

bool is_one_of(std::string_view value, std::string_view values) {
  for (size_t at = 0; at <= values.size();) {
    const size_t end = std::min(values.find('|', at), values.size());
    if (values.substr(at, end - at) == value) return true;
    at = end + 1;
  }
  return false;
}

}  // namespace qvl

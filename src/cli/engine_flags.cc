#include "cli/engine_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

namespace qvl {
namespace {

template <class T>
Result<T> choose(const std::string& text, const std::map<std::string, T>& choices,
                 const char* flag) {
  const auto it = choices.find(text);
  if (it != choices.end()) return it->second;
  std::vector<std::string> names;
  names.reserve(choices.size());
  for (const auto& [name, value] : choices) names.push_back(name);
  return Error{ErrorCode::bad_flag,
               fmt::format("found '{}', expected one of {}", text, fmt::join(names, ", ")), flag};
}

}  // namespace

std::string environment_name(const std::string& flag) {
  std::string name = "QVL_" + flag.substr(2);
  for (char& c : name)
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

void add_engine_flags(CLI::App& app, EngineFlags& flags) {
  const auto flag = [&](const char* name, auto& value, const char* help) {
    app.add_option(name, value, help)->envname(environment_name(name))->capture_default_str();
  };
  flag("--load-format", flags.load_format,
       "auto: checkpoint files; dummy: random weights of a preset's shape");
  flag("--backend", flags.backend, "cpu, or ref: plain loops, slow, for comparison");
  flag("--isa", flags.isa, "auto, avx2, avx512 or avx512_bf16");
  flag("--threads", flags.threads, "worker threads; 0: one per available core");
  flag("--dtype", flags.dtype, "activations and cache: auto, float32 or bfloat16");
  flag("--memory", flags.memory,
       "cap on all that the process takes, such as 12GiB; default 90 % of what is available");
  flag("--max-model-len", flags.max_model_len, "longest prompt and answer in tokens, such as 32k");
  app.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", flags.enable_prefix_caching,
               "keep what was computed for prompts, for later ones that begin alike; on by default")
      ->envname(environment_name("--enable-prefix-caching"));
  flag("--max-pixels", flags.max_pixels,
       "scale pictures to at most this many pixels; default as the checkpoint says");
  flag("--min-pixels", flags.min_pixels,
       "scale pictures to at least this many pixels; default as the checkpoint says");
  flag("--video-wrapper", flags.video_wrapper,
       "replaced: time stamps replace the video's vision markers, as the authors' release code; "
       "kept: they stand inside, "
       "as transformers 5.10 and later");
  flag("--chat-template", flags.chat_template, "file to use instead of the checkpoint's template");
}

Result<int64_t> parse_size(const std::string& text, const std::string& flag) {
  size_t digits = 0;
  double value = 0;
  try {
    value = std::stod(text, &digits);
  } catch (const std::exception&) {
    digits = 0;
  }
  std::string unit = text.substr(digits);
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const std::map<std::string, double> units = {
      {"", 1},     {"k", 1024}, {"m", 1048576}, {"g", 1073741824}, {"kb", 1e3},
      {"mb", 1e6}, {"gb", 1e9}, {"kib", 1024},  {"mib", 1048576},  {"gib", 1073741824},
  };
  const auto it = units.find(unit);
  if (digits == 0 || it == units.end() || !(value > 0) || value * it->second > 9e15) {
    return Error{ErrorCode::bad_flag,
                 fmt::format("found '{}', expected a size such as 4096, 32k or 12GiB", text), flag};
  }
  return static_cast<int64_t>(std::llround(value * it->second));
}

Result<EngineConfig> engine_config(const EngineFlags& flags) {
  EngineConfig config;
  config.model = flags.model;
  const auto load_format = choose<LoadFormat>(
      flags.load_format, {{"auto", LoadFormat::checkpoint}, {"dummy", LoadFormat::dummy}},
      "--load-format");
  if (!load_format) return load_format.error();
  config.load_format = *load_format;
  const auto backend = choose<BackendKind>(
      flags.backend, {{"cpu", BackendKind::cpu}, {"ref", BackendKind::ref}}, "--backend");
  if (!backend) return backend.error();
  config.backend = *backend;
  const auto isa = choose<IsaChoice>(flags.isa,
                                     {{"auto", IsaChoice::best},
                                      {"avx2", IsaChoice::avx2},
                                      {"avx512", IsaChoice::avx512},
                                      {"avx512_bf16", IsaChoice::avx512_bf16}},
                                     "--isa");
  if (!isa) return isa.error();
  config.isa = *isa;
  const auto dtype = choose<ActivationType>(flags.dtype,
                                            {{"auto", ActivationType::automatic},
                                             {"float32", ActivationType::float32},
                                             {"bfloat16", ActivationType::bfloat16}},
                                            "--dtype");
  if (!dtype) return dtype.error();
  config.dtype = *dtype;
  if (flags.threads < 0 || flags.threads > 1024) {
    return Error{ErrorCode::bad_flag, fmt::format("found {}, expected 0 to 1024", flags.threads),
                 "--threads"};
  }
  config.threads = flags.threads;
  config.enable_prefix_caching = flags.enable_prefix_caching;
  if (!flags.memory.empty()) {
    const Result<int64_t> bytes = parse_size(flags.memory, "--memory");
    if (!bytes) return bytes.error();
    config.memory_bytes = *bytes;
  }
  if (!flags.max_model_len.empty()) {
    const Result<int64_t> tokens = parse_size(flags.max_model_len, "--max-model-len");
    if (!tokens) return tokens.error();
    config.max_model_len = *tokens;
  }
  return config;
}

Result<ProcessorOptions> processor_options(const EngineFlags& flags) {
  ProcessorOptions options;
  options.chat_template_file = flags.chat_template;
  const auto wrapper = choose<VideoWrapper>(
      flags.video_wrapper, {{"replaced", VideoWrapper::replaced}, {"kept", VideoWrapper::kept}},
      "--video-wrapper");
  if (!wrapper) return wrapper.error();
  options.video_wrapper = *wrapper;
  struct Pixels {
    const std::string& text;
    int64_t& value;
    const char* flag;
  };
  for (const Pixels& p : {Pixels{flags.max_pixels, options.max_pixels, "--max-pixels"},
                          Pixels{flags.min_pixels, options.min_pixels, "--min-pixels"}}) {
    if (p.text.empty()) continue;
    const Result<int64_t> value = parse_size(p.text, p.flag);
    if (!value) return value.error();
    constexpr int64_t kLeast = 1024;
    constexpr int64_t kMost = 1LL << 28;
    if (*value < kLeast || *value > kMost) {
      return Error{ErrorCode::bad_flag,
                   fmt::format("found {}, expected {} to {} pixels", *value, kLeast, kMost),
                   p.flag};
    }
    p.value = *value;
  }
  return options;
}

}  // namespace qvl

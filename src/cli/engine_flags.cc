#include "cli/engine_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

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

void add_engine_flags(CLI::App& app, EngineFlags& flags) {
  const auto flag = [&](const char* name, auto& value, const char* help) {
    app.add_option(name, value, help)->capture_default_str();
  };
  flag("--load-format", flags.load_format,
       "auto: checkpoint files; dummy: random weights of a preset's shape");
  flag("--backend,--device", flags.backend,
       "cuda, cpu, auto: a GPU if there is one, or ref: plain loops, slow, for comparison");
  app.add_flag("--cpu-only", flags.cpu_only, "use no GPU; the same as --backend cpu");
  flag("--isa", flags.isa, "auto, avx2, avx512 or avx512_bf16");
  flag("--threads", flags.threads, "worker threads; 0: one per available core");
  flag("--dtype", flags.dtype, "activations and cache: auto, float32 or bfloat16");
  flag("--memory", flags.memory,
       "cap on all that the process takes, such as 12GiB; default 90 % of what is available");
  flag("--max-model-len", flags.max_model_len,
       "longest prompt and answer in tokens: 4096, 32k (32,000) or 32K (32,768)");
  flag("--max-image-size", flags.max_image_size,
       "scale pictures so that their longer edge has at most this many pixels");
  app.add_flag(
      "--enable-prefix-caching,!--no-enable-prefix-caching", flags.enable_prefix_caching,
      "keep what was computed for prompts, for later ones that begin alike; on by default");
  flag("--max-pixels", flags.max_pixels,
       "scale pictures to at most this many pixels; default as the checkpoint says");
  flag("--min-pixels", flags.min_pixels,
       "scale pictures to at least this many pixels; default as the checkpoint says");
  flag("--video-wrapper", flags.video_wrapper,
       "replaced: time stamps replace the video's vision markers, as the authors' release code; "
       "kept: they stand inside, "
       "as transformers 5.10 and later");
  flag(
      "--speculative-config", flags.speculative_config,
      "guess tokens from earlier places of the same text and check several in one step: ngram, or "
      "JSON with num_speculative_tokens, prompt_lookup_min and prompt_lookup_max; answers stay the "
      "same");
  flag("--chat-template", flags.chat_template, "file to use instead of the checkpoint's template");
}

namespace {

struct Unit {
  std::string_view name;
  double factor;
};

/// The number at the beginning of `text` times the unit behind it.
std::optional<int64_t> parse_with_unit(const std::string& text, std::span<const Unit> units) {
  const size_t digits = text.find_first_not_of("0123456789.");
  const std::string number = text.substr(0, digits);
  const std::string unit = digits == std::string::npos ? "" : text.substr(digits);
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0') return {};
  for (const Unit& u : units) {
    if (u.name != unit) continue;
    const double product = value * u.factor;
    constexpr double kMost = 9e15;  // exact in a double
    if (!(product >= 1) || product > kMost) return {};
    return std::llround(product);
  }
  return {};
}

constexpr double kKi = 1024;

}  // namespace

Result<int64_t> parse_size(const std::string& text, const std::string& flag) {
  constexpr std::array kUnits = {
      Unit{"", 1},
      Unit{"b", 1},
      Unit{"k", kKi},
      Unit{"m", kKi * kKi},
      Unit{"g", kKi * kKi * kKi},
      Unit{"t", kKi * kKi * kKi * kKi},
      Unit{"kb", 1e3},
      Unit{"mb", 1e6},
      Unit{"gb", 1e9},
      Unit{"tb", 1e12},
      Unit{"kib", kKi},
      Unit{"mib", kKi * kKi},
      Unit{"gib", kKi * kKi * kKi},
      Unit{"tib", kKi * kKi * kKi * kKi},
  };
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (const auto bytes = parse_with_unit(lower, kUnits)) return *bytes;
  return Error{ErrorCode::bad_flag,
               fmt::format("found '{}', expected a size such as 12GiB, 12GB or 500MB", text), flag};
}

Result<int64_t> parse_count(const std::string& text, const std::string& flag) {
  constexpr std::array kUnits = {
      Unit{"", 1},
      Unit{"k", 1e3},
      Unit{"m", 1e6},
      Unit{"g", 1e9},
      Unit{"K", kKi},
      Unit{"M", kKi * kKi},
      Unit{"G", kKi * kKi * kKi},
  };
  if (const auto count = parse_with_unit(text, kUnits)) return *count;
  return Error{ErrorCode::bad_flag,
               fmt::format("found '{}', expected a number such as 4096, 32k (32,000) or 32K "
                           "(32,768)",
                           text),
               flag};
}

Result<NgramSpeculation> parse_speculation(const std::string& text) {
  constexpr int kGuesses = 5;
  constexpr int kMost = 16;
  NgramSpeculation out{.num_speculative_tokens = kGuesses};
  if (text == "ngram") return out;
  const auto bad = [](const std::string& what) {
    return Error{ErrorCode::bad_flag, what, "--speculative-config"};
  };
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return bad(fmt::format("found '{}', expected ngram or a JSON object", text));
  }
  for (const auto& [key, value] : json.items()) {
    if (key == "method") {
      if (value == "ngram") continue;
      return bad(fmt::format("found method {}, expected \"ngram\"", value.dump()));
    }
    int* const number = key == "num_speculative_tokens" ? &out.num_speculative_tokens
                        : key == "prompt_lookup_min"    ? &out.prompt_lookup_min
                        : key == "prompt_lookup_max"    ? &out.prompt_lookup_max
                                                        : nullptr;
    if (number == nullptr) {
      return bad(
          fmt::format("found '{}', expected method, num_speculative_tokens, "
                      "prompt_lookup_min or prompt_lookup_max",
                      key));
    }
    if (!value.is_number_integer() || value < 1 || value > kMost) {
      return bad(fmt::format("found {} {}, expected 1 to {}", key, value.dump(), kMost));
    }
    *number = value.get<int>();
  }
  if (out.prompt_lookup_max < out.prompt_lookup_min) {
    if (json.contains("prompt_lookup_max") && json.contains("prompt_lookup_min")) {
      return bad(fmt::format("found prompt_lookup_min {} above prompt_lookup_max {}",
                             out.prompt_lookup_min, out.prompt_lookup_max));
    }
    // Only one of them was given: the other follows.
    (json.contains("prompt_lookup_max") ? out.prompt_lookup_min : out.prompt_lookup_max) =
        json.contains("prompt_lookup_max") ? out.prompt_lookup_max : out.prompt_lookup_min;
  }
  return out;
}

Result<EngineConfig> engine_config(const EngineFlags& flags) {
  EngineConfig config;
  config.model = flags.model;
  const auto load_format = choose<LoadFormat>(
      flags.load_format, {{"auto", LoadFormat::checkpoint}, {"dummy", LoadFormat::dummy}},
      "--load-format");
  if (!load_format) return load_format.error();
  config.load_format = *load_format;
  const auto backend = choose<BackendKind>(flags.backend,
                                           {{"auto", BackendKind::automatic},
                                            {"cpu", BackendKind::cpu},
                                            {"cuda", BackendKind::cuda},
                                            {"ref", BackendKind::ref}},
                                           "--backend");
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
  if (!flags.speculative_config.empty()) {
    const Result<NgramSpeculation> speculation = parse_speculation(flags.speculative_config);
    if (!speculation) return speculation.error();
    config.speculation = *speculation;
  }
  if (!flags.memory.empty()) {
    const Result<int64_t> bytes = parse_size(flags.memory, "--memory");
    if (!bytes) return bytes.error();
    config.memory_bytes = *bytes;
  }
  if (!flags.max_model_len.empty()) {
    const Result<int64_t> tokens = parse_count(flags.max_model_len, "--max-model-len");
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
    const Result<int64_t> value = parse_count(p.text, p.flag);
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
  if (!flags.max_image_size.empty()) {
    const Result<int64_t> edge = parse_count(flags.max_image_size, "--max-image-size");
    if (!edge) return edge.error();
    constexpr int64_t kLeast = 32;
    constexpr int64_t kMost = 1 << 16;
    if (*edge < kLeast || *edge > kMost) {
      return Error{ErrorCode::bad_flag,
                   fmt::format("found {}, expected {} to {} pixels", *edge, kLeast, kMost),
                   "--max-image-size"};
    }
    options.max_image_edge = static_cast<int>(*edge);
  }
  return options;
}

}  // namespace qvl

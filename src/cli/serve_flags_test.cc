#include "cli/serve_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "cli/serve_arguments.h"
#include "cli/serve_flag_table.h"

namespace qvl {
namespace {

struct Outcome {
  ServeFlags flags;
  std::vector<std::string> warnings;
  std::string error;  ///< "field: detail"
};

Outcome serve(const std::vector<std::string>& arguments) {
  Outcome out;
  const Result<ServeArguments> plain = serve_arguments(arguments);
  if (!plain) {
    out.error = plain.error().field + ": " + plain.error().detail;
    return out;
  }
  out.warnings = plain->warnings;
  ServeFlags flags;
  CLI::App app;
  CLI::App& command = *app.add_subcommand("serve", "");
  add_serve_flags(command, flags);
  std::vector<std::string> words(plain->arguments.rbegin(), plain->arguments.rend());
  words.emplace_back("serve");
  try {
    app.parse(std::move(words));
    out.flags = flags;
  } catch (const CLI::ParseError& e) {
    out.error = std::string("CLI11: ") + e.what();
  }
  return out;
}

/// A command line as a shell splits it: '…', "…" and \ before a line end.
Outcome serve(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool is_word = false;
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0 ? c == quote : c == '\'' || c == '"') {
      quote = quote != 0 ? '\0' : c;
      is_word = true;
    } else if (quote == 0 && c == '\\' && line[i + 1] == '\n') {
      ++i;
    } else if (quote == 0 && (c == ' ' || c == '\n')) {
      if (is_word) words.push_back(word);
      word.clear();
      is_word = false;
    } else {
      word += c;
      is_word = true;
    }
  }
  if (is_word) words.push_back(word);
  return serve(words);
}

using Lines = std::vector<std::string>;

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

/// A file of settings for the length of a test.
class SettingsFile {
 public:
  explicit SettingsFile(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  ~SettingsFile() { std::filesystem::remove(path_); }
  SettingsFile(const SettingsFile&) = delete;
  SettingsFile& operator=(const SettingsFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = testing::TempDir() + "serve_flags_test.yaml";
};

// ---- The command lines that users have

TEST(ServeCommandLine, OfTheOpenAiServerModuleWorksVerbatim) {
  const Outcome o = serve(R"(--model qwen/Qwen3-VL-2B-Instruct \
    --dtype auto \
    --tensor-parallel-size 1 \
    --max-model-len 32768 \
    --gpu-memory-utilization 0.9 \
    --enforce-eager)");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.warnings, Lines());
  EXPECT_EQ(o.flags.engine.model, "qwen/Qwen3-VL-2B-Instruct");
  EXPECT_EQ(o.flags.engine.dtype, "auto");
  EXPECT_EQ(o.flags.engine.max_model_len, "32768");
  EXPECT_EQ(o.flags.gpu_memory_utilization, 0.9);
}

TEST(ServeCommandLine, WithTheAdviceOfGuidesWorksVerbatim) {
  const Outcome o = serve(
      "qwen/Qwen3-VL-2B-Instruct --max-model-len 8192 --gpu-memory-utilization 0.8 "
      "--enable-chunked-prefill --max-num-batched-tokens 4096 --quantization awq "
      "--max-num-seqs=32 --enforce-eager --cpu-only");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.warnings, Lines());
  EXPECT_EQ(o.flags.engine.model, "qwen/Qwen3-VL-2B-Instruct");
  EXPECT_EQ(o.flags.engine.max_model_len, "8192");
  EXPECT_EQ(o.flags.max_num_batched_tokens, 4096);
  EXPECT_EQ(o.flags.quantization, "awq");
  EXPECT_EQ(o.flags.max_num_seqs, 32);
  EXPECT_TRUE(o.flags.engine.cpu_only);
}

TEST(ServeCommandLine, TakesTheArgumentsOfVllmsPythonClassAsFlags) {
  const Outcome o = serve(
      "/models/4b --trust_remote_code --max_model_len=16400 --limit_mm_per_prompt='{\"image\": 1}' "
      "--enforce_eager --gpu_memory_utilization=0.40 --disable_log_stats");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.warnings, Lines());
  EXPECT_EQ(o.flags.engine.max_model_len, "16400");
  EXPECT_EQ(o.flags.max_images_per_prompt, 1);
  EXPECT_FALSE(o.flags.max_videos_per_prompt);
  EXPECT_EQ(o.flags.gpu_memory_utilization, 0.40);
  EXPECT_TRUE(o.flags.disable_log_stats);
}

TEST(ServeCommandLine, TheContainersThreeKnobsAreRead) {
  const Variable quantize("QUANTIZE", "int8");
  const Variable edge("MAX_IMAGE_SIZE", "1024");
  const Variable window("ENABLE_SLIDING_WINDOW", "true");
  const Outcome o = serve("2b --port 7860");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.flags.quantization, "int8");
  EXPECT_EQ(o.flags.engine.max_image_size, "1024");
  EXPECT_EQ(o.flags.port, 7860);
  EXPECT_EQ(o.warnings,
            Lines({"ENABLE_SLIDING_WINDOW has no effect: the model attends to all of its context; "
                   "long inputs are prefilled in chunks"}));
}

TEST(ServeCommandLine, OfVllmsRecipesWorks) {
  const Outcome o = serve(
      "Qwen/Qwen3-VL-30B-A3B-Instruct-FP8 --tensor-parallel-size 1 --limit-mm-per-prompt.video 0 "
      "--async-scheduling --mm-encoder-tp-mode data --mm-processor-cache-type shm "
      "--served-model-name qwen3-vl default --host 0.0.0.0 --port 22002 --api-key token-abc123 "
      "--enable-auto-tool-choice --tool-call-parser hermes --reasoning-parser deepseek_r1 "
      "--max-model-len 128K --mm-processor-cache-gb 2 -q fp8 -O2 -cc.level=3");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.warnings,
            Lines({"--enable-auto-tool-choice has no effect: tools are not called yet; tool calls "
                   "stay text",
                   "--tool-call-parser has no effect: tools are not called yet; tool calls stay "
                   "text"}));
  EXPECT_EQ(o.flags.max_videos_per_prompt, 0);
  EXPECT_EQ(o.flags.served_model_names, Lines({"qwen3-vl", "default"}));
  EXPECT_EQ(o.flags.host, "0.0.0.0");
  EXPECT_EQ(o.flags.api_keys, Lines({"token-abc123"}));
  EXPECT_EQ(o.flags.engine.max_model_len, "128K");
  EXPECT_EQ(o.flags.feature_cache_bytes, 2LL << 30);
  EXPECT_EQ(o.flags.quantization, "fp8");
}

// ---- The table

/// The value of a row's field as text.
std::string field_text(const ServeFlags& flags, const ServeFlag& flag) {
  return std::visit(
      [&]<class T>(T field) -> std::string {
        if constexpr (std::is_same_v<T, std::string EngineFlags::*>) {
          return flags.engine.*field;
        } else if constexpr (std::is_member_object_pointer_v<T>) {
          return fmt::format("{}", flags.*field);
        } else {
          return "";
        }
      },
      flag.field);
}

TEST(ServeFlagTable, EveryFieldIsSetByItsFlag) {
  int fields = 0;
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment != Treatment::honour) continue;
    if (std::holds_alternative<std::monostate>(flag.field) ||
        std::holds_alternative<Status (*)(ServeFlags&, const std::string&)>(flag.field)) {
      continue;
    }
    ++fields;
    Lines samples;
    switch (flag.kind) {
      case FlagKind::boolean:
        samples = {"true", "false"};
        break;
      case FlagKind::integer:
      case FlagKind::count:
      case FlagKind::number:
        samples = {fmt::format("{}", flag.min), fmt::format("{}", std::min(flag.max, 1e12))};
        break;
      case FlagKind::size:
        samples = {"4096", "5"};
        break;
      case FlagKind::choice:
        samples = {flag.values.substr(0, flag.values.find('|')),
                   flag.values.substr(flag.values.rfind('|') + 1)};
        break;
      default:
        samples = {"a b", "-1"};
    }
    for (const std::string& sample : samples) {
      const std::string expected =
          flag.kind == FlagKind::list ? fmt::format("[\"{}\"]", sample) : sample;
      const Outcome o = serve(flag.name == "--model" ? Lines{"--model=" + sample}
                                                     : Lines{"m", flag.name + "=" + sample});
      EXPECT_EQ(o.error, "") << flag.name << " " << sample;
      EXPECT_EQ(o.warnings, Lines()) << flag.name;
      if (!o.error.empty()) continue;
      EXPECT_EQ(field_text(o.flags, flag), expected) << flag.name;
    }
  }
  EXPECT_GE(fields, 30);
}

TEST(ServeFlagTable, EveryFlagHasTheFieldOfItsName) {
  const Outcome o = serve(
      "m --served-model-name a --generation-config vllm --max-logprobs 5 "
      "--enable-force-include-usage --gpu-memory-utilization 0.25 --kv-cache-memory-bytes 1000 "
      "--max-num-seqs 6 --max-num-batched-tokens 77 --scheduling-policy priority "
      "--vision-slice-ms 8.5 --max-num-queued-reqs 9 --max-num-queued-tokens 10 "
      "--max-media-bytes 11 --request-timeout 12 --shutdown-timeout 13 --host h --port 14 --uds u "
      "--api-key k --admin-key l --allowed-origins o --allowed-hosts p --max-connections 15 "
      "--max-body-bytes 16 --disable-log-stats --uvicorn-log-level debug");
  ASSERT_EQ(o.error, "");
  const ServeFlags& f = o.flags;
  EXPECT_EQ(f.served_model_names, Lines({"a"}));
  EXPECT_EQ(f.generation_config, "vllm");
  EXPECT_EQ(f.max_logprobs, 5);
  EXPECT_TRUE(f.enable_force_include_usage);
  EXPECT_EQ(f.gpu_memory_utilization, 0.25);
  EXPECT_EQ(f.kv_cache_memory_bytes, 1000);
  EXPECT_EQ(f.max_num_seqs, 6);
  EXPECT_EQ(f.max_num_batched_tokens, 77);
  EXPECT_EQ(f.scheduling_policy, "priority");
  EXPECT_EQ(f.vision_slice_ms, 8.5);
  EXPECT_EQ(f.max_num_queued_reqs, 9);
  EXPECT_EQ(f.max_num_queued_tokens, 10);
  EXPECT_EQ(f.max_media_bytes, 11);
  EXPECT_EQ(f.request_timeout_s, 12);
  EXPECT_EQ(f.shutdown_timeout_s, 13);
  EXPECT_EQ(f.host, "h");
  EXPECT_EQ(f.port, 14);
  EXPECT_EQ(f.uds, "u");
  EXPECT_EQ(f.api_keys, Lines({"k"}));
  EXPECT_EQ(f.admin_keys, Lines({"l"}));
  EXPECT_EQ(f.allowed_origins, Lines({"o"}));
  EXPECT_EQ(f.allowed_hosts, Lines({"p"}));
  EXPECT_EQ(f.max_connections, 15);
  EXPECT_EQ(f.max_body_bytes, 16);
  EXPECT_TRUE(f.disable_log_stats);
  EXPECT_EQ(f.log_level, "debug");
  EXPECT_FALSE(f.return_tokens_as_token_ids || f.strict_params || f.strict_args ||
               f.open_without_key || f.enable_log_requests || f.disable_access_log);
  EXPECT_TRUE(serve("m --return-tokens-as-token-ids").flags.return_tokens_as_token_ids);
  EXPECT_TRUE(serve("m --strict-params").flags.strict_params);
  EXPECT_TRUE(serve("m --strict-args").flags.strict_args);
  EXPECT_TRUE(serve("m --open-without-key").flags.open_without_key);
  EXPECT_TRUE(serve("m --enable-log-requests").flags.enable_log_requests);
  EXPECT_TRUE(serve("m --disable-uvicorn-access-log").flags.disable_access_log);
}

TEST(ServeFlagTable, ValuesOutsideTheRangeAreRefused) {
  for (const ServeFlag& flag : serve_flags()) {
    const bool is_number = std::holds_alternative<int64_t ServeFlags::*>(flag.field) ||
                           std::holds_alternative<double ServeFlags::*>(flag.field);
    if (!is_number || flag.kind == FlagKind::size) continue;
    for (const double value : {flag.min - 1, flag.max + 1}) {
      const Outcome o = serve(Lines{"m", fmt::format("{}={}", flag.name, value)});
      EXPECT_NE(o.error.find(flag.name + ": found '"), std::string::npos) << flag.name << value;
    }
    EXPECT_NE(serve(Lines{"m", flag.name, "abc"}).error, "") << flag.name;
  }
}

/// A value that is not among those which ask for nothing.
std::string unusual_value(const ServeFlag& flag) {
  switch (flag.kind) {
    case FlagKind::boolean:
      return flag.values == "true" ? "false" : "true";
    case FlagKind::integer:
    case FlagKind::size:
    case FlagKind::count:
      return "17";
    case FlagKind::number:
      return "17.5";
    case FlagKind::json:
      return R"({"a": 1})";
    default:
      return "unusual";
  }
}

TEST(ServeFlagTable, EveryOtherFlagGivesItsLineAndNothingElse) {
  int warned = 0;
  int refused = 0;
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment == Treatment::honour) continue;
    const Outcome o = serve(Lines{"m", flag.name + "=" + unusual_value(flag)});
    switch (flag.treatment) {
      case Treatment::warn:
        ++warned;
        EXPECT_EQ(o.error, "");
        EXPECT_EQ(o.warnings, Lines({flag.name + " has no effect: " + flag.text}));
        break;
      case Treatment::refuse:
        ++refused;
        EXPECT_EQ(o.error, flag.name + ": " + flag.text);
        break;
      default:
        EXPECT_EQ(o.error, "");
        EXPECT_EQ(o.warnings, Lines()) << flag.name;
    }
    if (flag.treatment == Treatment::accept) continue;
    std::istringstream harmless(flag.values);
    for (std::string value; std::getline(harmless, value, '|');) {
      const Outcome quiet = serve(Lines{"m", flag.name + "=" + value});
      EXPECT_EQ(quiet.error, "") << flag.name;
      EXPECT_EQ(quiet.warnings, Lines()) << flag.name;
    }
  }
  EXPECT_GE(warned, 50);
  EXPECT_GE(refused, 40);
}

TEST(ServeFlagTable, NamesAreUniqueAndAliasesLeadSomewhere) {
  std::set<std::string_view> names;
  for (const ServeFlag& flag : serve_flags()) {
    EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
    const bool is_engines = flag.treatment == Treatment::honour && flag.text.empty();
    EXPECT_EQ(flag.text.empty(), is_engines || flag.treatment == Treatment::accept) << flag.name;
  }
  for (const ServeAlias& alias : serve_aliases()) {
    EXPECT_TRUE(names.insert(alias.name).second) << alias.name;
    EXPECT_NE(find_serve_flag(alias.flag), nullptr) << alias.name;
  }
}

TEST(ServeFlagTable, HasTheFlagsThatEveryCommandHas) {
  CLI::App app;
  EngineFlags flags;
  add_engine_flags(app, flags);
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = "--" + option->get_lnames()[0];
    if (name == "--help") continue;
    EXPECT_NE(find_serve_flag(name), nullptr) << name;
  }
}

// ---- Spelling

TEST(ServeArguments, AllOfVllmsSpellingsMeanTheSame) {
  for (const char* line :
       {"m --max-model-len 4096", "m --max-model-len=4096", "m --max_model_len 4096",
        "--max_model-len=4096 m", "m -c 4096", "--model m --ctx-size 4096",
        "--context-length 4096 -- m", "m --max-model-len 1 --max-model-len 4096"}) {
    const Outcome o = serve(line);
    EXPECT_EQ(o.error, "") << line;
    EXPECT_EQ(o.flags.engine.model, "m") << line;
    EXPECT_EQ(o.flags.engine.max_model_len, "4096") << line;
  }
  for (const char* line : {"m --max-model-len -1", "m --max-model-len auto", "m -c 0"}) {
    EXPECT_EQ(serve(line).error, "") << line;
    EXPECT_EQ(serve(line).flags.engine.max_model_len, "") << line;
  }
}

TEST(ServeArguments, SwitchesGoOffWithNoAndTakeTruthValues) {
  EXPECT_TRUE(serve("m").flags.engine.enable_prefix_caching);
  for (const char* line : {"m --no-enable-prefix-caching", "m --no_enable_prefix_caching",
                           "m --enable-prefix-caching=False", "m --enable-prefix-caching false",
                           "m --disable-radix-cache", "--enable-prefix-caching=0 m",
                           "m --enable-prefix-caching --no-enable-prefix-caching",
                           "m --no-enable-prefix-caching=true"}) {
    EXPECT_EQ(serve(line).error, "") << line;
    EXPECT_FALSE(serve(line).flags.engine.enable_prefix_caching) << line;
  }
  EXPECT_EQ(serve("--strict-params m").flags.engine.model, "m");
  EXPECT_EQ(serve("m --strict-params=maybe").error,
            "--strict-params: found 'maybe', expected true or false");
  EXPECT_FALSE(serve("m --enable-log-requests --disable-log-requests").flags.enable_log_requests);
}

TEST(ServeArguments, ListsTakeSeveralWordsRepeatsAndJson) {
  for (const char* line :
       {"m --served-model-name a b", "m --served-model-name a --alias b",
        "m --served-model-name '[\"a\", \"b\"]'", "--served-model-name=a --served-model-name=b m",
        "--served-model-name a b --port 1 m"}) {
    EXPECT_EQ(serve(line).error, "") << line;
    EXPECT_EQ(serve(line).flags.served_model_names, Lines({"a", "b"})) << line;
  }
  EXPECT_EQ(serve("m --allowed-origins '[\"*\"]'").flags.allowed_origins, Lines({"*"}));
  EXPECT_EQ(serve("m --api-key [1,2]").flags.api_keys, Lines({"[1,2]"}));
  EXPECT_EQ(serve("--served-model-name a m").error,
            ": found no MODEL, expected one, such as Qwen/Qwen3-VL-2B-Instruct; behind a flag that "
            "takes a list write --model MODEL");
}

TEST(ServeArguments, PartsOfJsonAreJoined) {
  const Outcome o = serve("m --limit-mm-per-prompt.image 4 --limit_mm_per_prompt.video.count=2");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.flags.max_images_per_prompt, 4);
  EXPECT_EQ(o.flags.max_videos_per_prompt, 2);
  EXPECT_EQ(serve("m --limit-mm-per-prompt '{\"image\":1}' --limit-mm-per-prompt.video 2")
                .flags.max_images_per_prompt,
            1);
  EXPECT_EQ(serve("m --default-chat-template-kwargs.a_b.c x --default-chat-template-kwargs.d true")
                .flags.default_chat_template_kwargs,
            R"({"a_b":{"c":"x"},"d":true})");
  EXPECT_EQ(serve("m --limit-mm-per-prompt.a..b 1").error,
            "--limit-mm-per-prompt.a..b: found 'a..b', expected names with dots between them");
  EXPECT_EQ(serve("m --limit-mm-per-prompt 5 --limit-mm-per-prompt.image 1").error,
            "--limit-mm-per-prompt.image: found '5', expected a JSON object");
  EXPECT_EQ(serve("m --port.a 1").warnings.size(), 1U);
}

TEST(ServeArguments, MediaLimitsAreReadInAllTheirForms) {
  const auto limits = [](const std::string& text) {
    const Outcome o = serve(Lines{"m", "--limit-mm-per-prompt", text});
    if (!o.error.empty()) return o.error;
    return fmt::format("{} {}", o.flags.max_images_per_prompt.value_or(-1),
                       o.flags.max_videos_per_prompt.value_or(-1));
  };
  EXPECT_EQ(limits("image=4,video=0"), "4 0");
  EXPECT_EQ(limits(R"({"image": {"count": 5, "width": 512}, "video": {"num_frames": 8}})"), "5 -1");
  EXPECT_EQ(limits(R"({"audio": 3})"), "-1 -1");
  EXPECT_EQ(limits("{}"), "-1 -1");
  EXPECT_EQ(limits(R"({"image": -1})"),
            "--limit-mm-per-prompt: found image -1, expected 0 to 1000000");
  EXPECT_EQ(limits("image=x"),
            "--limit-mm-per-prompt: found 'image=x', expected an object such as {\"image\": 4}");
  EXPECT_EQ(
      limits("{\"image\":" + std::string(1000, '[') + std::string(1000, ']') + "}").substr(0, 23),
      "--limit-mm-per-prompt: ");
  EXPECT_EQ(serve("m --language-model-only").flags.max_images_per_prompt, 0);
}

TEST(ServeArguments, ArgumentsOfTheImageProcessorBecomeLimitsOfPictures) {
  const Outcome o = serve(
      "m --mm-processor-kwargs '{\"min_pixels\": 4096, \"max_pixels\": 1003520, \"fps\": 2}'");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.flags.engine.min_pixels, "4096");
  EXPECT_EQ(o.flags.engine.max_pixels, "1003520");
  EXPECT_EQ(o.warnings, Lines({"--mm-processor-kwargs: fps is not known and has no effect"}));
  const Outcome size = serve(
      "m --mm-processor-kwargs.size.longest_edge 90000 --max-pixels 70k "
      "--mm-processor-kwargs.size.shortest_edge 5000");
  EXPECT_EQ(size.flags.engine.max_pixels, "70k");
  EXPECT_EQ(size.flags.engine.min_pixels, "5000");
  EXPECT_EQ(serve("m --mm-processor-kwargs '{\"max_pixels\": -1}'").error,
            "--mm-processor-kwargs: found max_pixels -1, expected a number of pixels");
  EXPECT_EQ(serve("m --mm-processor-kwargs 7").error,
            "--mm-processor-kwargs: found '7', expected a JSON object");
}

TEST(ServeArguments, OtherValuesAreRead) {
  const Outcome o = serve(
      "m --seed 42 --override-generation-config '{\"temperature\": 0.5, \"max_new_tokens\": 99}' "
      "--kv-cache-memory-bytes 4GiB --max-num-batched-tokens 8K --speculative-config "
      "'{\"method\": \"ngram\"}' --mm-processor-cache-gb 0.5 --device auto --dtype float");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.flags.seed, 42U);
  EXPECT_EQ(o.flags.sampling.temperature, 0.5F);
  EXPECT_EQ(o.flags.sampling.max_tokens, 99);
  EXPECT_EQ(o.flags.kv_cache_memory_bytes, 4LL << 30);
  EXPECT_EQ(o.flags.max_num_batched_tokens, 8192);
  EXPECT_EQ(o.flags.engine.speculative_config, R"({"method": "ngram"})");
  EXPECT_EQ(o.flags.feature_cache_bytes, 1LL << 29);
  EXPECT_EQ(o.flags.engine.backend, "cpu");
  EXPECT_EQ(o.flags.engine.dtype, "float32");
  EXPECT_EQ(serve("m --disable-mm-preprocessor-cache").flags.feature_cache_bytes, 0);
  EXPECT_EQ(serve("m --quantization awq_marlin").flags.quantization, "awq");
  EXPECT_EQ(serve("m --load-format safetensors").flags.engine.load_format, "auto");
  EXPECT_FALSE(serve("m").flags.seed);
}

TEST(ServeArguments, WhatCannotBeReadIsRefusedByItsName) {
  EXPECT_EQ(serve("m --dtype half").error,
            "--dtype: found 'half', expected auto, bfloat16 or float32: checkpoints in F16 are "
            "read, activations are never float16");
  EXPECT_EQ(serve("m -tp 2").error, "-tp: one process serves one model on one device");
  EXPECT_EQ(serve("m --port").error, "--port: expected a value behind it");
  EXPECT_EQ(serve("m --port --host x").error, "--port: expected a value behind it");
  EXPECT_EQ(serve("m --port 65536").error,
            "--port: found '65536', expected a whole number, 0 to 65535");
  EXPECT_EQ(serve("m --port 80.5").error,
            "--port: found '80.5', expected a whole number, 0 to 65535");
  EXPECT_EQ(serve("m --gpu_memory_utilization nan").error,
            "--gpu_memory_utilization: found 'nan', expected a number, 0.01 to 1");
  EXPECT_EQ(serve("m --scheduling-policy lifo").error,
            "--scheduling-policy: found 'lifo', expected one of fcfs|priority");
  EXPECT_EQ(serve("m --seed -1").error, "--seed: found '-1', expected a whole number from 0");
  EXPECT_EQ(serve("m --override-generation-config '{\"temperature\": \"hot\"}'").error,
            "--override-generation-config: found temperature \"hot\", expected a number");
  EXPECT_EQ(serve("m --quantization bitsandbytes").error.substr(0, 36),
            "--quantization: found 'bitsandbytes'");
}

TEST(ServeArguments, OneModelIsNeeded) {
  EXPECT_EQ(serve("a b").error, ": found 'a' and 'b', expected one MODEL");
  EXPECT_EQ(serve("a --model b").error, ": found 'a' and --model 'b', expected one MODEL");
  EXPECT_EQ(serve("a --model a").flags.engine.model, "a");
  EXPECT_EQ(serve("").error.substr(0, 16), ": found no MODEL");
  EXPECT_EQ(serve("chat --port 1").flags.engine.model, "chat");
  EXPECT_EQ(serve("m --uds ''").error, "");
  const Outcome help = serve("m --port x --help");
  EXPECT_EQ(help.error.substr(0, 6), "CLI11:");
}

TEST(ServeArguments, AnUnknownFlagIsALineThatNamesTheNearest) {
  const Outcome o = serve("m --max-modle-len 4096 --frobnicate=3 --x_y_z --no-port");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.warnings,
            Lines({"--max-modle-len is not known and has no effect; did you mean --max-model-len?",
                   "--frobnicate is not known and has no effect",
                   "--x_y_z is not known and has no effect",
                   "--no-port is not known and has no effect"}));
  EXPECT_EQ(o.flags.engine.max_model_len, "");
  EXPECT_EQ(serve("m --esc\x1b[2J").warnings,
            Lines({"--esc\u241b[2J is not known and has no effect"}));
}

TEST(ServeArguments, AWordBehindAnUnknownFlagIsTheModelIfNothingElseIs) {
  EXPECT_EQ(serve("--frobnicate m").flags.engine.model, "m");
  EXPECT_EQ(serve("m --frobnicate x y").flags.engine.model, "m");
  EXPECT_EQ(serve("--frobnicate x --model m").flags.engine.model, "m");
  EXPECT_EQ(serve("--frobnicate x --port 1 m").flags.engine.model, "m");
  EXPECT_EQ(serve("--frobnicate x m").error,
            ": found no MODEL but 'x' and 'm' behind unknown flags; write --model MODEL");
}

TEST(ServeArguments, StrictMakesAnUnknownFlagAnError) {
  EXPECT_EQ(serve("m --max-modle-len 4096 --strict-args").error,
            "--max-modle-len: found an unknown flag; did you mean --max-model-len?");
  EXPECT_EQ(serve("m --swap-space 4 --root-path /x --strict-args").error, "");
  const Variable strict("QVL_STRICT_ARGS", "1");
  EXPECT_EQ(serve("m --frobnicate").error, "--frobnicate: found an unknown flag");
  EXPECT_EQ(serve("m --frobnicate --no-strict-args").error, "");
}

// ---- File and environment

TEST(ServeSettings, TheCommandLineGoesBeforeTheFileAndTheFileBeforeTheEnvironment) {
  const SettingsFile file(
      "model: from/file\nport: 2\nmax_num_seqs: 2\nserved-model-name: [f, g]\n"
      "enable-prefix-caching: false\nlimit-mm-per-prompt: {image: 3}\ntensor-parallel-size: 1\n"
      "disable-log-requests: true\n");
  const Variable host("QVL_HOST", "::1");
  const Variable port("QVL_PORT", "3");
  const Variable seqs("QVL_MAX_NUM_SEQS", "3");
  const Variable key("VLLM_API_KEY", "secret");
  const Outcome o = serve("--config " + file.path() + " --port 1 --served-model-name c");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.warnings, Lines());
  EXPECT_EQ(o.flags.engine.model, "from/file");
  EXPECT_EQ(o.flags.port, 1);
  EXPECT_EQ(o.flags.max_num_seqs, 2);
  EXPECT_EQ(o.flags.host, "::1");
  EXPECT_EQ(o.flags.served_model_names, Lines({"c"}));
  EXPECT_FALSE(o.flags.engine.enable_prefix_caching);
  EXPECT_EQ(o.flags.max_images_per_prompt, 3);
  EXPECT_EQ(o.flags.api_keys, Lines({"secret"}));
  EXPECT_EQ(serve("m --api-key mine").flags.api_keys, Lines({"mine"}));
  const Outcome positional = serve("from/line --config " + file.path());
  EXPECT_EQ(positional.flags.engine.model, "from/line");
  EXPECT_EQ(positional.flags.served_model_names, Lines({"f", "g"}));
  const Variable config("QVL_CONFIG", file.path().c_str());
  EXPECT_EQ(serve("m").flags.port, 2);
}

TEST(ServeSettings, AnErrorNamesTheLineOrTheVariable) {
  const auto with = [](const std::string& text) {
    const SettingsFile file(text);
    Outcome o = serve("m --config " + file.path());
    for (std::string* s : {&o.error, o.warnings.empty() ? &o.error : &o.warnings[0]}) {
      if (const size_t at = s->find(file.path()); at != std::string::npos) {
        s->replace(at, file.path().size(), "serve.yaml");
      }
    }
    return o;
  };
  EXPECT_EQ(with("host: a\nport: abc\n").error,
            "serve.yaml:2: port: found 'abc', expected a whole number, 0 to 65535");
  EXPECT_EQ(with("strict-args: maybe\n").error,
            "serve.yaml:1: strict-args: found 'maybe', expected true or false");
  EXPECT_EQ(with("port: [1, 2]\n").error, "serve.yaml:1: port: found 2 values, expected one");
  EXPECT_EQ(with("strict-args: []\n").error,
            "serve.yaml:1: strict-args: found 0 values, expected one");
  EXPECT_EQ(with("ssl-keyfile: k.pem\n").error,
            "serve.yaml:1: ssl-keyfile: qvl speaks plain HTTP; let a reverse proxy speak TLS");
  EXPECT_EQ(with("config: other.yaml\n").error, "serve.yaml:1: config: found a file in a file");
  EXPECT_EQ(with("prot: 1\n").warnings,
            Lines({"serve.yaml:1: prot is not known and has no effect; did you mean --port?"}));
  EXPECT_EQ(with("prot: 1\nstrict-args: on\n").error,
            "serve.yaml:1: prot: found an unknown flag; did you mean --port?");
  EXPECT_EQ(with("port: 1\nport: 2\n").error, "serve.yaml:2: found 'port' twice");
  EXPECT_EQ(serve("m --config /no/such.yaml").error.substr(0, 14), "/no/such.yaml:");
  const Variable port("QVL_PORT", "abc");
  EXPECT_EQ(serve("m").error, "QVL_PORT: found 'abc', expected a whole number, 0 to 65535");
}

TEST(MemoryCap, IsAShareOfTheMachinesMemoryOrASizeWhicheverIsLess) {
  const auto cap = [](const std::string& line) {
    const Result<int64_t> bytes = memory_cap(serve(line).flags, 32'000'000'000);
    return bytes ? *bytes : -1;
  };
  EXPECT_EQ(cap("m"), 0);
  EXPECT_EQ(cap("m --gpu-memory-utilization 0.5"), 16'000'000'000);
  EXPECT_EQ(cap("m --mem-fraction-static 1"), 32'000'000'000);
  EXPECT_EQ(cap("m --memory 12GB"), 12'000'000'000);
  EXPECT_EQ(cap("m --memory 12GB --gpu-memory-utilization 0.25"), 8'000'000'000);
  EXPECT_EQ(cap("m --memory 12GB --gpu-memory-utilization 0.5"), 12'000'000'000);
  EXPECT_EQ(cap("m --memory 12XB"), -1);
}

// ---- The page

/// docs/serving-flags.md
std::string flags_page() {
  CLI::App app;
  ServeFlags flags;
  add_serve_flags(app, flags);
  const auto cell = [](std::string text) {
    for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) {
      text.insert(at, "\\");
    }
    return text;
  };
  std::string page =
      "# Flags of qvl serve\n\n"
      "vLLM's flags by their names. Underscores for dashes, `--flag=value`, `--no-flag`, lists of "
      "several words, JSON\nand its parts (`--limit-mm-per-prompt.image 4`) are read as vLLM reads "
      "them, so that what stands behind\n`vllm serve` or `python -m "
      "vllm.entrypoints.openai.api_server` can stand behind `qvl serve`. A flag that is not\n"
      "here gives a line, or an error with `--strict-args`.\n\n"
      "`--config FILE` reads flags from YAML, without their dashes:\n\n"
      "```yaml\nmodel: Qwen/Qwen3-VL-2B-Instruct\nmax-model-len: 32k\n"
      "served-model-name: [small, default]\nlimit-mm-per-prompt: {image: 4}\n```\n\n"
      "The command line goes before the file, the file before the environment (`QVL_<FLAG>`); "
      "lists "
      "are replaced, not\njoined.\n";
  std::string group;
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment != Treatment::honour) continue;
    if (flag.group != group) {
      group = flag.group;
      page += "\n## " + group + "\n\n| Flag | Default | |\n|---|---|---|\n";
    }
    const CLI::Option& option = *app.get_option(flag.name);
    std::string initial = option.get_default_str();
    if (initial == "\"\"") initial.clear();
    page += fmt::format("| `{}` | {} | {} |\n", flag.name, initial, cell(option.get_description()));
  }
  const auto rows = [&](Treatment treatment, const char* heading) {
    page += heading;
    for (const ServeFlag& flag : serve_flags()) {
      if (flag.treatment != treatment) continue;
      std::string values =
          flag.kind == FlagKind::boolean && flag.values == "false" ? "" : "`" + flag.values + "`";
      if (values == "``") values.clear();
      page += fmt::format("| `{}` | {} | {} |\n", flag.name, cell(values), cell(flag.text));
    }
  };
  rows(Treatment::warn,
       "\n## Without effect, with a line that says so\n\nThe values in the second column ask for "
       "nothing else and give no line.\n\n| Flag | No line for | Why |\n|---|---|---|\n");
  rows(Treatment::refuse, "\n## Refused\n\n| Flag | Taken with | Why |\n|---|---|---|\n");
  page +=
      "\n## Taken in silence\n\nWhat they ask for is so anyway, or makes no difference here.\n\n";
  std::string line;
  for (const ServeFlag& flag : serve_flags()) {
    if (flag.treatment != Treatment::accept) continue;
    const std::string word = fmt::format("`{}`", flag.name);
    if (line.size() + word.size() > 100) {
      page += line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  page += line + "\n\n## Other names\n\n| Name | Stands for |\n|---|---|\n";
  for (const ServeAlias& alias : serve_aliases()) {
    page += alias.value == nullptr
                ? fmt::format("| `{}` | `{}` |\n", alias.name, alias.flag)
                : fmt::format("| `{}` | `{}={}` |\n", alias.name, alias.flag, alias.value);
  }
  page +=
      "\nIn the environment `VLLM_API_KEY` stands for `QVL_API_KEY`, `QUANTIZE` for "
      "`QVL_QUANTIZATION`, `MAX_IMAGE_SIZE`\nfor `QVL_MAX_IMAGE_SIZE`, and "
      "`ENABLE_SLIDING_WINDOW` for `QVL_ENABLE_SLIDING_WINDOW`.\n";
  return page;
}

TEST(ServingFlagsPage, IsWhatTheTableSays) {
  std::stringstream text;
  text << std::ifstream(QVL_SOURCE_DIR "/docs/serving-flags.md").rdbuf();
  const std::string page = flags_page();
  if (text.str() == page) return;
  const std::string fresh = testing::TempDir() + "serving-flags.md";
  std::ofstream(fresh) << page;
  FAIL() << "docs/serving-flags.md is not what the table says; copy " << fresh << " there";
}

}  // namespace
}  // namespace qvl

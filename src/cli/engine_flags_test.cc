#include "cli/engine_flags.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/environment.h"

namespace qvl {
namespace {

int64_t count(const std::string& text) {
  const Result<int64_t> value = parse_count(text, "--max-model-len");
  return value ? *value : -1;
}

int64_t bytes(const std::string& text) {
  const Result<int64_t> value = parse_size(text, "--memory");
  return value ? *value : -1;
}

TEST(ParseCount, LowerCaseIsDecimalAndUpperCaseBinaryAsInVllm) {
  EXPECT_EQ(count("4096"), 4096);
  EXPECT_EQ(count("32k"), 32'000);
  EXPECT_EQ(count("32K"), 32'768);
  EXPECT_EQ(count("1m"), 1'000'000);
  EXPECT_EQ(count("1M"), 1'048'576);
  EXPECT_EQ(count("25.6k"), 25'600);
  EXPECT_EQ(count("0.5K"), 512);
}

TEST(ParseCount, WhatIsNoCountIsRefused) {
  for (const char* text : {"", "k", "0", "-4", "4 k", "4kk", "4kB", "1e5", "0x10", "1.2.3", "nan",
                           "inf", "99999999999999999999", "0.1", "４"}) {
    EXPECT_EQ(count(text), -1) << text;
  }
}

TEST(ParseSize, UnitsAreWhatTheySay) {
  EXPECT_EQ(bytes("12GiB"), 12'884'901'888);
  EXPECT_EQ(bytes("12g"), 12'884'901'888);
  EXPECT_EQ(bytes("12GB"), 12'000'000'000);
  EXPECT_EQ(bytes("500mb"), 500'000'000);
  EXPECT_EQ(bytes("1.5 GiB"), -1);
  EXPECT_EQ(bytes("1.5GiB"), 1'610'612'736);
  EXPECT_EQ(bytes("4096"), 4096);
  EXPECT_EQ(bytes("12GiBs"), -1);
}

/// A program with two commands that share the engine flags.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    for (const char* name : {"run", "other"}) {
      CLI::App& command = *app_.add_subcommand(name, "");
      add_engine_flags(command, name == std::string("run") ? flags_ : other_);
    }
    app_.require_subcommand(1);
    read_environment(app_);
    std::reverse(arguments.begin(), arguments.end());
    app_.parse(std::move(arguments));
  }
  const EngineFlags& flags() const { return flags_; }
  const EngineFlags& other() const { return other_; }
  const CLI::App& app() const { return app_; }

 private:
  CLI::App app_;
  EngineFlags flags_;
  EngineFlags other_;
};

/// Sets a variable for the length of a test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

TEST(EngineFlags, DeviceChoosesTheBackendAndCpuOnlyKeepsTheGpuOut) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"run", "--cpu-only"}, {"run", "--device", "cpu"}, {"run", "--backend", "cpu"}}) {
    const Result<EngineConfig> config = engine_config(Program(arguments).flags());
    ASSERT_TRUE(config);
    EXPECT_EQ(config->backend, BackendKind::cpu);
  }
  const Result<EngineConfig> open = engine_config(Program({"run", "--enforce-eager"}).flags());
  ASSERT_TRUE(open);
  EXPECT_EQ(open->backend, BackendKind::automatic);
  EXPECT_TRUE(open->enforce_eager);
  const Result<EngineConfig> both =
      engine_config(Program({"run", "--device", "cuda", "--cpu-only"}).flags());
  ASSERT_FALSE(both);
  EXPECT_NE(both.error().message().find("--cpu-only and --device cuda exclude each other"),
            std::string::npos);
  const Result<EngineConfig> ref =
      engine_config(Program({"run", "--device", "ref", "--cpu-only"}).flags());
  ASSERT_TRUE(ref);
  EXPECT_EQ(ref->backend, BackendKind::ref);
}

TEST(EngineFlags, FillTheEngineConfig) {
  const Result<EngineConfig> config =
      engine_config(Program({"run", "--max-model-len", "32k", "--memory", "12GiB"}).flags());
  ASSERT_TRUE(config);
  EXPECT_EQ(config->max_model_len, 32'000);
  EXPECT_EQ(config->memory_bytes, 12'884'901'888);
}

TEST(EngineFlags, SpeculationIsReadAsVllmWritesIt) {
  const auto read = [](const std::string& text) {
    const Result<NgramSpeculation> s = parse_speculation(text);
    if (!s) return s.error().detail;
    return fmt::format("{} guesses, {} to {}", s->num_speculative_tokens, s->prompt_lookup_min,
                       s->prompt_lookup_max);
  };
  EXPECT_EQ(read("ngram"), "5 guesses, 2 to 4");
  EXPECT_EQ(read(R"({"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 7})"),
            "3 guesses, 2 to 7");
  EXPECT_EQ(read(R"({"prompt_lookup_max": 1})"), "5 guesses, 1 to 1");
  EXPECT_EQ(read(R"({"prompt_lookup_min": 6})"), "5 guesses, 6 to 6");
  EXPECT_EQ(read(R"({"prompt_lookup_min": 4, "prompt_lookup_max": 3})"),
            "found prompt_lookup_min 4 above prompt_lookup_max 3");
  EXPECT_EQ(read(R"({"method": "eagle"})"), R"(found method "eagle", expected "ngram")");
  EXPECT_EQ(read(R"({"num_speculative_tokens": 17})"),
            "found num_speculative_tokens 17, expected 1 to 16");
  EXPECT_EQ(read("5"), "found '5', expected ngram or a JSON object");
  const Result<EngineConfig> config =
      engine_config(Program({"run", "--speculative-config", "ngram"}).flags());
  ASSERT_TRUE(config);
  EXPECT_EQ(config->speculation.num_speculative_tokens, 5);
}

TEST(EngineFlags, FillTheProcessorOptions) {
  const Result<ProcessorOptions> options =
      processor_options(Program({"run", "--max-image-size", "1K", "--min-pixels", "1024",
                                 "--max-pixels", "1m", "--chat-template", "a.jinja"})
                            .flags());
  ASSERT_TRUE(options);
  EXPECT_EQ(options->max_image_edge, 1024);
  EXPECT_EQ(options->min_pixels, 1024);
  EXPECT_EQ(options->max_pixels, 1'000'000);
  EXPECT_EQ(options->chat_template_file, "a.jinja");
  const Result<ProcessorOptions> tiny =
      processor_options(Program({"run", "--max-image-size", "31"}).flags());
  ASSERT_FALSE(tiny);
  EXPECT_EQ(tiny.error().message(),
            "--max-image-size: the command line is not usable: found 31, expected 32 to 65536 "
            "pixels; see --help");
}

TEST(Environment, EveryFlagHasAVariableAndTheCommandLineWins) {
  const Variable length("QVL_MAX_MODEL_LEN", "4096");
  const Variable cpu("QVL_CPU_ONLY", "1");
  EXPECT_EQ(Program({"run"}).flags().max_model_len, "4096");
  EXPECT_TRUE(Program({"run"}).flags().cpu_only);
  EXPECT_EQ(Program({"run", "--max-model-len", "5"}).flags().max_model_len, "5");
}

TEST(Environment, OnlyTheCommandThatRunsReadsIt) {
  const Variable threads("QVL_THREADS", "3");
  const Program program({"run"});
  EXPECT_EQ(program.flags().threads, 3);
  EXPECT_EQ(program.other().threads, 0);
}

TEST(Environment, AForeignNameCountsUnlessOursIsSet) {
  const Variable foreign("MAX_IMAGE_SIZE", "1024");
  EXPECT_EQ(Program({"run"}).flags().max_image_size, "1024");
  const Variable own("QVL_MAX_IMAGE_SIZE", "512");
  EXPECT_EQ(Program({"run"}).flags().max_image_size, "512");
}

TEST(Environment, SettingsAreListedAndTypingErrorsFoundOut) {
  const Variable known("QVL_MEMORY", "12GiB");
  const Variable unknown("QVL_MEMROY", "12GiB");
  const Variable foreign("MAX_IMAGE_SIZE", "1024");
  const Variable secret("VLLM_API_KEY", "token-abc");
  const std::vector<Setting> settings = environment_settings(Program({"run"}).app());
  std::string list;
  for (const Setting& s : settings) {
    list += s.name + "=" + s.value + (s.is_known ? " known\n" : " unknown\n");
  }
  EXPECT_EQ(list,
            "MAX_IMAGE_SIZE=1024 known\nQVL_MEMORY=12GiB known\nQVL_MEMROY=12GiB unknown\n"
            "VLLM_API_KEY=(set) known\n");
}

}  // namespace
}  // namespace qvl

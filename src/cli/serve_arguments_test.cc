#include "cli/serve_arguments.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/serve_flags_testing.h"

namespace qvl {
namespace {

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
  std::string path_ = testing::TempDir() + "serve_arguments_test.yaml";
};

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
  EXPECT_EQ(o.flags.gpu_memory_utilization, 0.40);
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
  EXPECT_EQ(o.flags.served_model_names, Lines({"qwen3-vl", "default"}));
  EXPECT_EQ(o.flags.host, "0.0.0.0");
  EXPECT_EQ(o.flags.api_keys, Lines({"token-abc123"}));
  EXPECT_EQ(o.flags.engine.max_model_len, "128K");
  EXPECT_EQ(o.flags.feature_cache_bytes, 2LL << 30);
  EXPECT_EQ(o.flags.quantization, "fp8");
}

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

}  // namespace
}  // namespace qvl

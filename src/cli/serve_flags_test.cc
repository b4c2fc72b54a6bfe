#include "cli/serve_flags.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cli/serve_flags_testing.h"

namespace qvl {
namespace {

TEST(ServeFlags, MediaLimitsAreReadInAllTheirForms) {
  const auto limits = [](const std::string& text) {
    const Outcome o = serve(Lines{"m", "--limit-mm-per-prompt", text});
    if (!o.error.empty()) return o.error;
    return fmt::format("{}", o.flags.max_images_per_prompt.value_or(-1));
  };
  EXPECT_EQ(limits("image=4,video=0"), "4");
  EXPECT_EQ(limits(R"({"image": {"count": 5, "width": 512}, "video": {"num_frames": 8}})"), "5");
  EXPECT_EQ(limits(R"({"audio": 3})"), "-1");
  EXPECT_EQ(limits("{}"), "-1");
  EXPECT_EQ(limits(R"({"image": -1})"),
            "--limit-mm-per-prompt: found image -1, expected 0 to 1000000");
  EXPECT_EQ(limits("image=x"),
            "--limit-mm-per-prompt: found 'image=x', expected an object such as {\"image\": 4}");
  EXPECT_EQ(
      limits("{\"image\":" + std::string(1000, '[') + std::string(1000, ']') + "}").substr(0, 23),
      "--limit-mm-per-prompt: ");
  EXPECT_EQ(serve("m --language-model-only").flags.max_images_per_prompt, 0);
}

TEST(ServeFlags, ArgumentsOfTheImageProcessorBecomeLimitsOfPictures) {
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

TEST(ServeFlags, OtherValuesAreRead) {
  const Outcome o = serve(
      "m --seed 42 --override-generation-config '{\"temperature\": 0.5, \"max_new_tokens\": 99}' "
      "--kv-cache-memory-bytes 4GiB --max-num-batched-tokens 8K --speculative-config "
      "'{\"method\": \"ngram\"}' --mm-processor-cache-gb 0.5 --device auto --dtype float");
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(o.flags.seed, 42);
  EXPECT_EQ(o.flags.sampling.temperature, 0.5F);
  EXPECT_EQ(o.flags.sampling.max_tokens, 99);
  EXPECT_EQ(o.flags.kv_cache_memory_bytes, 4LL << 30);
  EXPECT_EQ(o.flags.max_num_batched_tokens, 8192);
  EXPECT_EQ(o.flags.engine.speculative_config, R"({"method": "ngram"})");
  EXPECT_EQ(o.flags.feature_cache_bytes, 1LL << 29);
  EXPECT_EQ(o.flags.engine.backend, "auto");
  EXPECT_EQ(o.flags.engine.dtype, "float32");
  EXPECT_EQ(serve("m --disable-mm-preprocessor-cache").flags.feature_cache_bytes, 0);
  EXPECT_EQ(serve("m --quantization awq_marlin").flags.quantization, "awq");
  EXPECT_EQ(serve("m --load-format safetensors").flags.engine.load_format, "auto");
}

TEST(ServeFlags, WhatCannotBeReadIsRefusedByItsName) {
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
  EXPECT_EQ(serve("m --seed -1").error,
            "--seed: found '-1', expected a whole number, 0 to 1000000000000000");
  EXPECT_EQ(serve("m --chat-template-kwargs '{\"tools\": []}'").error,
            "--chat-template-kwargs: found tools, which requests set");
  EXPECT_EQ(serve("m --override-generation-config '{\"temperature\": \"hot\"}'").error,
            "--override-generation-config: found temperature \"hot\", expected a number");
  EXPECT_EQ(serve("m --quantization bitsandbytes").error.substr(0, 36),
            "--quantization: found 'bitsandbytes'");
}

TEST(CheckQuantization, IsALineForAPlainCheckpointAndAnErrorForAnotherMethod) {
  const auto outcome = [](const std::string& line, QuantizationConfig found) {
    const Result<std::string> checked = check_quantization(serve(line).flags, found);
    return checked ? *checked : checked.error().detail;
  };
  const QuantizationConfig awq{.method = QuantMethod::awq, .bits = 4, .group_size = 128};
  EXPECT_EQ(outcome("m", awq), "");
  EXPECT_EQ(outcome("m -q awq_marlin", awq), "");
  EXPECT_EQ(outcome("m -q gptq", awq),
            "found a checkpoint in AWQ, 4 bits, groups of 128, expected gptq");
  EXPECT_EQ(outcome("m -q int8", awq),
            "found a checkpoint in AWQ, 4 bits, groups of 128, expected int8");
  EXPECT_EQ(outcome("m -q int8", {.method = QuantMethod::compressed_tensors, .bits = 8}), "");
  EXPECT_EQ(outcome("m -q fp8", {.method = QuantMethod::fp8, .bits = 8}), "");
  EXPECT_EQ(outcome("m -q awq", {}),
            "--quantization awq has no effect: the checkpoint is not quantised, and weights are "
            "never quantised while they load");
}

TEST(LogLevel, LeavesRequestsOutFromWarningOn) {
  EXPECT_TRUE(serve("m").flags.logs_requests());
  EXPECT_TRUE(serve("m --uvicorn-log-level trace").flags.logs_requests());
  EXPECT_FALSE(serve("m --log-level warning").flags.logs_requests());
  EXPECT_FALSE(serve("m --log-level critical").flags.logs_requests());
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

}  // namespace
}  // namespace qvl

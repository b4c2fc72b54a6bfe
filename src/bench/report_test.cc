#include "bench/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace qvl {
namespace {

KernelBench example() {
  KernelBench bench;
  bench.options = {.model = "4b", .repeat = 5};
  bench.threads = 3;
  bench.machine = {.cpu = "A Processor", .cores = 4, .memory_bytes = 8'000'000'000};
  bench.roofs = {.read_gb_per_s = {20, 19, 21}, .f32_gflop_per_s = {100, 90, 110}};
  const KernelCase qkv{.op = Op::rms_norm_linear,
                       .part = "qkv",
                       .rows = 8,
                       .weight = {.out = 4096, .in = 2048},
                       .bytes = 10'000'000,
                       .flops = 20'000'000};
  const KernelCase decode{.op = Op::attention,
                          .part = "decode",
                          .rows = 1,
                          .context = 512,
                          .heads = {16, 8, 128},
                          .bytes = 1'000'000,
                          .flops = 2'000'000};
  for (const KernelCase& c : {qkv, decode}) {
    const Summary us{1000, 900, 1250};
    bench.results.push_back({c, 10, us, rate(c, us.median, bench.roofs)});
  }
  return bench;
}

nlohmann::json parsed(const KernelBench& bench, const Provenance& provenance = {}) {
  return nlohmann::json::parse(kernel_bench_json(bench, provenance), nullptr, false);
}

TEST(KernelBenchJson, SaysWhatWasMeasuredWhereAndHow) {
  const nlohmann::json json = parsed(example(), {.qvl_version = "1.2.3",
                                                 .commit = "abc",
                                                 .command = "qvl bench kernel --model 4b",
                                                 .date = "2026-01-31T12:00:00Z"});
  EXPECT_EQ(json["schema"], "qvl.bench.kernel/1");
  EXPECT_EQ(json["qvl_version"], "1.2.3");
  EXPECT_EQ(json["commit"], "abc");
  EXPECT_EQ(json["command"], "qvl bench kernel --model 4b");
  EXPECT_EQ(json["date"], "2026-01-31T12:00:00Z");
  EXPECT_EQ(json["machine"]["cpu"], "A Processor");
  EXPECT_EQ(json["machine"]["cores"], 4);
  EXPECT_EQ(json["machine"]["isa"], "avx2");
  EXPECT_EQ(json["machine"]["memory_bytes"], 8'000'000'000);
  EXPECT_EQ(json["model"], "4b");
  EXPECT_EQ(json["dtype"], "bfloat16");
  EXPECT_EQ(json["threads"], 3);
  EXPECT_EQ(json["repeat"], 5);
}

TEST(KernelBenchJson, EachCaseHasItsTimesAndItsRoof) {
  const nlohmann::json json = parsed(example());
  ASSERT_EQ(json["cases"].size(), 2U);
  const nlohmann::json& qkv = json["cases"][0];
  EXPECT_EQ(qkv["op"], "rms_norm_linear");
  EXPECT_EQ(qkv["part"], "qkv");
  EXPECT_EQ(qkv["rows"], 8);
  EXPECT_EQ(qkv["in"], 2048);
  EXPECT_EQ(qkv["out"], 4096);
  EXPECT_EQ(qkv["bytes"], 10'000'000);
  EXPECT_EQ(qkv["flops"], 20'000'000);
  EXPECT_EQ(qkv["calls_per_sample"], 10);
  EXPECT_EQ(qkv["us"], (nlohmann::json{{"median", 1000.0}, {"p10", 900.0}, {"p90", 1250.0}}));
  EXPECT_EQ(qkv["gb_per_s"], 10.0);
  EXPECT_EQ(qkv["gflop_per_s"], 20.0);
  EXPECT_EQ(qkv["percent_of_read"], 50.0);
  EXPECT_EQ(qkv["percent_of_peak"], 20.0);
  EXPECT_EQ(qkv["bound"], "read");
  EXPECT_EQ(qkv["percent_of_roof"], 50.0);
  const nlohmann::json& decode = json["cases"][1];
  EXPECT_EQ(decode["context"], 512);
  EXPECT_EQ(decode["num_kv_heads"], 8);
  EXPECT_FALSE(decode.contains("in"));
}

TEST(KernelBenchJson, OnlyRoofsThatExistAreReported) {
  KernelBench bench = example();
  EXPECT_FALSE(parsed(bench)["roofs"].contains("bf16_gflop_per_s"));
  bench.roofs.bf16_gflop_per_s = Summary{400, 390, 410};
  EXPECT_EQ(parsed(bench)["roofs"]["bf16_gflop_per_s"]["median"], 400.0);
  EXPECT_EQ(parsed(bench)["roofs"]["read_gb_per_s"]["p90"], 21.0);
}

TEST(KernelBenchTable, HasOneLinePerCaseWithTimesInReadableUnits) {
  const std::string table = kernel_bench_table(example());
  EXPECT_NE(table.find("read 20.0 (p10 19.0, p90 21.0) GB/s"), std::string::npos) << table;
  EXPECT_NE(table.find("1.00 ms    900 us   1.25 ms    10.0   50 %"), std::string::npos) << table;
  EXPECT_NE(table.find("decode          1     512"), std::string::npos) << table;
}

TEST(KernelBenchTable, SaysThatABusyMachineWasMeasured) {
  KernelBench bench = example();
  EXPECT_EQ(kernel_bench_table(bench).find("note:"), std::string::npos);
  bench.machine.load_average = 3;
  EXPECT_NE(kernel_bench_table(bench).find("note: other processes are at work"), std::string::npos);
}

TEST(UtcNow, IsAnIsoDate) {
  const std::string now = utc_now();
  ASSERT_EQ(now.size(), 20U) << now;
  EXPECT_EQ(now[10], 'T');
  EXPECT_EQ(now[19], 'Z');
}

}  // namespace
}  // namespace qvl

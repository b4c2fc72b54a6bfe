// What the server tells about itself: metrics, access log, health.

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "server/access_log.h"
#include "server/health.h"
#include "server/http_server.h"
#include "server/http_testing.h"
#include "server/metrics.h"

namespace qvl {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The lines of one family, as they stand in the exposition.
std::string family(const std::string& text, const std::string& name) {
  std::istringstream lines(text);
  std::string found, line;
  while (std::getline(lines, line)) {
    const bool about = line.starts_with("# HELP " + name + " ") ||
                       line.starts_with("# TYPE " + name + " ") || line.starts_with(name + "{") ||
                       line.starts_with(name + " ") || line.starts_with(name + "_bucket{") ||
                       line.starts_with(name + "_sum{") || line.starts_with(name + "_count{");
    if (about) found += line + "\n";
  }
  return found;
}

TEST(Metrics, GaugesHaveVllmsNamesAndLabels) {
  Metrics metrics({.model_name = "qwen"});
  metrics.set_requests(3, 2, 1);
  metrics.set_kv_cache(0.25);
  metrics.set_kv_cache_size(64, 1000);
  const std::string text = metrics.text();
  EXPECT_EQ(family(text, "vllm:num_requests_running"),
            "# HELP vllm:num_requests_running Requests that are being computed.\n"
            "# TYPE vllm:num_requests_running gauge\n"
            "vllm:num_requests_running{engine=\"0\",model_name=\"qwen\"} 3\n");
  EXPECT_TRUE(has(text, "\nvllm:num_requests_waiting{engine=\"0\",model_name=\"qwen\"} 3\n"));
  EXPECT_TRUE(has(text,
                  "vllm:num_requests_waiting_by_reason{engine=\"0\","
                  "model_name=\"qwen\",reason=\"deferred\"} 1\n"));
  EXPECT_TRUE(has(text, "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"qwen\"} 0.25\n"));
  EXPECT_TRUE(has(text,
                  "vllm:cache_config_info{block_size=\"64\",engine=\"0\","
                  "model_name=\"qwen\",num_gpu_blocks=\"1000\"} 1\n"));
}

TEST(Metrics, HistogramsHaveVllmsBuckets) {
  Metrics metrics({.model_name = "m", .max_model_len = 60});
  metrics.observe_first_token(0.05);
  metrics.observe_first_token(3'000);
  const std::string labels = "engine=\"0\",model_name=\"m\"";
  std::string expected =
      "# HELP vllm:time_to_first_token_seconds From arrival to the first token.\n"
      "# TYPE vllm:time_to_first_token_seconds histogram\n"
      "vllm:time_to_first_token_seconds_count{" +
      labels +
      "} 2\n"
      "vllm:time_to_first_token_seconds_sum{" +
      labels + "} 3000.05\n";
  for (const auto& [bound, count] : {std::pair{"0.001", 0},
                                     {"0.005", 0},
                                     {"0.01", 0},
                                     {"0.02", 0},
                                     {"0.04", 0},
                                     {"0.06", 1},
                                     {"0.08", 1},
                                     {"0.1", 1},
                                     {"0.25", 1},
                                     {"0.5", 1},
                                     {"0.75", 1},
                                     {"1", 1},
                                     {"2.5", 1},
                                     {"5", 1},
                                     {"7.5", 1},
                                     {"10", 1},
                                     {"20", 1},
                                     {"40", 1},
                                     {"80", 1},
                                     {"160", 1},
                                     {"640", 1},
                                     {"2560", 1},
                                     {"+Inf", 2}}) {
    expected += "vllm:time_to_first_token_seconds_bucket{" + labels + ",le=\"" + bound + "\"} " +
                std::to_string(count) + "\n";
  }
  EXPECT_EQ(family(metrics.text(), "vllm:time_to_first_token_seconds"), expected);

  metrics.observe_finished({.prompt_tokens = 20});
  std::string bounds;
  std::istringstream lines(family(metrics.text(), "vllm:request_prompt_tokens"));
  for (std::string line; std::getline(lines, line);) {
    const size_t le = line.find("le=\"");
    if (le != std::string::npos) bounds += line.substr(le + 4) + ";";
  }
  EXPECT_EQ(bounds, "1\"} 0;2\"} 0;5\"} 0;10\"} 0;20\"} 1;50\"} 1;+Inf\"} 1;");
}

TEST(Metrics, WhatDashboardsAndRoutersReadIsThereFromTheStart) {
  const std::string text = Metrics({.model_name = "m"}).text();
  for (const char* name : {"vllm:num_requests_running",
                           "vllm:num_requests_waiting",
                           "vllm:kv_cache_usage_perc",
                           "vllm:gpu_cache_usage_perc",
                           "vllm:num_requests_swapped",
                           "vllm:lora_requests_info",
                           "vllm:prompt_tokens_total",
                           "vllm:generation_tokens_total",
                           "vllm:prefix_cache_queries_total",
                           "vllm:prefix_cache_hits_total",
                           "vllm:mm_cache_queries_total",
                           "vllm:mm_cache_hits_total",
                           "vllm:num_preemptions_total",
                           "vllm:corrupted_requests_total",
                           "vllm:inter_token_latency_seconds_count",
                           "vllm:time_per_output_token_seconds_count",
                           "vllm:e2e_request_latency_seconds_count",
                           "qvl:media_decode_seconds_count",
                           "qvl:preprocess_seconds_count",
                           "qvl:encoder_seconds_count",
                           "qvl:encoder_tokens_total",
                           "qvl:media_rejected_total",
                           "qvl:repetition_stops_total"}) {
    EXPECT_TRUE(has(text, "\n" + std::string(name) + "{")) << name;
  }
}

TEST(Metrics, StepsCountComputedCachedAndGeneratedTokens) {
  Metrics metrics({.model_name = "m"});
  metrics.add_steps(1, 100, 28, 4);
  metrics.add_steps(5, 0, 0, 5);
  metrics.add_steps(0, 0, 0, 0);  // nothing was done
  const std::string text = metrics.text();
  const auto value = [&](const std::string& name, const std::string& labels = "") {
    const std::string start = name + "{engine=\"0\",model_name=\"m\"" + labels + "} ";
    const size_t at = text.find("\n" + start);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + 1 + start.size()));
  };
  EXPECT_EQ(value("vllm:prompt_tokens_total"), 128);
  EXPECT_EQ(value("vllm:prompt_tokens_cached_total"), 28);
  EXPECT_EQ(value("vllm:prompt_tokens_by_source_total", ",source=\"local_compute\""), 100);
  EXPECT_EQ(value("vllm:prompt_tokens_by_source_total", ",source=\"local_cache_hit\""), 28);
  EXPECT_EQ(value("vllm:generation_tokens_total"), 9);
  EXPECT_EQ(value("vllm:iteration_tokens_total_sum"), 137);
  EXPECT_EQ(value("vllm:iteration_tokens_total_count"), 6);
}

TEST(Metrics, MemoryIsThatOfThePlanAndWhatIsLeft) {
  Metrics metrics({.model_name = "m"});
  const MemoryPlan plan = {
      .lines = {{"weights", 600, ""}, {"KV cache", 300, ""}}, .limit_bytes = 1000, .notes = {}};
  metrics.set_memory(MemoryPlace::host, plan);
  const std::string text = metrics.text();
  const std::string start = "\nqvl:host_memory_bytes{engine=\"0\",model_name=\"m\",pool=";
  EXPECT_TRUE(has(text, start + "\"weights\"} 600\n")) << text;
  EXPECT_TRUE(has(text, start + "\"kv_cache\"} 300\n"));
  EXPECT_TRUE(has(text, start + "\"free\"} 100\n"));
  EXPECT_FALSE(has(text, "qvl:gpu_memory_bytes{"));
  metrics.set_memory(MemoryPlace::gpu, plan);
  EXPECT_TRUE(has(metrics.text(),
                  "\nqvl:gpu_memory_bytes{engine=\"0\",model_name=\"m\",pool=\"free\"} 100\n"));
}

TEST(Metrics, AFinishedRequestIsCountedOnceInEachFamily) {
  Metrics metrics({.model_name = "m"});
  metrics.observe_finished({.reason = FinishReason::length,
                            .end_to_end = 6,
                            .queue = 1,
                            .prefill = 2,
                            .decode = 3,
                            .prompt_tokens = 10,
                            .computed_prompt_tokens = 4,
                            .generation_tokens = 14,
                            .longest_generation_tokens = 7,
                            .n = 2,
                            .max_tokens = 7});
  const std::string text = metrics.text();
  EXPECT_TRUE(has(text,
                  "vllm:request_success_total{engine=\"0\",finished_reason="
                  "\"length\",model_name=\"m\"} 1\n"));
  EXPECT_TRUE(has(text,
                  "vllm:request_success_total{engine=\"0\",finished_reason="
                  "\"stop\",model_name=\"m\"} 0\n"));
  for (const auto& [name, sum] : {std::pair{"e2e_request_latency_seconds", "6"},
                                  {"request_queue_time_seconds", "1"},
                                  {"request_inference_time_seconds", "5"},
                                  {"request_prefill_time_seconds", "2"},
                                  {"request_decode_time_seconds", "3"},
                                  {"request_prompt_tokens", "10"},
                                  {"request_prefill_kv_computed_tokens", "4"},
                                  {"request_generation_tokens", "14"},
                                  {"request_max_num_generation_tokens", "7"},
                                  {"request_params_n", "2"},
                                  {"request_params_max_tokens", "7"},
                                  {"request_time_per_output_token_seconds", "0.5"}}) {
    EXPECT_TRUE(has(
        text, "vllm:" + std::string(name) + "_sum{engine=\"0\",model_name=\"m\"} " + sum + "\n"));
  }
}

TEST(Metrics, RequestsOfHttpHaveBoundedLabels) {
  Metrics metrics({.model_name = "m"});
  metrics.observe_http({.method = "GET", .route = "/health", .status = 200, .seconds = 0.5});
  metrics.observe_http({.method = "GET", .route = "/health", .status = 204, .seconds = 0.5});
  for (const char* method : {"BREW", "get", "X\"Y"}) {
    metrics.observe_http({.method = method, .route = "-", .status = 405});
  }
  const std::string text = metrics.text();
  EXPECT_TRUE(
      has(text, "http_requests_total{handler=\"/health\",method=\"GET\",status=\"2xx\"} 2\n"));
  EXPECT_TRUE(has(text, "http_requests_total{handler=\"-\",method=\"other\",status=\"4xx\"} 3\n"));
  EXPECT_TRUE(
      has(text, "http_request_duration_seconds_sum{handler=\"/health\",method=\"GET\"} 1\n"));
}

TEST(Metrics, TheProcessIsMeasured) {
  const std::string text = Metrics({.model_name = "m"}).text();
  for (const char* name : {"process_cpu_seconds_total", "process_resident_memory_bytes",
                           "process_virtual_memory_bytes", "process_open_fds", "process_max_fds",
                           "process_start_time_seconds"}) {
    const size_t at = text.find("\n" + std::string(name) + " ");
    ASSERT_NE(at, std::string::npos) << name;
    EXPECT_GT(std::stod(text.substr(at + std::strlen(name) + 2)), 0) << name;
  }
}

TEST(AccessLog, ALineHasWhatTheRecordHasAndNoMore) {
  std::ostringstream out;
  AccessLog log(std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  log.write({.id = "my-id",
             .method = "POST",
             .route = "/v1/completions",
             .status = 200,
             .body_bytes = 512,
             .seconds = 0.01234});
  // "2026-11-21T19:20:30.123Z " and the fields
  ASSERT_EQ(out.str().find(' '), 24U);
  EXPECT_EQ(out.str()[10], 'T');
  EXPECT_EQ(out.str()[23], 'Z');
  EXPECT_EQ(out.str().substr(25),
            "id=my-id method=POST route=/v1/completions status=200 bytes=512 ms=12.3\n");
}

TEST(AccessLog, ALineOfARequestHasItsTokensAndTimes) {
  std::ostringstream out;
  AccessLog log(std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  log.write("my-id", FinishedRequest{.reason = FinishReason::length,
                                     .queue = 0.001,
                                     .prefill = 0.25,
                                     .decode = 1.5,
                                     .prompt_tokens = 20,
                                     .computed_prompt_tokens = 4,
                                     .generation_tokens = 16,
                                     .n = 2});
  EXPECT_EQ(out.str().substr(25),
            "id=my-id finish=length n=2 prompt_tokens=20 computed_prompt_tokens=4 "
            "generation_tokens=16 queue_ms=1.0 prefill_ms=250.0 decode_ms=1500.0\n");
}

TEST(AccessLog, LinesReachStandardErrorBeforeTheLogEnds) {
  ::testing::internal::CaptureStderr();
  {
    AccessLog log;
    for (int i = 0; i < 100; ++i)
      log.write({.id = "x", .method = "GET", .route = "/", .status = i});
    EXPECT_EQ(log.dropped(), 0U);
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 100);
}

class TelemetryRoutes : public ::testing::Test {
 protected:
  std::string ask(const std::string& request_line) {
    if (!server_) {
      Router router;
      add_health_routes(router, health);
      add_metrics_route(router, metrics, Access::open);
      server_ = std::move(*HttpServer::start({.port = 0}, std::move(router)));
    }
    TestClient client(server_->addresses().front());
    client.send(request_line + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return client.read_response();
  }
  std::string status(const std::string& request_line) { return ask(request_line).substr(9, 3); }

  HealthState health;
  Metrics metrics{{.model_name = "m"}};

 private:
  std::unique_ptr<HttpServer> server_;
};

TEST_F(TelemetryRoutes, HealthIsTheStateOfTheEngine) {
  const auto all = [this] {
    return status("GET /health") + status("GET /ping") + status("POST /ping") + status("GET /live");
  };
  EXPECT_EQ(all(), "503503503200");  // loading
  EXPECT_TRUE(has(ask("GET /health"), "retry-after: 1\r\n"));
  health.set(Health::ready);
  EXPECT_EQ(all(), "200200200200");
  EXPECT_TRUE(ask("GET /health").ends_with("{\"status\":\"ready\"}"));
  health.set(Health::draining);
  EXPECT_EQ(all(), "503503503200");
  health.set(Health::failed, "CUDA error 700");
  EXPECT_EQ(all(), "503503503503");
  EXPECT_TRUE(has(ask("GET /live"), "out of order: CUDA error 700"));
  health.set(Health::ready);
  EXPECT_EQ(health.get(), Health::failed);  // a failure is final
}

TEST_F(TelemetryRoutes, MetricsAreServedAsText) {
  const std::string response = ask("GET /metrics");
  EXPECT_TRUE(has(response, "content-type: text/plain; version=0.0.4"));
  EXPECT_TRUE(has(response, "\n# TYPE vllm:num_requests_running gauge\n"));
}

}  // namespace
}  // namespace qvl

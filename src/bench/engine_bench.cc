#include "bench/engine_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "runtime/fake_engine.h"
#include "runtime/memory.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

Json summary_json(const Summary& s) {
  return {{"median", s.median}, {"p10", s.p10}, {"p90", s.p90}};
}

Json provenance_json(const char* schema, const Provenance& p) {
  const Machine machine = this_machine();
  return {{"schema", schema},
          {"qvl_version", p.qvl_version},
          {"commit", p.commit},
          {"command", p.command},
          {"date", p.date},
          {"machine",
           {{"cpu", machine.cpu},
            {"cores", machine.cores},
            {"memory_bytes", machine.memory_bytes},
            {"load_average", machine.load_average}}}};
}

std::string dump(const Json& json) {
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Least squares of y over x.
double slope(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xy = 0;
  double xx = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean_x) * (y[i] - mean_y);
    xx += (x[i] - mean_x) * (x[i] - mean_x);
  }
  return xx > 0 ? xy / xx : 0;
}

class LoadMeter {
 public:
  LoadMeter(Engine& engine, int64_t vocab_size, const LoadOptions& options)
      : engine_(&engine), vocab_size_(vocab_size), options_(&options) {}

  struct Round {
    double prefill_tok_per_s = 0;
    std::optional<double> decode_tok_per_s;
  };
  /// Why the figures mean nothing: a refused request, or an engine that has failed.
  Status status() const {
    if (status_ && !engine_->failure().empty()) {
      return Error{ErrorCode::engine_failed, engine_->failure(), ""};
    }
    return status_;
  }

  /// Requests that come together, each with an answer of the full length.
  Round measure_round(int64_t concurrency) {
    for (int64_t i = 0; i < concurrency; ++i) submit(options_->output_tokens);
    const double begin = options_->now_ms();
    double all_decode_at = 0;
    double end_at = 0;
    int64_t decoding = 0;
    int64_t tokens = 0;
    bool has_ended = false;
    std::vector<int64_t> seen(static_cast<size_t>(concurrency));
    while (!engine_->idle()) {
      const bool all_decode = decoding == concurrency;
      const std::vector<Event> events = engine_->step();
      const double now = options_->now_ms();
      for (const Event& event : events) {
        // Ids follow one another: no two of one round are equal modulo its size.
        if (seen[static_cast<size_t>(event.request) % seen.size()]++ == 0) ++decoding;
        has_ended |= event.finish != FinishReason::none;
      }
      if (!all_decode && decoding == concurrency) {
        all_decode_at = now;
        if (has_ended) end_at = now;
      } else if (all_decode && end_at == 0) {
        tokens += static_cast<int64_t>(events.size());
        if (has_ended) end_at = now;
      }
    }
    Round round;
    round.prefill_tok_per_s =
        static_cast<double>(concurrency * options_->input_tokens) * 1e3 / (all_decode_at - begin);
    if (end_at > all_decode_at) {
      round.decode_tok_per_s = static_cast<double>(tokens) * 1e3 / (end_at - all_decode_at);
    }
    return round;
  }

  /// Tokens per second while each of `concurrency` clients sends its next request as the last one
  /// is answered. Their first answers have random lengths, which spreads the ends of the others.
  double measure_closed_loop(int64_t concurrency) {
    const int64_t first = concurrency;  // answers until the counting begins
    const int64_t last = concurrency * (options_->rounds + 1);
    for (int64_t i = 0; i < concurrency; ++i) {
      submit(1 + static_cast<int64_t>(random_() % static_cast<uint64_t>(options_->output_tokens)));
    }
    double begin = 0;
    double end = 0;
    int64_t ended = 0;
    int64_t tokens = 0;
    while (!engine_->idle()) {
      const std::vector<Event> events = engine_->step();
      if (ended >= first && ended < last) tokens += static_cast<int64_t>(events.size());
      const int64_t before = ended;
      for (const Event& event : events) ended += event.finish == FinishReason::none ? 0 : 1;
      if (before < first && ended >= first) begin = options_->now_ms();
      if (before < last && ended >= last) end = options_->now_ms();
      if (ended >= last) continue;
      for (int64_t i = before; i < ended; ++i) submit(options_->output_tokens);
    }
    return static_cast<double>(tokens) * 1e3 / (end - begin);
  }

 private:
  void submit(int64_t output_tokens) {
    Request request;
    for (int64_t t = 0; t < options_->input_tokens; ++t) {
      request.prompt_tokens.push_back(
          static_cast<int32_t>(random_() % static_cast<uint64_t>(vocab_size_)));
    }
    request.sampling = options_->sampling;
    request.sampling.seed = submitted_++;
    request.sampling.max_tokens = output_tokens;
    request.sampling.ignore_eos = true;
    const Result<RequestId> id = engine_->submit(std::move(request));
    if (!id && status_) status_ = id.error();
  }

  Engine* engine_;
  int64_t vocab_size_;
  const LoadOptions* options_;
  Status status_;
  uint64_t submitted_ = 0;
  std::mt19937_64 random_{1};
};

}  // namespace

StepCost measure_step_cost(int64_t rows, int64_t steps) {
  constexpr int64_t kPrompt = 100;
  constexpr int64_t kWarmUp = 20;
  EngineConfig config;
  config.max_num_seqs = rows;
  config.max_step_tokens = std::max<int64_t>(rows, 2048);
  config.max_queue = rows;
  const int64_t tokens = kPrompt + steps + 2 * kWarmUp;
  const auto engine =
      make_fake_engine({.kv_pages = rows * pages_for(tokens), .vocab_size = 100'000}, config);
  for (int64_t r = 0; r < rows; ++r) {
    Request request;
    for (int64_t i = 0; i < kPrompt; ++i) {
      request.prompt_tokens.push_back(static_cast<int32_t>(r * kPrompt + i) % 100'000);
    }
    request.sampling.max_tokens = steps + 2 * kWarmUp - 1;
    request.sampling.ignore_eos = true;
    (void)engine->submit(std::move(request));
  }
  while (engine->stats().generated_tokens < rows * kWarmUp) (void)engine->step();
  std::vector<double> us;
  for (int64_t i = 0; i < steps; ++i) {
    const Stopwatch clock;
    const std::vector<Event> events = engine->step();
    us.push_back(clock.ms() * 1e3);
    if (static_cast<int64_t>(events.size()) != rows) break;  // an answer has ended
  }
  StepCost cost{.rows = rows, .us = summarize(us)};
  std::sort(us.begin(), us.end());
  cost.p99_us = percentile(us, 0.99);
  return cost;
}

RequestCostRun measure_requests(int64_t requests, const std::function<void(int64_t)>& progress) {
  constexpr int64_t kAtOnce = 64;
  constexpr int64_t kSamples = 100;
  EngineConfig config;
  config.max_num_seqs = kAtOnce;
  config.max_step_tokens = 4096;
  config.max_patches = 64;
  const auto engine = make_fake_engine({.kv_pages = 512, .feature_rows = 64}, config);
  std::mt19937_64 random(1);
  RequestCostRun run{.requests = requests};
  std::vector<double> at;
  std::vector<double> rss;
  const Stopwatch clock;
  int64_t submitted = 0;
  int64_t done = 0;
  while (done < requests) {
    for (; submitted < requests && submitted - done < kAtOnce; ++submitted) {
      Request request;
      for (uint64_t i = 1 + random() % 8; i > 0; --i) {
        request.prompt_tokens.push_back(static_cast<int32_t>(random() % 1000));
      }
      if (random() % 8 == 0) append_picture(request, fake_picture(random() % 64, {1, 2, 4}));
      request.prompt_tokens.push_back(3);
      request.sampling.max_tokens = static_cast<int64_t>(1 + random() % 3);
      if (!engine->submit(std::move(request))) return run;
    }
    for (const Event& event : engine->step()) {
      if (event.finish == FinishReason::none) continue;
      ++done;
      if (done % std::max<int64_t>(1, requests / kSamples) != 0) continue;
      progress(done);
      if (done * 10 < requests) continue;
      at.push_back(static_cast<double>(done));
      rss.push_back(static_cast<double>(resident_bytes()));
    }
  }
  run.seconds = clock.ms() / 1e3;
  run.first_rss_bytes = static_cast<int64_t>(rss.front());
  run.last_rss_bytes = static_cast<int64_t>(rss.back());
  run.slope_bytes = slope(at, rss);
  return run;
}

Result<LoadBench> measure_load(Engine& engine, int64_t vocab_size, const LoadOptions& options,
                               LoadBench bench) {
  bench.options = options;
  bench.backend = engine.load_stats().backend;
  LoadMeter meter(engine, vocab_size, options);
  for (const int64_t concurrency : options.concurrency) {
    std::vector<double> decode;
    std::vector<double> prefill;
    for (int i = 0; i < options.rounds; ++i) {
      const LoadMeter::Round round = meter.measure_round(concurrency);
      if (Status status = meter.status(); !status) return status.error();
      prefill.push_back(round.prefill_tok_per_s);
      if (round.decode_tok_per_s) decode.push_back(*round.decode_tok_per_s);
    }
    LoadLevel level{.concurrency = concurrency, .prefill_tok_per_s = summarize(prefill)};
    if (!decode.empty()) level.decode_tok_per_s = summarize(decode);
    level.output_tok_per_s = meter.measure_closed_loop(concurrency);
    if (Status status = meter.status(); !status) return status.error();
    const auto rows = static_cast<double>(concurrency);
    const double context =
        static_cast<double>(options.input_tokens) + static_cast<double>(options.output_tokens) / 2;
    const double bytes = bench.step_weights.read_bytes(concurrency) +
                         rows * context * static_cast<double>(bench.kv_token_bytes);
    const double flops = bench.step_weights.flops(concurrency);
    const double seconds =
        std::max(bytes / (bench.read_gb_per_s * 1e9), flops / (bench.gflop_per_s * 1e9));
    level.limit_tok_per_s = rows / seconds;
    bench.levels.push_back(level);
  }
  return bench;
}

double StepWeights::read_bytes(int64_t rows) const {
  if (num_experts == 0) return static_cast<double>(bytes - saved_bytes);
  const double missed = 1 - static_cast<double>(top_k) / static_cast<double>(num_experts);
  const double taken = 1 - std::pow(missed, static_cast<double>(rows));
  return static_cast<double>(bytes) + taken * static_cast<double>(expert_bytes - saved_bytes);
}

double StepWeights::flops(int64_t rows) const {
  // Two operations a weight and row, and two bytes a weight.
  StepWeights plain = *this;
  plain.saved_bytes = 0;
  return static_cast<double>(rows) * plain.read_bytes(1);
}

StepWeights step_weights(const TextConfig& t) {
  const int64_t attention = t.hidden_size * (2 * t.q_size() + 2 * t.kv_size());
  StepWeights weights{.bytes =
                          2 * (t.num_hidden_layers * attention + t.vocab_size * t.hidden_size)};
  if (t.is_moe()) {
    const int64_t expert = 3 * t.hidden_size * t.moe_intermediate_size;
    weights.bytes += 2 * t.num_hidden_layers * t.num_experts * t.hidden_size;  // routers
    weights.expert_bytes = 2 * t.num_hidden_layers * t.num_experts * expert;
    weights.num_experts = t.num_experts;
    weights.top_k = t.num_experts_per_tok;
  } else {
    weights.bytes += 2 * t.num_hidden_layers * 3 * t.hidden_size * t.intermediate_size;
  }
  return weights;
}

std::string engine_bench_json(const std::vector<StepCost>& steps, const RequestCostRun& requests,
                              const Provenance& provenance) {
  Json out = provenance_json("qvl.bench.engine/1", provenance);
  out["steps"] = Json::array();
  for (const StepCost& s : steps) {
    out["steps"].push_back({{"rows", s.rows}, {"us", summary_json(s.us)}, {"p99_us", s.p99_us}});
  }
  if (requests.requests > 0) {
    out["requests"] = {{"requests", requests.requests},
                       {"seconds", requests.seconds},
                       {"rss_bytes_after_a_tenth", requests.first_rss_bytes},
                       {"rss_bytes_at_the_end", requests.last_rss_bytes},
                       {"rss_bytes_per_request", requests.slope_bytes}};
  }
  return dump(out);
}

std::string engine_bench_table(const std::vector<StepCost>& steps, const RequestCostRun& requests) {
  std::string out =
      fmt::format("{:>6}{:>12}{:>10}{:>10}{:>10}\n", "rows", "us per step", "p10", "p90", "p99");
  for (const StepCost& s : steps) {
    out += fmt::format("{:>6}{:>12.1f}{:>10.1f}{:>10.1f}{:>10.1f}\n", s.rows, s.us.median, s.us.p10,
                       s.us.p90, s.p99_us);
  }
  if (requests.requests > 0) {
    out += fmt::format(
        "{} requests in {:.1f} s; resident {} after a tenth, {} at the end: {:.3f} bytes per "
        "request\n",
        requests.requests, requests.seconds, format_bytes(requests.first_rss_bytes),
        format_bytes(requests.last_rss_bytes), requests.slope_bytes);
  }
  return out;
}

std::string load_bench_json(const LoadBench& bench, const std::string& model,
                            const Provenance& provenance) {
  Json out = provenance_json("qvl.bench.load/1", provenance);
  out["model"] = model;
  out["backend"] = bench.backend;
  out["input_tokens"] = bench.options.input_tokens;
  out["output_tokens"] = bench.options.output_tokens;
  out["rounds"] = bench.options.rounds;
  out["roofs"] = {{"read_gb_per_s", bench.read_gb_per_s}, {"gflop_per_s", bench.gflop_per_s}};
  out["step_weight_bytes"] = bench.step_weights.bytes;
  out["expert_weight_bytes"] = bench.step_weights.expert_bytes;
  out["saved_weight_bytes"] = bench.step_weights.saved_bytes;
  out["kv_token_bytes"] = bench.kv_token_bytes;
  out["levels"] = Json::array();
  for (const LoadLevel& l : bench.levels) {
    out["levels"].push_back(
        {{"concurrency", l.concurrency},
         {"decode_tok_per_s", l.decode_tok_per_s ? summary_json(*l.decode_tok_per_s) : Json()},
         {"limit_tok_per_s", l.limit_tok_per_s},
         {"prefill_tok_per_s", summary_json(l.prefill_tok_per_s)},
         {"output_tok_per_s", l.output_tok_per_s}});
  }
  return dump(out);
}

std::string load_bench_table(const LoadBench& bench) {
  std::string out = fmt::format(
      "{}; {} tokens in, {} out; roofs: read {:.1f} GB/s, products {:.0f} GFLOP/s\n\n"
      "{:>12}{:>15}{:>10}{:>10}{:>10}{:>9}{:>16}{:>15}\n",
      bench.backend, bench.options.input_tokens, bench.options.output_tokens, bench.read_gb_per_s,
      bench.gflop_per_s, "concurrency", "decode tok/s", "p10", "p90", "limit", "of it",
      "prefill tok/s", "output tok/s");
  bool has_gap = false;
  for (const LoadLevel& l : bench.levels) {
    has_gap |= !l.decode_tok_per_s;
    const std::string decode =
        l.decode_tok_per_s ? fmt::format("{:>15.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>7.0f} %",
                                         l.decode_tok_per_s->median, l.decode_tok_per_s->p10,
                                         l.decode_tok_per_s->p90, l.limit_tok_per_s,
                                         100 * l.decode_tok_per_s->median / l.limit_tok_per_s)
                           : fmt::format("{:>15}{:>10}{:>10}{:>10.1f}{:>9}", "-", "-", "-",
                                         l.limit_tok_per_s, "-");
    out += fmt::format("{:>12}{}{:>16.1f}{:>15.1f}\n", l.concurrency, decode,
                       l.prefill_tok_per_s.median, l.output_tok_per_s);
  }
  if (has_gap) {
    out +=
        "-: the first answer ended before the last prompt was prefilled; raise --output-len or "
        "--max-num-batched-tokens\n";
  }
  return out;
}

}  // namespace qvl

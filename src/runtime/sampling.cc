#include "qvl/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "runtime/philox.h"
#include "text/unicode.h"

namespace qvl {
namespace {

constexpr int64_t kNoLimit = INT64_MAX;
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxStopTokens = 1024;
constexpr size_t kMaxBiases = 1024;
constexpr int64_t kShortAnswer = 512;

enum class Lower : uint8_t { closed, open };

struct NumberRule {
  const char* field;
  float found;
  Lower lower;
  float least;
  float most;
};

struct IntegerRule {
  const char* field;
  int64_t found;
  int64_t least;
  int64_t most;
};

Error out_of_range(const char* field, const std::string& found, const std::string& range) {
  return {ErrorCode::bad_sampling, fmt::format("found {}, expected {}", found, range), field};
}

Status check(const NumberRule& rule) {
  const bool above = rule.lower == Lower::open ? rule.found > rule.least : rule.found >= rule.least;
  if (above && rule.found <= rule.most) return {};
  return out_of_range(rule.field, fmt::format("{}", rule.found),
                      rule.lower == Lower::open
                          ? fmt::format("more than {}, at most {}", rule.least, rule.most)
                          : fmt::format("{} to {}", rule.least, rule.most));
}

Status check(const IntegerRule& rule) {
  if (rule.found >= rule.least && rule.found <= rule.most) return {};
  return out_of_range(rule.field, fmt::format("{}", rule.found),
                      rule.most == kNoLimit ? fmt::format("{} or more", rule.least)
                                            : fmt::format("{} to {}", rule.least, rule.most));
}

Status check_tokens(const char* field, const std::vector<int32_t>& tokens) {
  if (tokens.size() > kMaxStopTokens) {
    return out_of_range(field, fmt::format("{} tokens", tokens.size()),
                        fmt::format("at most {}", kMaxStopTokens));
  }
  for (const int32_t token : tokens) {
    if (token < 0) return out_of_range(field, fmt::format("{}", token), "a token id");
  }
  return {};
}

Status check_stop(const std::vector<std::string>& stop) {
  if (stop.size() > kMaxStops) {
    return out_of_range("stop", fmt::format("{} strings", stop.size()),
                        fmt::format("at most {}", kMaxStops));
  }
  for (const std::string& text : stop) {
    if (text.empty() || text.size() > kMaxStopBytes) {
      return out_of_range("stop", fmt::format("a string of {} bytes", text.size()),
                          fmt::format("1 to {} bytes", kMaxStopBytes));
    }
    if (!is_valid_utf8(text)) return out_of_range("stop", "bytes that are no text", "UTF-8");
  }
  return {};
}

Status check_bias(const std::vector<LogitBias>& bias) {
  if (bias.size() > kMaxBiases) {
    return out_of_range("logit_bias", fmt::format("{} tokens", bias.size()),
                        fmt::format("at most {}", kMaxBiases));
  }
  std::vector<int32_t> tokens;
  tokens.reserve(bias.size());
  for (const LogitBias& b : bias) {
    if (b.token < 0) return out_of_range("logit_bias", fmt::format("{}", b.token), "a token id");
    Status in_range = check(NumberRule{"logit_bias", b.bias, Lower::closed, -100.0F, 100.0F});
    if (!in_range) return in_range;
    tokens.push_back(b.token);
  }
  std::sort(tokens.begin(), tokens.end());
  const auto twin = std::adjacent_find(tokens.begin(), tokens.end());
  if (twin == tokens.end()) return {};
  return out_of_range("logit_bias", fmt::format("token {} twice", *twin), "each token once");
}

}  // namespace

Status validate(const SamplingParams& p) {
  const std::array numbers = {
      NumberRule{"temperature", p.temperature, Lower::closed, 0, 2},
      NumberRule{"top_p", p.top_p, Lower::open, 0, 1},
      NumberRule{"min_p", p.min_p, Lower::closed, 0, 1},
      NumberRule{"repetition_penalty", p.repetition_penalty, Lower::closed, 0.01F, 10},
      NumberRule{"presence_penalty", p.presence_penalty, Lower::closed, -2, 2},
      NumberRule{"frequency_penalty", p.frequency_penalty, Lower::closed, -2, 2},
  };
  for (const NumberRule& rule : numbers) {
    if (Status status = check(rule); !status) return status;
  }
  const std::array integers = {
      IntegerRule{"top_k", p.top_k, 0, kNoLimit},
      IntegerRule{"n", p.n, 1, 128},
      IntegerRule{"max_tokens", p.max_tokens, 1, kNoLimit},
      IntegerRule{"min_tokens", p.min_tokens, 0, p.max_tokens},
      IntegerRule{"top_logprobs", p.top_logprobs, -1, 20},
  };
  for (const IntegerRule& rule : integers) {
    if (Status status = check(rule); !status) return status;
  }
  for (Status status : {check_tokens("eos_token_ids", p.eos_token_ids),
                        check_tokens("stop_token_ids", p.stop_token_ids), check_stop(p.stop),
                        check_bias(p.logit_bias)}) {
    if (!status) return status;
  }
  return {};
}

uint64_t answer_seed(uint64_t seed, int index) {
  if (index == 0) return seed;
  const auto r = philox(seed, static_cast<uint64_t>(index), 1);
  return uint64_t{r[0]} << 32 | r[1];
}

bool repetition_guard_is_on(const SamplingParams& p) {
  if (p.repetition_guard != RepetitionGuard::automatic) {
    return p.repetition_guard == RepetitionGuard::on;
  }
  return p.max_tokens > kShortAnswer && !p.ignore_eos;
}

}  // namespace qvl

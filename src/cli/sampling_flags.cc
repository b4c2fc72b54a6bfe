#include "cli/sampling_flags.h"

#include <fmt/format.h>

#include <charconv>

#include "cli/engine_flags.h"
#include "model/sampling_defaults.h"

namespace qvl {
namespace {

/// "151645=-100"
Result<LogitBias> parse_bias(const std::string& text) {
  const Error bad{ErrorCode::bad_flag,
                  fmt::format("found '{}', expected a token id and a number such as 1234=-5", text),
                  "--logit-bias"};
  LogitBias bias;
  const char* const end = text.data() + text.size();
  const auto id = std::from_chars(text.data(), end, bias.token);
  if (id.ec != std::errc() || id.ptr == end || *id.ptr != '=') return bad;
  const auto value = std::from_chars(id.ptr + 1, end, bias.bias);
  if (value.ec != std::errc() || value.ptr != end) return bad;
  return bias;
}

Result<RepetitionGuard> parse_guard(const std::string& text) {
  if (text == "auto") return RepetitionGuard::automatic;
  if (text == "on") return RepetitionGuard::on;
  if (text == "off") return RepetitionGuard::off;
  return Error{ErrorCode::bad_flag, fmt::format("found '{}', expected auto, on or off", text),
               "--repetition-guard"};
}

/// Merges field by field and keeps book of where each value came from.
class Merge {
 public:
  template <class T>
  void choose(const char* name, T& value, const std::optional<T>& flag,
              const std::optional<T>& checkpoint) {
    const char* origin = flag ? "flag" : checkpoint ? "checkpoint" : "default";
    value = flag ? *flag : checkpoint ? *checkpoint : value;
    if (!text_.empty()) text_ += ", ";
    text_ += fmt::format("{} {} ({})", name, value, origin);
  }
  std::string text() { return std::move(text_); }

 private:
  std::string text_;
};

}  // namespace

void add_sampling_flags(CLI::App& app, SamplingFlags& flags) {
  const auto flag = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help);
  };
  const auto list = [&](const char* name, auto& value, const char* help) {
    flag(name, value, help)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  const auto toggle = [&](const char* name, bool& value, const char* help) {
    app.add_flag(name, value, help);
  };
  flag("--temperature", flags.temperature,
       "0: always the most likely token; this and the next seven: default as the checkpoint says");
  flag("--top-k", flags.top_k, "sample among the k most likely tokens; 0: all");
  flag("--top-p", flags.top_p, "sample among the most likely tokens of this total probability");
  flag("--min-p", flags.min_p,
       "sample among tokens with at least this share of the most likely one's probability");
  flag("--repetition-penalty", flags.repetition_penalty,
       "more than 1: make tokens of prompt and answer less likely");
  flag("--presence-penalty", flags.presence_penalty,
       "more than 0: make tokens of the answer less likely");
  flag("--frequency-penalty", flags.frequency_penalty, "the same for each time they occurred");
  flag("--max-tokens", flags.max_tokens, "longest answer; 512 if the checkpoint does not say");
  list("--logit-bias", flags.logit_bias, "ID=BIAS: add to a token's logit; may be repeated");
  flag("--seed", flags.seed, "of the random numbers")->capture_default_str();
  flag("--min-tokens", flags.min_tokens, "the answer does not end before")->capture_default_str();
  list("--stop", flags.stop, "text that ends the answer; may be repeated");
  list("--stop-token-id", flags.stop_token_ids, "token that ends the answer; may be repeated");
  toggle("--include-stop", flags.include_stop_str_in_output,
         "the text that ended the answer is part of it");
  toggle("--ignore-eos", flags.ignore_eos, "the model's end token does not end the answer");
  flag("--repetition-guard", flags.repetition_guard,
       "end an answer that loops: on, off, or auto: on when --max-tokens is above 512")
      ->capture_default_str();
}

Result<ChosenSampling> choose_sampling(const SamplingFlags& flags,
                                       const GenerationConfig& checkpoint,
                                       const Tokenizer& tokenizer) {
  const GenerationConfig g = effective_generation(checkpoint);
  ChosenSampling out;
  SamplingParams& p = out.params;
  p = default_sampling(checkpoint, tokenizer);
  Merge merge;
  merge.choose("temperature", p.temperature, flags.temperature, g.temperature);
  merge.choose("top_k", p.top_k, flags.top_k, g.top_k);
  merge.choose("top_p", p.top_p, flags.top_p, g.top_p);
  merge.choose("min_p", p.min_p, flags.min_p, g.min_p);
  merge.choose("repetition_penalty", p.repetition_penalty, flags.repetition_penalty,
               g.repetition_penalty);
  merge.choose("presence_penalty", p.presence_penalty, flags.presence_penalty, g.presence_penalty);
  merge.choose("frequency_penalty", p.frequency_penalty, flags.frequency_penalty,
               g.frequency_penalty);
  merge.choose("max_tokens", p.max_tokens, flags.max_tokens, g.max_new_tokens);
  out.origins = merge.text() + fmt::format(", seed {}", flags.seed);

  for (const std::string& text : flags.logit_bias) {
    const Result<LogitBias> bias = parse_bias(text);
    if (!bias) return bias.error();
    p.logit_bias.push_back(*bias);
  }
  const Result<RepetitionGuard> guard = parse_guard(flags.repetition_guard);
  if (!guard) return guard.error();
  p.repetition_guard = *guard;
  p.seed = flags.seed;
  p.min_tokens = flags.min_tokens;
  p.stop = flags.stop;
  p.stop_token_ids = flags.stop_token_ids;
  p.include_stop_str_in_output = flags.include_stop_str_in_output;
  p.ignore_eos = flags.ignore_eos;
  const Status valid = validate(p);
  if (!valid) return valid.error();
  return out;
}

}  // namespace qvl

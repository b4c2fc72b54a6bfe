#include "cli/generation.h"

#include <fmt/format.h>

#include <algorithm>

namespace qvl {

Result<Generation> generate(Engine& engine, Request request, const Tokenizer& tokenizer,
                            const GenerationHooks& hooks) {
  Generation out{Answer(tokenizer, request.sampling), {}};
  const Result<RequestId> id = engine.submit(std::move(request));
  if (!id) return id.error();
  while (!out.answer.finished()) {
    for (const Event& event : engine.step()) {
      if (event.request != *id) continue;
      if (event.token >= 0 && !out.answer.wants_cancel()) out.events.push_back(event);
      const std::string text = out.answer.push(event);
      if (!text.empty()) hooks.on_text(text);
    }
    if (out.answer.wants_cancel() || hooks.wants_stop()) engine.cancel(*id);
  }
  if (out.answer.finish_reason() == FinishReason::error) {
    return Error{ErrorCode::no_finite_logits, fmt::format("after {} tokens", out.events.size()),
                 ""};
  }
  return out;
}

std::vector<double> token_gaps_ms(const std::vector<Event>& events) {
  std::vector<double> gaps;
  for (size_t i = 1; i < events.size(); ++i) {
    gaps.push_back(events[i].at_ms - events[i - 1].at_ms);
  }
  std::sort(gaps.begin(), gaps.end());
  return gaps;
}

double percentile(const std::vector<double>& values, double fraction) {
  if (values.empty()) return 0;
  return values[static_cast<size_t>(fraction * static_cast<double>(values.size() - 1))];
}

double tokens_per_second(int64_t tokens, double ms) {
  return ms > 0 ? static_cast<double>(tokens) * 1000.0 / ms : 0;
}

std::string stats_text(const Generation& generation, const MediaTimings& media) {
  const Timings& t = generation.answer.timings();
  const Usage& u = generation.answer.usage();
  const std::vector<double> gaps = token_gaps_ms(generation.events);
  std::string out = fmt::format(
      "tokens    {} of prompt ({} of pictures, {} cached), {} of answer, ended by {}\n", u.prompt_tokens,
      u.image_tokens, u.cached_tokens, u.completion_tokens, finish_reason_name(generation.answer.finish_reason()));
  out += fmt::format("media     decode {:.1f} ms, resize {:.1f} ms\n", media.decode_ms,
                     media.resize_ms);
  out += fmt::format("vision    {:.1f} ms\n", t.vision_ms);
  out += fmt::format("prefill   {:.1f} ms, {:.1f} tokens/s\n", t.prefill_ms,
                     tokens_per_second(u.prompt_tokens - u.cached_tokens, t.prefill_ms));
  out += fmt::format(
      "decode    {:.1f} ms, {:.1f} tokens/s; a token takes {:.1f} ms (median), {:.1f} ms (p90)\n",
      t.decode_ms, tokens_per_second(u.completion_tokens - 1, t.decode_ms), percentile(gaps, 0.5),
      percentile(gaps, 0.9));
  return out;
}

}  // namespace qvl

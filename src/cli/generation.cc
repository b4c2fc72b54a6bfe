#include "cli/generation.h"

#include <fmt/format.h>

#include <algorithm>

namespace qvl {

namespace {

/// `on_text` gets the answer's index too.
Result<std::vector<Generation>> run_request(
    Engine& engine, Request request, const Tokenizer& tokenizer,
    const std::function<void(int, const std::string&)>& on_text,
    const std::function<bool()>& wants_stop) {
  std::vector<Generation> all;
  all.reserve(static_cast<size_t>(request.sampling.n));
  for (int i = 0; i < request.sampling.n; ++i) {
    all.push_back({Answer(tokenizer, request.sampling), {}});
  }
  const Result<RequestId> id = engine.submit(std::move(request));
  if (!id) return id.error();
  const auto unfinished = [](const Generation& g) { return !g.answer.finished(); };
  while (std::any_of(all.begin(), all.end(), unfinished)) {
    for (const Event& event : engine.step()) {
      if (event.request != *id) continue;
      Generation& out = all[static_cast<size_t>(event.index)];
      if (event.token >= 0 && !out.answer.wants_cancel()) out.events.push_back(event);
      const std::string text = out.answer.push(event);
      if (!text.empty()) on_text(event.index, text);
    }
    if (wants_stop()) engine.cancel(*id);
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].answer.wants_cancel()) engine.cancel_answer(*id, static_cast<int>(i));
    }
  }
  for (const Generation& g : all) {
    if (g.answer.finish_reason() != FinishReason::error) continue;
    return Error{ErrorCode::no_finite_logits, fmt::format("after {} tokens", g.events.size()), ""};
  }
  return all;
}

}  // namespace

Result<Generation> generate(Engine& engine, Request request, const Tokenizer& tokenizer,
                            const GenerationHooks& hooks) {
  const auto on_text = [&](int, const std::string& text) { hooks.on_text(text); };
  Result<std::vector<Generation>> all =
      run_request(engine, std::move(request), tokenizer, on_text, hooks.wants_stop);
  if (!all) return all.error();
  return std::move(all->front());
}

Result<std::vector<Generation>> generate_all(Engine& engine, Request request,
                                             const Tokenizer& tokenizer) {
  return run_request(
      engine, std::move(request), tokenizer, [](int, const std::string&) {}, [] { return false; });
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
  std::string out =
      fmt::format("tokens    {} of prompt ({} of pictures, {} cached), {} of answer, ended by {}\n",
                  u.prompt_tokens, u.image_tokens, u.cached_tokens, u.completion_tokens,
                  finish_reason_name(generation.answer.finish_reason()));
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

#pragma once

/// One request from submission to its last event, and what it cost.

#include <functional>
#include <string>
#include <vector>

#include "model/processor.h"
#include "qvl/engine.h"
#include "runtime/answer.h"

namespace qvl {

struct Generation {
  Answer answer;
  std::vector<Event> events;  ///< those that carry tokens of the answer
};

struct GenerationHooks {
  std::function<void(const std::string& text)> on_text;     ///< text that became certain
  std::function<bool()> wants_stop = [] { return false; };  ///< asked between steps
};

/// The one answer of a request with n = 1. Errors: what submit() refuses; no_finite_logits.
Result<Generation> generate(Engine& engine, Request request, const Tokenizer& tokenizer,
                            const GenerationHooks& hooks);
/// All answers of a request, in order. Errors as above.
Result<std::vector<Generation>> generate_all(Engine& engine, Request request,
                                             const Tokenizer& tokenizer);

/// Milliseconds from each token to the next, ascending.
std::vector<double> token_gaps_ms(const std::vector<Event>& events);
/// Of ascending values; 0 if there are none.
double percentile(const std::vector<double>& values, double fraction);
double tokens_per_second(int64_t tokens, double ms);

/// Lines "tokens …", "media …", "vision …", "prefill …", "decode …", each with a newline.
std::string stats_text(const Generation& generation, const MediaTimings& media);

}  // namespace qvl

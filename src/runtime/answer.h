#pragma once

/// One answer as its reader sees it: the events of one answer in, text out. Used by everything that
/// shows text; the engine itself knows none.
///
///   Answer answer(tokenizer, request.sampling);
///   while (!answer.finished()) {
///     for (const Event& event : engine.step()) show(answer.push(event));
///     if (answer.wants_cancel()) engine.cancel_answer(id, index);
///   }

#include <cstdint>
#include <string>
#include <variant>

#include "qvl/request.h"
#include "runtime/stop_strings.h"
#include "text/detokenizer.h"

namespace qvl {

/// As vLLM's field of this name: nothing for the model's own end, the stop string, the stop token,
/// or "repetition".
using StopReason = std::variant<std::monostate, std::string, int32_t>;

class Answer {
 public:
  /// The tokenizer outlives the answer.
  Answer(const Tokenizer& tokenizer, const SamplingParams& sampling,
         Detokenizer::Special special = Detokenizer::Special::skip);

  /// The next event of this answer → text that became certain, whole characters; may be empty. Text
  /// that may yet become a stop string is held back. Before min_tokens tokens are generated, and
  /// with the last of them, no stop string ends the answer.
  std::string push(const Event& event);

  /// A stop string has ended the answer but the engine does not know yet: cancel the answer. Its
  /// last event completes it; tokens that come before are dropped.
  bool wants_cancel() const { return stops_.matched() != nullptr && !finished_; }
  /// The last event was there.
  bool finished() const { return finished_; }

  const std::string& text() const { return text_; }  ///< all that push() gave
  // When finished:
  FinishReason finish_reason() const { return finish_; }
  StopReason stop_reason() const;
  const Usage& usage() const { return usage_; }
  const Timings& timings() const { return timings_; }

 private:
  std::string filtered(const std::string& piece);

  Detokenizer detokenizer_;
  StopStrings stops_;
  int64_t min_tokens_;
  int64_t tokens_ = 0;
  std::string text_;
  bool finished_ = false;
  FinishReason finish_ = FinishReason::none;
  StopCause cause_ = StopCause::none;
  int32_t stop_token_ = -1;
  Usage usage_;
  Timings timings_;
};

}  // namespace qvl

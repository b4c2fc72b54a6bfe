#include "runtime/answer.h"

#include "core/check.h"

namespace qvl {

Answer::Answer(const Tokenizer& tokenizer, const SamplingParams& sampling,
               Detokenizer::Special special)
    : detokenizer_(tokenizer, special),
      stops_(sampling.stop, sampling.include_stop_str_in_output ? StopStrings::Include::yes
                                                                : StopStrings::Include::no),
      min_tokens_(sampling.min_tokens) {}

/// When stop strings count: as vLLM, detokenizer.py, BaseIncrementalDetokenizer.update.
std::string Answer::filtered(const std::string& piece) {
  return stops_.push(
      piece, tokens_ > min_tokens_ ? StopStrings::Ending::allowed : StopStrings::Ending::not_yet);
}

std::string Answer::push(const Event& event) {
  require(!finished_, "an event after an answer's last");
  std::string out;
  if (event.token >= 0 && stops_.matched() == nullptr) {
    ++tokens_;
    out = filtered(detokenizer_.push(event.token));
  }
  if (event.finish != FinishReason::none) {
    finished_ = true;
    finish_ = event.finish;
    cause_ = event.stop_cause;
    stop_token_ = event.stop_token;
    usage_ = event.usage;
    timings_ = event.timings;
    if (stops_.matched() == nullptr) out += filtered(detokenizer_.finish());
    if (stops_.matched() == nullptr) {
      out += stops_.finish();
    } else {
      finish_ = FinishReason::stop;
      cause_ = StopCause::stop_string;
      usage_.completion_tokens = tokens_;
    }
  }
  text_ += out;
  return out;
}

StopReason Answer::stop_reason() const {
  switch (cause_) {
    case StopCause::stop_token:
      return stop_token_;
    case StopCause::stop_string:
      return *stops_.matched();
    case StopCause::repetition:
      return "repetition";
    case StopCause::none:
    case StopCause::eos:
      break;
  }
  return {};
}

}  // namespace qvl

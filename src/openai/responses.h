#pragma once

/// Bodies and stream frames of answers, in the field order of vLLM. Nothing here can fail, whatever
/// bytes the texts have: what is not UTF-8 becomes U+FFFD.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/processor.h"
#include "qvl/request.h"
#include "runtime/answer.h"
#include "text/tokenizer.h"

namespace qvl {

using WireJson = nlohmann::ordered_json;

/// One line of JSON.
std::string dump(const WireJson& json);

/// `prefix` and 128 random bits.
std::string make_id(std::string_view prefix);

/// Code points of valid UTF-8.
int64_t count_characters(std::string_view text);

/// What is the same in every frame of an answer.
struct ReplyHead {
  std::string id;       ///< "chatcmpl-…" or "cmpl-…"
  int64_t created = 0;  ///< seconds since 1970
  std::string model;
  std::string fingerprint;
};

/// {"prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details"}; with
/// reasoning_tokens ≥ 0 also completion_tokens_details.
WireJson usage_json(const Usage& usage, int64_t reasoning_tokens);

/// Milliseconds by stage and tokens per second, of one answer.
WireJson timings_json(const Timings& timings, const Usage& usage, const MediaTimings& media);

/// "stop", "length", "abort" or "error"; null while it goes on.
WireJson finish_reason_json(FinishReason reason);
/// Null, the stop string, the stop token or "repetition".
WireJson stop_reason_json(const StopReason& reason);

/// How log probabilities name tokens.
enum class TokenNames : uint8_t { text, ids };

/// {"token", "logprob", "bytes", "top_logprobs"}; −9999 stands for minus infinity.
WireJson chat_logprob_json(const Event& event, const Tokenizer& tokenizer, TokenNames names);

/// {"text_offset", "token_logprobs", "tokens", "top_logprobs"} of some tokens. Offsets count
/// characters and begin with `offset`, which is moved behind them.
WireJson completion_logprobs_json(const std::vector<Event>& events, const Tokenizer& tokenizer,
                                  TokenNames names, int64_t& offset);

/// A finished choice of a chat completion.
struct ChatChoice {
  std::string content;
  std::optional<std::string> reasoning;  ///< of a thinking model
  WireJson logprobs;                     ///< null, or {"content": […]}
  FinishReason finish = FinishReason::none;
  StopReason stop_reason;
};

WireJson chat_body(const ReplyHead& head, const std::vector<ChatChoice>& choices,
                   const WireJson& usage, const WireJson& timings);
/// A frame of a chat stream with one choice; stop_reason is only there at its end.
WireJson chat_chunk(const ReplyHead& head, int index, const WireJson& delta,
                    const WireJson& logprobs, FinishReason finish, const StopReason& stop_reason);

struct TextChoice {
  std::string text;
  WireJson logprobs;
  FinishReason finish = FinishReason::none;
  StopReason stop_reason;
};

/// Both the body and a frame of a stream, which has one choice whose index is `first_index`.
WireJson text_completion(const ReplyHead& head, const std::vector<TextChoice>& choices,
                         int first_index);

/// The frame behind all others: no choices.
WireJson usage_chunk(const ReplyHead& head, std::string_view object, const WireJson& usage);

}  // namespace qvl

#pragma once

/// A parsed request → what the engine takes: pictures decoded and scaled, template rendered,
/// tokens.

#include "model/processor.h"
#include "openai/chat_request.h"
#include "openai/completion_request.h"
#include "qvl/request.h"

namespace qvl {

/// The model that answers, as its clients see it.
struct ServedModel {
  const Processor* processor = nullptr;
  std::vector<std::string> names;  ///< the first is its name in answers; cases do not matter
  int64_t context = 0;             ///< tokens of the longest prompt and answer
  std::string fingerprint;         ///< of program and weights, "qvl-0.1.0"
};

struct PreparedRequest {
  Request request;
  MediaTimings media;
  std::string echo;  ///< text that goes before the answer; empty unless asked for
  /// The prompt ends inside <think>…</think>, so that the answer begins with reasoning.
  bool starts_in_reasoning = false;
};

/// Errors besides those of decoding, scaling and rendering: unknown_model; prompt_too_long, with
/// the arithmetic. Pictures count against the limits in the order of their parts.
Result<PreparedRequest> prepare_chat(const ChatRequest& chat, const ServedModel& model,
                                     const WireLimits& limits);

/// One request per prompt. bad_request for a prompt with placeholders of pictures. Adds a warning
/// for a prompt whose text looks like control tokens.
Result<std::vector<PreparedRequest>> prepare_completion(CompletionRequest& completion,
                                                        const ServedModel& model);

}  // namespace qvl

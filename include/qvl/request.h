#pragma once

/// What goes into the engine and what comes out of it: plain data, so that the two sides may one
/// day live in different processes.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/error.h"
#include "qvl/media.h"
#include "qvl/sampling.h"

namespace qvl {

using RequestId = uint64_t;

/// A run of placeholder tokens of a prompt whose embeddings come from the vision tower: one
/// picture, or one temporal slice of a video.
struct EmbedSpan {
  int64_t first_token = 0;
  int64_t rows = 0;  ///< tokens; merged_h · merged_w
  int merged_h = 0;  ///< grid after merging spatial_merge_size² patches into a token
  int merged_w = 0;
  int media = 0;               ///< index into Request::media
  int64_t feature_row = 0;     ///< first row of this span in the features of its media item
  ContentHash content_hash{};  ///< of the media item

  int64_t end() const { return first_token + rows; }
};

struct Request {
  std::vector<int32_t> prompt_tokens;  ///< placeholders expanded
  std::vector<EmbedSpan> spans;        ///< ascending, disjoint
  /// Their content hashes decide which requests share cached keys and values: different rows must
  /// have different hashes.
  std::vector<Patches> media;
  std::string cache_salt;  ///< only requests of one salt share; at most 1024 bytes
  SamplingParams sampling;
  int priority = 0;          ///< lower first; equal ones in order of arrival
  double deadline_ms = 0;    ///< after submission: then what is unfinished ends; 0: never
  bool hash_logits = false;  ///< events carry a hash of their logits
};

enum class FinishReason : uint8_t { none, stop, length, cancelled, deadline, error };
std::string_view finish_reason_name(FinishReason reason);

/// What ended an answer whose finish reason is stop.
enum class StopCause : uint8_t { none, eos, stop_token, stop_string, repetition };

/// Milliseconds by stage. Zero: the stage did not happen.
struct Timings {
  double queue_ms = 0;        ///< submitted to first work
  double vision_ms = 0;       ///< vision tower
  double prefill_ms = 0;      ///< prompt, without the vision tower
  double decode_ms = 0;       ///< first token to last token
  double first_token_ms = 0;  ///< submitted to first token
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t image_tokens = 0;   ///< of prompt_tokens
  int64_t cached_tokens = 0;  ///< of prompt_tokens: taken from earlier prompts, not computed
  int64_t completion_tokens = 0;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

/// One thing that happened to one answer of one request. A request has SamplingParams::n answers;
/// the last event of each has finish != none.
struct Event {
  RequestId request = 0;
  int index = 0;                           ///< of the answer, [0, n)
  int32_t token = -1;                      ///< generated token, or -1 if this event carries none
  float logprob = 0;                       ///< of `token`, before temperature
  std::vector<TokenLogprob> top_logprobs;  ///< as many as asked for, best first
  uint64_t logits_hash = 0;                ///< of the float32 logits of `token`, if asked for
  double at_ms = 0;                        ///< when, since the request was submitted
  FinishReason finish = FinishReason::none;
  StopCause stop_cause = StopCause::none;  ///< never stop_string: the engine knows no text
  int32_t stop_token = -1;                 ///< the token that ended the answer, which has it not
  Usage usage;                             ///< final event only
  Timings timings;                         ///< final event only
};

}  // namespace qvl

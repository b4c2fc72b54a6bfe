#pragma once

/// The events of one request of a client in, frames of a stream or one body out. A request may be
/// several of the engine's: one per prompt, each with n answers; choices count all answers, those
/// of the first prompt first.
///
///   Reply reply(chat_reply(chat, prepared, head), tokenizer);
///   for (const std::string& frame : reply.start()) send(frame);
///   for (const Event& event : engine.step()) {
///     const size_t choice = reply.choice(prompt_of(event.request), event.index);
///     for (const std::string& frame : reply.push(choice, event)) send(frame);
///     if (reply.wants_cancel(choice)) engine.cancel_answer(event.request, event.index);
///   }
///   if (reply.finished()) send(reply.end());  // or, if it is no stream: send(reply.body())

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "openai/prepare_request.h"
#include "openai/reasoning.h"
#include "openai/responses.h"
#include "runtime/answer.h"

namespace qvl {

struct ReplyOptions {
  enum class Kind : uint8_t { chat, completion };

  struct PromptPart {
    int64_t prompt_tokens = 0;
    int64_t image_tokens = 0;
    std::string echo;
    bool starts_in_reasoning = false;
  };

  Kind kind = Kind::chat;
  ReplyHead head;
  RequestOptions request;
  std::vector<PromptPart> prompts;
  MediaTimings media;
  bool include_reasoning = true;
};

ReplyOptions chat_reply(const ChatRequest& chat, const PreparedRequest& prepared, ReplyHead head);
ReplyOptions completion_reply(const CompletionRequest& completion,
                              const std::vector<PreparedRequest>& prepared, ReplyHead head);

class Reply {
 public:
  /// The tokenizer outlives the reply.
  Reply(ReplyOptions options, const Tokenizer& tokenizer);

  size_t choice(size_t prompt, int answer) const {
    return prompt * static_cast<size_t>(options_.request.sampling.n) + static_cast<size_t>(answer);
  }

  /// Frames before the first token: roles and echoes. Empty unless it is a stream.
  std::vector<std::string> start();
  /// The next event of an answer → frames that became certain, JSON without "data: ". Empty unless
  /// it is a stream.
  std::vector<std::string> push(size_t choice, const Event& event);
  bool wants_cancel(size_t choice) const { return choices_[choice].answer.wants_cancel(); }
  /// Of an answer that has ended: stop also if a stop string did it, which the engine does not
  /// know.
  FinishReason finish_reason(size_t choice) const {
    return choices_[choice].answer.finish_reason();
  }
  /// All answers have ended.
  bool finished() const { return unfinished_ == 0; }
  /// An answer ended by an error of the engine.
  bool failed() const { return failed_; }

  // When finished:
  /// The frame with the usage, if the stream asks for one.
  std::vector<std::string> end() const;
  std::string body() const;
  Usage usage() const;

 private:
  struct Choice {
    Choice(const Tokenizer& tokenizer, const RequestOptions& request, size_t prompt_index);

    Answer answer;
    size_t prompt;
    std::optional<ReasoningSplitter> splitter;
    std::string reasoning;
    std::string content;        ///< with the echo before it
    std::vector<Event> tokens;  ///< with their log probabilities; empty unless asked for
    int64_t generated = 0;
    int64_t reasoning_tokens = 0;
    bool thinks = false;
    int64_t text_offset = 0;
  };

  WireJson logprobs(const std::vector<Event>& events, int64_t& offset) const;
  void take(Choice& choice, const Event& event, bool is_kept);
  std::string chat_frame(size_t index, const ReasoningSplitter::Piece& piece,
                         const WireJson& logprobs) const;
  std::string text_frame(size_t index, const std::string& text, const WireJson& logprobs) const;
  Usage usage_of(const Choice& choice) const;
  int64_t reasoning_tokens() const;
  /// With the usage so far, if every frame is to have it.
  std::string with_usage(WireJson frame, const Choice& choice) const;

  ReplyOptions options_;
  const Tokenizer* tokenizer_;
  std::optional<int32_t> think_end_;
  std::deque<Choice> choices_;
  size_t unfinished_ = 0;
  bool failed_ = false;
};

}  // namespace qvl

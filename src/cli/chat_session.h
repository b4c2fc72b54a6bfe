#pragma once

/// What a chat does with an entry: answer it, or carry out its command. Knows no line editor.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/chat_line.h"
#include "cli/conversation.h"
#include "cli/generation.h"
#include "cli/prepare.h"
#include "cli/sampling_flags.h"
#include "cli/text_output.h"

namespace qvl {

struct ChatOptions {
  SamplingFlags sampling;
  std::string system;
  double fps = 24.0;
  TextStyle style = TextStyle::markdown;
  bool stats = false;  ///< after every answer
};

class ChatSession {
 public:
  /// The sampling of `options` must be one that choose_sampling() accepts.
  ChatSession(const Prepared& prepared, Engine& engine, ChatOptions options,
              const ChosenSampling& sampling);

  enum class Next : uint8_t { go_on, leave };
  /// Answers go to the standard output, everything else to the standard error. `wants_stop` is
  /// asked while an answer is written.
  Next handle(const ChatEntry& entry, const std::function<bool()>& wants_stop);

  /// Pictures and videos that wait for the next message.
  size_t attached() const { return pending_.media.size(); }
  /// Entries that could not be done.
  int failures() const { return failures_; }

 private:
  using StopQuestion = std::function<bool()>;
  Status command(const ChatEntry& entry, const StopQuestion& wants_stop);
  Status ask(const std::string& text, const StopQuestion& wants_stop);
  Status answer(const StopQuestion& wants_stop);
  Status attach(const std::string& argument);
  Status set(const std::string& argument);
  Status regenerate(const StopQuestion& wants_stop);
  Status save(const std::string& argument) const;
  Status load(const std::string& argument);
  void tell_end(const Generation& generation) const;
  std::string stats() const;

  const Prepared* prepared_;
  Engine* engine_;
  ChatOptions options_;
  ChosenSampling sampling_;
  Conversation conversation_;
  UserMessage pending_;         // attached, not yet sent
  MediaTimings media_timings_;  // of the last question
  std::unique_ptr<Generation> last_;
  int failures_ = 0;
};

}  // namespace qvl

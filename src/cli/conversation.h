#pragma once

/// A conversation of several turns: messages and the media in them → requests.

#include <set>
#include <string>
#include <vector>

#include "cli/inputs.h"

namespace qvl {

enum class AnswerEnd : uint8_t { complete, interrupted };

/// Questions and answers take turns, after one system message at most.
class Conversation {
 public:
  void set_system(std::string text) { system_ = std::move(text); }
  const std::string& system() const { return system_; }

  void ask(UserMessage question);
  /// Answers the last question.
  void answer(const std::string& text, AnswerEnd end);
  /// The last question waits for an answer.
  bool waits_for_answer() const { return !turns_.empty() && turns_.back()["role"] == "user"; }
  /// The last question, no longer part of the conversation. waits_for_answer() must hold.
  UserMessage take_question();
  /// Makes the last question wait for an answer again; false if there is none.
  bool forget_answer();
  /// Forgets every turn, not the system message.
  void clear();

  /// As the chat template takes them.
  Json messages() const;
  /// Turns whose answer was interrupted, as indices into messages().
  std::set<size_t> interrupted() const;
  bool empty() const { return turns_.empty(); }

  /// Prompt and media of a request for the next answer; its sampling is left to the caller.
  Result<Request> request(const Processor& processor) const;

 private:
  size_t system_messages() const { return system_.empty() ? 0 : 1; }

  std::string system_;
  Json turns_ = Json::array();
  std::vector<MediaItem> media_;  // of all questions
  std::set<size_t> interrupted_;  // indices into turns_
};

/// Media parts of a message's content.
size_t media_parts(const Json& content);

}  // namespace qvl

#pragma once

/// A conversation as a file: the body of an OpenAI chat completion request ({model, messages}), so
/// that it can be sent to any server as it is. Pictures and videos are file:// addresses. Which
/// answers were interrupted stands in metadata.interrupted, as message numbers from 0.

#include <string>
#include <string_view>

#include "cli/conversation.h"

namespace qvl {

/// Relative paths of media are made absolute.
std::string saved_conversation(const Conversation& conversation, const std::string& model);

/// Reads the text of such a file, then the media it names. Error bad_messages says which message is
/// not as expected; roles other than system (first), user and assistant in turn, and media that are
/// not local files, are refused.
Result<Conversation> load_conversation(std::string_view text, const Processor& processor,
                                       double fps);

/// The pure part of it: messages with content lists as read_inputs() makes them, nothing opened.
struct SavedConversation {
  std::string system;
  struct Turn {
    Json content;  ///< of a question: parts; of an answer: a string
    bool is_answer = false;
    bool interrupted = false;
  };
  std::vector<Turn> turns;
};
Result<SavedConversation> parse_conversation(std::string_view text);

}  // namespace qvl

#pragma once

/// What a user types or pastes in a chat → messages and commands. Pure: no terminal, no files.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/result.h"

namespace qvl {

/// A complete entry. A command has a name; a message has none.
struct ChatEntry {
  std::string command;  ///< "image" of "/image a.png"; empty: a message
  std::string text;     ///< the message, or the command's argument without surrounding spaces

  bool operator==(const ChatEntry&) const = default;
};

/// Joins lines into entries:
///  - a line that ends with a backslash goes on in the next one;
///  - """ opens a block that ends with a line that ends with """; nothing in it is a command;
///  - a paste of several lines is one message as it stands, whatever it contains.
/// A line that begins with "/" is a command; one space before it makes it text.
class ChatLines {
 public:
  /// One line as it was entered, without its end. Newlines inside it can only come from a paste.
  std::optional<ChatEntry> add(std::string_view line);
  /// True in the middle of an entry.
  bool unfinished() const { return block_ || continued_; }
  /// What is unfinished at the end of the input is an entry, too.
  std::optional<ChatEntry> finish();
  void clear();

 private:
  std::optional<ChatEntry> complete(bool is_literal);

  std::string text_;
  bool block_ = false;      // inside """
  bool continued_ = false;  // after a backslash
  bool literal_ = false;    // text that no longer can be a command
};

/// Words of a command's argument as a shell splits them: quotes, backslashes, and ~ for `home` at
/// the start of a word. Error bad_command for an open quote.
Result<std::vector<std::string>> split_words(std::string_view text, const std::string& home);

}  // namespace qvl

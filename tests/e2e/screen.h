#pragma once

#include <string>
#include <vector>

#include "program.h"

namespace qvl {

/// A program in a terminal of its own (tmux, no user configuration): keys in, screen out.
/// Everything that waits does so until a deadline, by looking at the screen again and again.
class Screen {
 public:
  struct Size {
    int columns = 80;
    int rows = 30;
  };
  /// Starts `command` in an environment of HOME (an empty folder), PATH and TERM alone.
  Screen(const std::vector<std::string>& command, Size size);
  explicit Screen(const std::vector<std::string>& command) : Screen(command, Size{}) {}
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  /// Types the text as it is.
  void type(const std::string& text);
  /// Presses a key by tmux's name: "Enter", "BSpace", "C-c".
  void press(const std::string& key);
  /// As a terminal pastes: bracketed if the program asks for it.
  void paste(const std::string& text);
  void resize(Size size);

  /// What is on the screen and has scrolled off it, without trailing spaces and empty lines.
  std::string text() const;
  /// True as soon as text() ends with `end`; false after twenty seconds.
  bool ends_with(const std::string& end) const;
  /// True as soon as text() contains `part`; false after twenty seconds.
  bool shows(const std::string& part) const;

  const std::string& home() const { return folder_.path(); }

 private:
  Outcome tmux(const std::vector<std::string>& arguments) const;

  TemporaryFolder folder_;
};

}  // namespace qvl

#pragma once

/// The terminal of an interactive chat: line editing, history, pastes, signals. One at a time, on
/// the main thread.

#include <histedit.h>

#include <memory>
#include <string>
#include <vector>

namespace qvl {

class Terminal {
 public:
  /// Both the standard input and output are terminals.
  static bool is_usable();

  explicit Terminal(const std::vector<std::string>& history);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  enum class Read : uint8_t {
    line,
    interrupted,  ///< Ctrl-C at an empty line; at another it clears the line
    end,          ///< Ctrl-D at an empty line, or the terminal is gone
  };
  /// A line without its end. Newlines inside it come from a bracketed paste or the history.
  Read read_line(const std::string& prompt, std::string& line);
  void remember(const std::string& entry);

 private:
  static char* prompt(EditLine* editor);
  static unsigned char paste(EditLine* editor, int key);
  static unsigned char interrupt(EditLine* editor, int key);
  static unsigned char suspend(EditLine* editor, int key);
  static Terminal& of(EditLine* editor);

  struct EditLineEnd {
    void operator()(EditLine* editor) const { el_end(editor); }
  };
  struct HistoryEnd {
    void operator()(::History* history) const { history_end(history); }
  };
  std::unique_ptr<::History, HistoryEnd> history_;
  std::unique_ptr<EditLine, EditLineEnd> editor_;
  std::string prompt_;
  bool interrupted_ = false;
};

/// While one lives, what is typed is not shown, and Ctrl-C, SIGTERM and SIGHUP are taken note of
/// instead of ending the program.
class AnswerGuard {
 public:
  AnswerGuard();
  ~AnswerGuard();
  AnswerGuard(const AnswerGuard&) = delete;
  AnswerGuard& operator=(const AnswerGuard&) = delete;

  /// The signal that came, or 0.
  int signal() const;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

}  // namespace qvl

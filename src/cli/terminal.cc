#include "cli/terminal.h"

#include <langinfo.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace qvl {
namespace {

constexpr int kHistoryEntries = 1000;
constexpr size_t kMaxPasteCharacters = size_t{4} << 20;
constexpr std::wstring_view kPasteEnd = L"\x1b[201~";

/// The editor counts in characters only in a UTF-8 locale; where none is set, C.UTF-8 is there.
void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

void write_sequence(const char* sequence) {
  std::fputs(sequence, stdout);
  std::fflush(stdout);
}

/// Line ends as "\n", none at the end, and no characters that the editor cannot hold.
std::wstring tidy_paste(const std::wstring& text) {
  std::wstring out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == L'\r') {
      if (i + 1 == text.size() || text[i + 1] != L'\n') out += L'\n';
    } else if (text[i] != L'\0') {
      out += text[i];
    }
  }
  while (!out.empty() && out.back() == L'\n') out.pop_back();
  return out;
}

// A signal handler has nothing else to write to.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
volatile std::sig_atomic_t last_signal = 0;

void note_signal(int number) { last_signal = number; }

}  // namespace

bool Terminal::is_usable() { return isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0; }

Terminal& Terminal::of(EditLine* editor) {
  void* self = nullptr;
  el_get(editor, EL_CLIENTDATA, &self);
  return *static_cast<Terminal*>(self);
}

char* Terminal::prompt(EditLine* editor) { return of(editor).prompt_.data(); }

/// "ESC [ 200 ~" has been read: everything up to "ESC [ 201 ~" goes into the line as it is.
unsigned char Terminal::paste(EditLine* editor, int /*key*/) {
  std::wstring text;
  wchar_t c = 0;
  while (el_wgetc(editor, &c) == 1) {
    text += c;
    if (text.ends_with(kPasteEnd)) {
      text.resize(text.size() - kPasteEnd.size());
      break;
    }
    // What is more than a message can be is dropped, but not taken for keys.
    if (text.size() > 2 * kMaxPasteCharacters)
      text.erase(kMaxPasteCharacters, kMaxPasteCharacters / 2);
  }
  text.resize(std::min(text.size(), kMaxPasteCharacters));
  const std::wstring tidy = tidy_paste(text);
  if (!tidy.empty() && el_winsertstr(editor, tidy.c_str()) != 0) return CC_ERROR;
  return CC_REFRESH;
}

unsigned char Terminal::interrupt(EditLine* editor, int /*key*/) {
  const LineInfoW* const line = el_wline(editor);
  if (line->lastchar == line->buffer) {
    of(editor).interrupted_ = true;
    return CC_EOF;
  }
  const auto rest = static_cast<int>(line->lastchar - line->buffer);
  el_cursor(editor, rest);
  el_deletestr(editor, rest);
  return CC_REFRESH;
}

unsigned char Terminal::suspend(EditLine* /*editor*/, int /*key*/) {
  std::raise(SIGTSTP);  // the editor puts the terminal in order before and after
  return CC_REFRESH;
}

Terminal::Terminal(const std::vector<std::string>& history) : history_(history_init()) {
  use_utf8_locale();
  editor_.reset(el_init("qvl", stdin, stdout, stderr));
  EditLine* const e = editor_.get();
  HistEvent event;
  ::history(history_.get(), &event, H_SETSIZE, kHistoryEntries);
  ::history(history_.get(), &event, H_SETUNIQUE, 1);
  for (const std::string& entry : history) remember(entry);
  el_set(e, EL_CLIENTDATA, this);
  el_set(e, EL_PROMPT, prompt);
  el_set(e, EL_EDITOR, "emacs");
  el_set(e, EL_HIST, ::history, history_.get());
  el_set(e, EL_SIGNAL, 1);  // the editor leaves the terminal in order when it is stopped or resized
  el_set(e, EL_ADDFN, "qvl-paste", "take a bracketed paste", paste);
  el_set(e, EL_ADDFN, "qvl-interrupt", "clear the line", interrupt);
  el_set(e, EL_BIND, "\\e[200~", "qvl-paste", nullptr);
  el_set(e, EL_BIND, "^C", "qvl-interrupt", nullptr);
  // While a line is edited, Ctrl-C and Ctrl-Z are keys.
  el_set(e, EL_SETTY, "-d", "-isig", nullptr);
  el_set(e, EL_ADDFN, "qvl-suspend", "stop the program until it is continued", suspend);
  el_set(e, EL_BIND, "^Z", "qvl-suspend", nullptr);
  el_set(e, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_set(e, EL_BIND, "\\e[3~", "ed-delete-next-char", nullptr);
  el_set(e, EL_BIND, "\\e[1;5C", "em-next-word", nullptr);
  el_set(e, EL_BIND, "\\e[1;5D", "ed-prev-word", nullptr);
}

Terminal::~Terminal() = default;

Terminal::Read Terminal::read_line(const std::string& prompt, std::string& line) {
  prompt_ = prompt;
  interrupted_ = false;
  write_sequence("\x1b[?2004h");
  int bytes = 0;
  const char* const text = el_gets(editor_.get(), &bytes);
  write_sequence("\x1b[?2004l");
  if (text == nullptr || bytes <= 0) return interrupted_ ? Read::interrupted : Read::end;
  line.assign(text, static_cast<size_t>(bytes));
  if (line.ends_with('\n')) line.pop_back();
  return Read::line;
}

void Terminal::remember(const std::string& entry) {
  HistEvent event;
  ::history(history_.get(), &event, H_ENTER, entry.c_str());
}

struct AnswerGuard::Saved {
  termios mode{};
  std::array<struct sigaction, 3> actions{};
};

namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

}  // namespace

AnswerGuard::AnswerGuard() : saved_(std::make_unique<Saved>()) {
  last_signal = 0;
  struct sigaction note {};
  note.sa_handler = note_signal;
  note.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], &note, &saved_->actions[i]);
  }
  tcgetattr(STDIN_FILENO, &saved_->mode);
  termios quiet = saved_->mode;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet);
}

AnswerGuard::~AnswerGuard() {
  tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_->mode);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], &saved_->actions[i], nullptr);
  }
}

int AnswerGuard::signal() const { return last_signal; }

}  // namespace qvl

#include "screen.h"

#include <chrono>
#include <functional>
#include <thread>

namespace qvl {
namespace {

/// Looks until it is so, for twenty seconds at most: the machine may be busy.
bool wait_until(const std::function<bool()>& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!is_so()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

}  // namespace

Screen::Screen(const std::vector<std::string>& command, Size size) {
  std::vector<std::string> arguments{
      "new-session", "-d", "-x", std::to_string(size.columns), "-y", std::to_string(size.rows)};
  std::string line;
  for (const std::string& word : command) line += shell_quoted(word) + " ";
  // What ended can still be looked at.
  line += "; echo \"ended with $?\"; exec sleep 1000";
  arguments.push_back("sh -c " + shell_quoted(line));
  tmux(arguments);
}

Screen::~Screen() { tmux({"kill-server"}); }

Outcome Screen::tmux(const std::vector<std::string>& arguments) const {
  std::vector<std::string> command{"env",
                                   "-i",
                                   "PATH=/usr/local/bin:/usr/bin:/bin",
                                   "HOME=" + folder_.path(),
                                   "TERM=xterm-256color",
                                   "tmux",
                                   "-u",
                                   "-f",
                                   "/dev/null",
                                   "-S",
                                   folder_.path() + "/tmux.socket"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_program(command);
}

void Screen::type(const std::string& text) { tmux({"send-keys", "-l", text}); }

void Screen::press(const std::string& key) { tmux({"send-keys", key}); }

void Screen::paste(const std::string& text) {
  tmux({"set-buffer", text});
  tmux({"paste-buffer", "-p"});
}

void Screen::resize(Size size) {
  tmux({"resize-window", "-x", std::to_string(size.columns), "-y", std::to_string(size.rows)});
}

std::string Screen::text() const {
  std::string out = tmux({"capture-pane", "-p", "-J", "-S", "-"}).out;
  // -J keeps the spaces at the end of lines.
  std::string tidy;
  for (const char c : out) {
    if (c == '\n') tidy.resize(tidy.find_last_not_of(' ') + 1);
    tidy += c;
  }
  tidy.resize(tidy.find_last_not_of(" \n") + 1);
  return tidy;
}

bool Screen::ends_with(const std::string& end) const {
  return wait_until([&] { return text().ends_with(end); });
}

bool Screen::shows(const std::string& part) const {
  return wait_until([&] { return text().find(part) != std::string::npos; });
}

}  // namespace qvl

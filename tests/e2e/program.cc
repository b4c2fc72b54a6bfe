#include "program.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace qvl {

std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Outcome qvl_program(const std::vector<std::string>& arguments,
                    const std::vector<std::string>& environment, const std::string& input) {
  std::vector<std::string> words{"env"};
  words.insert(words.end(), environment.begin(), environment.end());
  words.emplace_back(QVL_PROGRAM);
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_program(words, input);
}

Outcome run_program(const std::vector<std::string>& words, const std::string& input) {
  const TemporaryFolder folder;
  std::string command;
  for (const std::string& word : words) command += shell_quoted(word) + " ";
  write_all(folder.path() + "/in", input);
  command += " <" + folder.path() + "/in";
  command += " >" + folder.path() + "/out 2>" + folder.path() + "/err";
  const int raw = std::system(command.c_str());
  Outcome outcome;
  outcome.status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
  outcome.out = read_all(folder.path() + "/out");
  outcome.err = read_all(folder.path() + "/err");
  return outcome;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "qvl_test_XXXXXX").string();
  path_ = mkdtemp(pattern.data()) != nullptr ? pattern : "";
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_all(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace qvl

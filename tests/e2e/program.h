#pragma once

#include <string>
#include <vector>

namespace qvl {

struct Outcome {
  int status = -1;  ///< exit status, or 128 + signal
  std::string out;
  std::string err;
};

/// Runs a program with these words, as a shell user would, with `input` at its standard input.
Outcome run_program(const std::vector<std::string>& words, const std::string& input = "");
/// The same for qvl, with settings of the environment such as "QVL_DTYPE=float32".
Outcome qvl_program(const std::vector<std::string>& arguments,
                    const std::vector<std::string>& environment = {},
                    const std::string& input = "");

/// One word of a shell's command line.
std::string shell_quoted(const std::string& text);

/// A fresh empty folder, removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string read_all(const std::string& path);
void write_all(const std::string& path, const std::string& bytes);

}  // namespace qvl

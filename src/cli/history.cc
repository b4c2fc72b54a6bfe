#include "cli/history.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "io/fd.h"
#include "io/mapped_file.h"

namespace qvl {
namespace {

constexpr size_t kMaxBytes = size_t{4} << 20;
constexpr size_t kMaxEntryBytes = 65'536;

std::string json_line(const std::string& entry) {
  return nlohmann::json(entry).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

Status append(const std::string& path, const std::string& text, int flags) {
  const auto failed = [&] { return Error{ErrorCode::write_failed, std::strerror(errno), path}; };
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, S_IRUSR | S_IWUSR));
  if (fd.get() < 0) return failed();
  if (::fchmod(fd.get(), S_IRUSR | S_IWUSR) != 0) return failed();
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return failed();
  }
  return {};
}

}  // namespace

std::string history_path() {
  const char* const state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::string(state) + "/qvl/history";
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::string(home) + "/.local/state/qvl/history";
  return {};
}

std::vector<std::string> History::load() const {
  if (path_.empty()) return {};
  const Result<std::string> text = read_file(path_, kMaxBytes);
  if (!text) return {};
  std::vector<std::string> entries;
  std::istringstream lines(*text);
  std::string line;
  while (std::getline(lines, line)) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    if (entry.is_string()) entries.push_back(entry.get<std::string>());
  }
  if (entries.size() <= kMaxEntries) return entries;
  entries.erase(entries.begin(), entries.end() - static_cast<std::ptrdiff_t>(kMaxEntries));
  if (text->size() > kMaxBytes / 4) {
    std::string kept;
    for (const std::string& entry : entries) kept += json_line(entry);
    (void)append(path_, kept, O_TRUNC);  // a history that stays long is no reason to stop
  }
  return entries;
}

Status History::add(const std::string& entry) const {
  if (path_.empty() || entry.size() > kMaxEntryBytes) return {};
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  return append(path_, json_line(entry), O_APPEND);
}

}  // namespace qvl

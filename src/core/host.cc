#include "core/host.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string_view>

namespace qvl {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// The text behind "name :" of a line; empty if the line is another's.
std::string value_of(const std::string& line, std::string_view name) {
  if (!line.starts_with(name)) return "";
  const size_t colon = line.find(':');
  if (colon == std::string::npos || line.find_first_not_of(" \t", name.size()) != colon) {
    return "";
  }
  const size_t first = line.find_first_not_of(" \t", colon + 1);
  return first == std::string::npos ? "" : line.substr(first);
}

void read_cpuinfo(const std::string& path, Host& host) {
  std::ifstream file(path);
  std::string line;
  std::set<std::string> flags;
  while (std::getline(file, line)) {
    if (line.starts_with("processor")) ++host.online_cores;
    if (host.cpu.empty()) host.cpu = value_of(line, "model name");
    if (flags.empty()) {
      std::istringstream words(value_of(line, "flags"));
      flags = {std::istream_iterator<std::string>(words), {}};
    }
  }
  if (host.cpu.empty()) host.cpu = "unknown";
  for (const char* feature : kCpuFeatures) {
    if (flags.contains(feature)) host.features.emplace_back(feature);
  }
}

void read_meminfo(const std::string& path, Host& host) {
  std::ifstream file(path);
  std::string line;
  const auto bytes = [&](std::string_view name) {
    return std::strtoll(value_of(line, name).c_str(), nullptr, 10) * 1024;
  };
  while (std::getline(file, line)) {
    host.memory_bytes = std::max<int64_t>(host.memory_bytes, bytes("MemTotal"));
    host.available_bytes = std::max<int64_t>(host.available_bytes, bytes("MemAvailable"));
  }
}

/// A limit holds for all groups below: the smallest from the process's own group up to the root.
/// After read_meminfo.
void read_cgroup(const std::string& root, Host& host) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string group;
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("0::")) group = line.substr(3);  // version 2; the only one with one line
  }
  if (group == "/") group.clear();
  while (true) {
    const std::string folder = root + "/sys/fs/cgroup" + group;
    const std::string memory = first_line(folder + "/memory.max");  // "max" or a number
    const int64_t limit = std::strtoll(memory.c_str(), nullptr, 10);
    if (limit > 0) {
      if (host.memory_limit_bytes == 0 || limit < host.memory_limit_bytes) {
        host.memory_limit_bytes = limit;
      }
      const std::string used = first_line(folder + "/memory.current");
      const int64_t left = limit - std::strtoll(used.c_str(), nullptr, 10);
      host.available_bytes = std::max<int64_t>(0, std::min(host.available_bytes, left));
    }
    std::istringstream cpu(first_line(folder + "/cpu.max"));  // "max 100000" or "150000 100000"
    double quota = 0;
    double period = 0;
    if (cpu >> quota >> period && quota > 0 && period > 0) {
      const double cores = quota / period;
      if (host.quota_cores == 0 || cores < host.quota_cores) host.quota_cores = cores;
    }
    if (group.empty()) return;
    group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
}

/// "always [madvise] never" → "madvise"
std::string chosen_word(const std::string& line) {
  const size_t open = line.find('[');
  const size_t close = line.find(']');
  return open == std::string::npos || close == std::string::npos || close < open
             ? ""
             : line.substr(open + 1, close - open - 1);
}

/// The first word of "NVRM version: NVIDIA UNIX … Module  580.82.07  Wed …" that is a version.
std::string driver_version(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  while (words >> word) {
    const bool is_version = word.find('.') != std::string::npos &&
                            std::all_of(word.begin(), word.end(),
                                        [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
    if (is_version) return word;
  }
  return "";
}

}  // namespace

Host read_host(const std::string& root) {
  Host host;
  read_cpuinfo(root + "/proc/cpuinfo", host);
  read_meminfo(root + "/proc/meminfo", host);
  read_cgroup(root, host);
  host.transparent_huge_pages =
      chosen_word(first_line(root + "/sys/kernel/mm/transparent_hugepage/enabled"));
  host.nvidia_driver = driver_version(first_line(root + "/proc/driver/nvidia/version"));
  return host;
}

int affinity_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace qvl

#include "bench/machine.h"

#include <cstdlib>
#include <fstream>
#include <string_view>
#include <thread>

namespace qvl {
namespace {

/// The text behind the first "name:" of a file of such lines; empty if there is none.
std::string field_of(const char* file, std::string_view name) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    if (!line.starts_with(name)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t first = line.find_first_not_of(" \t", colon + 1);
    return first == std::string::npos ? "" : line.substr(first);
  }
  return "";
}

int64_t memory_field(std::string_view name) {
  constexpr int64_t kKib = 1024;
  return std::strtoll(field_of("/proc/meminfo", name).c_str(), nullptr, 10) * kKib;
}

}  // namespace

Machine this_machine() {
  Machine machine;
  machine.cpu = field_of("/proc/cpuinfo", "model name");
  if (machine.cpu.empty()) machine.cpu = "unknown";
  machine.cores = static_cast<int>(std::thread::hardware_concurrency());
  machine.memory_bytes = memory_field("MemTotal");
  machine.free_memory_bytes = memory_field("MemAvailable");
  double loads[1] = {};
  if (getloadavg(loads, 1) == 1) machine.load_average = loads[0];
  return machine;
}

}  // namespace qvl

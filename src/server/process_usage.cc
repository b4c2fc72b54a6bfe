#include "server/process_usage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace qvl {
namespace {

/// Field `number` of /proc/self/stat counted from 1, as proc(5) does; 0 if it is not there. The
/// second field is a name in parentheses that may itself have spaces.
double stat_field(const std::string& stat, int number) {
  std::istringstream rest(stat.substr(stat.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= number; ++i) rest >> field;
  return rest ? std::stod(field) : 0;
}

/// Seconds of Unix time at which the system started.
double boot_time() {
  std::ifstream file("/proc/stat");
  std::string word;
  while (file >> word) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return 0;
}

}  // namespace

ProcessUsage read_process_usage() {
  ProcessUsage usage;
  rusage times{};
  if (getrusage(RUSAGE_SELF, &times) == 0) {
    for (const timeval& time : {times.ru_utime, times.ru_stime}) {
      usage.cpu_seconds +=
          static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    }
  }
  std::ifstream memory("/proc/self/statm");
  int64_t total_pages = 0, resident_pages = 0;
  if (memory >> total_pages >> resident_pages) {
    const int64_t page_bytes = sysconf(_SC_PAGESIZE);
    usage.virtual_bytes = total_pages * page_bytes;
    usage.resident_bytes = resident_pages * page_bytes;
  }
  std::error_code error;
  for (std::filesystem::directory_iterator file("/proc/self/fd", error), end; file != end;
       file.increment(error)) {
    ++usage.open_files;
  }
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) usage.max_files = static_cast<int64_t>(files.rlim_cur);
  std::ifstream stat_file("/proc/self/stat");
  const std::string stat{std::istreambuf_iterator<char>(stat_file), {}};
  if (!stat.empty()) {
    usage.start_time =
        boot_time() + stat_field(stat, 22) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  return usage;
}

}  // namespace qvl

#pragma once

#include <cstdint>

namespace qvl {

/// What this process uses, as /proc/self says. What a system does not say is 0.
struct ProcessUsage {
  double cpu_seconds = 0;  ///< of all threads, in user and system mode
  int64_t resident_bytes = 0;
  int64_t virtual_bytes = 0;
  int64_t open_files = 0;
  int64_t max_files = 0;
  double start_time = 0;  ///< Unix time in seconds
};

ProcessUsage read_process_usage();

}  // namespace qvl

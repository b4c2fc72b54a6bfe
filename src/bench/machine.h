#pragma once

#include <cstdint>
#include <string>

namespace qvl {

/// Where a measurement was made.
struct Machine {
  std::string cpu;  ///< model name, as the system gives it
  int cores = 0;    ///< that this process may use
  int64_t memory_bytes = 0;
  int64_t free_memory_bytes = 0;  ///< what new processes can take without swapping
  double load_average = 0;        ///< of the last minute: others at work disturb the measurement
};

Machine this_machine();

}  // namespace qvl

#pragma once

/// What this machine has and what this process may use of it, as the kernel's files under /proc and
/// /sys say. A control group often allows less than the machine has.

#include <cstdint>
#include <string>
#include <vector>

namespace qvl {

struct Host {
  std::string cpu;                    ///< model name; "unknown" if the system gives none
  std::vector<std::string> features;  ///< those of kCpuFeatures that it has
  int online_cores = 0;
  double quota_cores = 0;              ///< of the control group; 0: none
  int64_t memory_bytes = 0;            ///< of the machine
  int64_t available_bytes = 0;         ///< that this process may still take without swapping
  int64_t memory_limit_bytes = 0;      ///< of the control group; 0: none
  std::string transparent_huge_pages;  ///< "always", "madvise", "never"; empty: not there
  std::string nvidia_driver;           ///< "580.82.07"; empty: no driver is loaded
};

/// Instruction sets that matter to the kernels, by the names of /proc/cpuinfo.
inline constexpr const char* kCpuFeatures[] = {
    "avx2",        "fma",      "f16c",        "avx512f",  "avx512bw", "avx512vl", "avx512dq",
    "avx512_bf16", "avx_vnni", "avx512_vnni", "amx_tile", "amx_int8", "amx_bf16"};

/// `root` stands before /proc and /sys: empty but in tests. What a system does not say is left as
/// it is above.
Host read_host(const std::string& root = "");

/// Cores that the scheduler may put this process on.
int affinity_cores();

}  // namespace qvl

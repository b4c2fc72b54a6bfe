#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qvl {

struct Gpu {
  std::string name;
  int64_t memory_bytes = 0;
  int compute_capability = 0;  ///< 90 for 9.0
};

struct GpuReport {
  std::string problem;   ///< why there is no list; empty if there is one
  int cuda_version = 0;  ///< the newest that the driver knows: 13000 for 13.0
  std::vector<Gpu> gpus;
};

/// Asks NVIDIA's driver library, which is loaded for that and need not be there. No context is made
/// and no memory is taken on any device.
GpuReport list_gpus();

}  // namespace qvl

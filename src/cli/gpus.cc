#include "cli/gpus.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <memory>

namespace qvl {
namespace {

// The few functions of the CUDA driver API that are called, by its documentation.
using CuResult = int;
using CuDevice = int;
constexpr int kComputeMajor = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
constexpr int kComputeMinor = 76;

struct LibraryClose {
  void operator()(void* library) const noexcept { dlclose(library); }
};

template <class Function>
bool load(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

GpuReport list_gpus() {
  GpuReport report;
  const std::unique_ptr<void, LibraryClose> library(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL));
  if (!library) {
    report.problem = "libcuda.so.1 cannot be loaded: no NVIDIA driver for programs";
    return report;
  }
  CuResult (*init)(unsigned) = nullptr;
  CuResult (*driver_version)(int*) = nullptr;
  CuResult (*device_count)(int*) = nullptr;
  CuResult (*device_name)(char*, int, CuDevice) = nullptr;
  CuResult (*device_memory)(size_t*, CuDevice) = nullptr;
  CuResult (*device_attribute)(int*, int, CuDevice) = nullptr;
  if (!load(library.get(), "cuInit", init) ||
      !load(library.get(), "cuDriverGetVersion", driver_version) ||
      !load(library.get(), "cuDeviceGetCount", device_count) ||
      !load(library.get(), "cuDeviceGetName", device_name) ||
      !load(library.get(), "cuDeviceTotalMem_v2", device_memory) ||
      !load(library.get(), "cuDeviceGetAttribute", device_attribute)) {
    report.problem = "libcuda.so.1 lacks a function of the driver API";
    return report;
  }
  driver_version(&report.cuda_version);
  int count = 0;
  CuResult result = init(0);
  if (result == 0) result = device_count(&count);
  if (result != 0) {
    report.problem = fmt::format("the driver answers with error {}", result);
    return report;
  }
  for (CuDevice device = 0; device < count; ++device) {
    std::array<char, 128> name{};
    size_t bytes = 0;
    int major = 0;
    int minor = 0;
    device_name(name.data(), static_cast<int>(name.size()) - 1, device);
    device_memory(&bytes, device);
    device_attribute(&major, kComputeMajor, device);
    device_attribute(&minor, kComputeMinor, device);
    report.gpus.push_back({name.data(), static_cast<int64_t>(bytes), 10 * major + minor});
  }
  return report;
}

}  // namespace qvl

#include "core/host.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace qvl {
namespace {

/// A machine's files under a root of their own.
class HostFiles : public testing::Test {
 protected:
  HostFiles()
      : root_(std::filesystem::path(testing::TempDir()) /
              ("qvl_host_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(root_);
  }
  ~HostFiles() override {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  void file(const std::string& path, const std::string& text) const {
    const std::filesystem::path full = root_.string() + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  Host host() const { return read_host(root_.string()); }

 private:
  std::filesystem::path root_;
};

TEST_F(HostFiles, AnEmptySystemSaysNothingAndBreaksNothing) {
  const Host found = host();
  EXPECT_EQ(found.cpu, "unknown");
  EXPECT_TRUE(found.features.empty());
  EXPECT_EQ(found.online_cores, 0);
  EXPECT_EQ(found.memory_limit_bytes, 0);
  EXPECT_EQ(found.nvidia_driver, "");
}

TEST_F(HostFiles, ProcessorFeaturesAreWholeWords) {
  file("/proc/cpuinfo",
       "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu avx2 avx512fp16 fma\n"
       "vmx flags\t: amx_tile\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: x\n");
  const Host found = host();
  EXPECT_EQ(found.cpu, "Some CPU @ 2.0GHz");
  EXPECT_EQ(found.online_cores, 2);
  EXPECT_EQ(found.features, (std::vector<std::string>{"avx2", "fma"}));
}

TEST_F(HostFiles, MemoryIsInBytes) {
  file("/proc/meminfo", "MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:   12 kB\n");
  EXPECT_EQ(host().memory_bytes, 16'384);
  EXPECT_EQ(host().available_bytes, 12'288);
}

TEST_F(HostFiles, TheSmallestLimitOfAllEnclosingGroupsHolds) {
  file("/proc/self/cgroup", "0::/outer/inner\n");
  file("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
  file("/sys/fs/cgroup/outer/inner/cpu.max", "400000 100000\n");
  file("/sys/fs/cgroup/outer/memory.max", "1000\n");
  file("/sys/fs/cgroup/outer/cpu.max", "150000 100000\n");
  file("/sys/fs/cgroup/memory.max", "2000\n");
  EXPECT_EQ(host().memory_limit_bytes, 1000);
  EXPECT_EQ(host().quota_cores, 1.5);
}

TEST_F(HostFiles, WhatIsAvailableIsTheLeastThatAnyGroupHasLeft) {
  file("/proc/meminfo", "MemTotal: 16 kB\nMemAvailable: 12 kB\n");
  file("/proc/self/cgroup", "0::/outer\n");
  file("/sys/fs/cgroup/outer/memory.max", "9000\n");
  file("/sys/fs/cgroup/outer/memory.current", "1000\n");
  EXPECT_EQ(host().available_bytes, 8000);
  file("/sys/fs/cgroup/memory.max", "9000\n");
  file("/sys/fs/cgroup/memory.current", "8500\n");
  EXPECT_EQ(host().available_bytes, 500);
  file("/sys/fs/cgroup/memory.current", "9500\n");
  EXPECT_EQ(host().available_bytes, 0);
}

TEST_F(HostFiles, NoLimitIsNone) {
  file("/proc/self/cgroup", "0::/\n");
  file("/sys/fs/cgroup/memory.max", "max\n");
  file("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(host().memory_limit_bytes, 0);
  EXPECT_EQ(host().quota_cores, 0);
}

TEST_F(HostFiles, HugePagesAndDriverAreFound) {
  file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  file("/proc/driver/nvidia/version",
       "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build\n");
  EXPECT_EQ(host().transparent_huge_pages, "madvise");
  EXPECT_EQ(host().nvidia_driver, "580.82.07");
}

TEST(Host, ThisProcessHasACoreToRunOn) { EXPECT_GE(affinity_cores(), 1); }

}  // namespace
}  // namespace qvl

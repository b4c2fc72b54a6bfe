#pragma once

#include <string>

#include "bench/kernel_bench.h"

namespace qvl {

/// How a result came to be, for whoever reads it later.
struct Provenance {
  std::string qvl_version = "unknown";
  std::string commit = "unknown";
  std::string command{};
  std::string date{};  ///< ISO 8601, UTC
};

/// 2026-01-31T12:00:00Z
std::string utc_now();

std::string kernel_bench_table(const KernelBench& bench);

/// A document of the schema "qvl.bench.kernel/1"; ends with a line feed.
std::string kernel_bench_json(const KernelBench& bench, const Provenance& provenance);

}  // namespace qvl

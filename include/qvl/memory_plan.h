#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qvl {

/// What the process will take, made before the first weight is read.
struct MemoryPlan {
  struct Line {
    std::string what;  ///< "weights", "KV cache", …
    int64_t bytes = 0;
    std::string detail;  ///< the arithmetic behind it
  };

  std::vector<Line> lines;
  int64_t limit_bytes = 0;    ///< the cap it was made for
  int64_t max_model_len = 0;  ///< tokens of the longest sequence
  int64_t kv_pages = 0;
  std::vector<std::string> notes;  ///< what was shortened to fit, one line each

  int64_t total_bytes() const {
    int64_t sum = 0;
    for (const Line& line : lines) sum += line.bytes;
    return sum;
  }
  /// The bill as a table, one line per entry, the total last.
  std::string text() const;
};

}  // namespace qvl

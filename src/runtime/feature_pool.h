#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "core/arena.h"

namespace qvl {

/// Rows of vision features between the tower and the prefill that reads them. First fit; neighbours
/// that become free join.
class FeaturePool {
 public:
  FeaturePool() = default;
  FeaturePool(DType dtype, int64_t rows, int64_t cols, Arena& memory);
  static int64_t bytes(DType dtype, int64_t rows, int64_t cols);

  /// Consecutive rows, or nothing if no gap is large enough now.
  std::optional<ActMat> take(int64_t rows);
  void give_back(const ActMat& rows);

  int64_t total_rows() const { return all_.rows; }
  int64_t free_rows() const;

 private:
  ActMat all_;
  std::map<int64_t, int64_t> free_;  // first row → rows
};

}  // namespace qvl

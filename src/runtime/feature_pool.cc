#include "runtime/feature_pool.h"

#include <iterator>

namespace qvl {

FeaturePool::FeaturePool(DType dtype, int64_t rows, int64_t cols, Arena& memory)
    : all_(memory.take_act(dtype, rows, cols)) {
  if (rows > 0) free_[0] = rows;
}

int64_t FeaturePool::bytes(DType dtype, int64_t rows, int64_t cols) {
  return Arena::padded(rows * cols * dtype_bytes(dtype));
}

std::optional<ActMat> FeaturePool::take(int64_t rows) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [first, count] = *it;
    if (count < rows) continue;
    free_.erase(it);
    if (count > rows) free_[first + rows] = count - rows;
    return all_.slice_rows(first, rows);
  }
  return std::nullopt;
}

void FeaturePool::give_back(const ActMat& rows) {
  const int64_t row_bytes = all_.stride * dtype_bytes(all_.dtype);
  int64_t first = (static_cast<char*>(rows.data) - static_cast<char*>(all_.data)) / row_bytes;
  int64_t count = rows.rows;
  auto after = free_.lower_bound(first);
  require(after == free_.end() || first + count <= after->first, "features given back twice");
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    require(before->first + before->second <= first, "features given back twice");
    if (before->first + before->second == first) {
      first = before->first;
      count += before->second;
      free_.erase(before);
    }
  }
  if (after != free_.end() && first + count == after->first) {
    count += after->second;
    free_.erase(after);
  }
  free_[first] = count;
}

int64_t FeaturePool::free_rows() const {
  int64_t rows = 0;
  for (const auto& [first, count] : free_) rows += count;
  return rows;
}

}  // namespace qvl

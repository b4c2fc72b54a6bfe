#include "runtime/row_allocator.h"

#include <iterator>

#include "core/check.h"

namespace qvl {

std::optional<RowRange> RowAllocator::take(int64_t rows) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [first, count] = *it;
    if (count < rows) continue;
    free_.erase(it);
    if (count > rows) free_[first + rows] = count - rows;
    return RowRange{first, rows};
  }
  return std::nullopt;
}

void RowAllocator::give_back(RowRange range) {
  require(range.first >= 0 && range.rows > 0 && range.end() <= total_,
          "rows of another buffer given back");
  auto after = free_.lower_bound(range.first);
  require(after == free_.end() || range.end() <= after->first, "rows given back twice");
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    const int64_t before_end = before->first + before->second;
    require(before_end <= range.first, "rows given back twice");
    if (before_end == range.first) {
      range = {before->first, before->second + range.rows};
      free_.erase(before);
    }
  }
  if (after != free_.end() && range.end() == after->first) {
    range.rows += after->second;
    free_.erase(after);
  }
  free_[range.first] = range.rows;
}

int64_t RowAllocator::free_rows() const {
  int64_t rows = 0;
  for (const auto& [first, count] : free_) rows += count;
  return rows;
}

}  // namespace qvl

#include "runtime/block_pool.h"

#include "core/check.h"

namespace qvl {

BlockPool::BlockPool(int64_t pages) : total_(pages), is_free_(static_cast<size_t>(pages), true) {
  for (int64_t p = pages - 1; p >= 0; --p) free_.push_back(static_cast<int32_t>(p));
}

std::optional<std::vector<int32_t>> BlockPool::take(int64_t count) {
  if (count > free_pages()) return std::nullopt;
  std::vector<int32_t> pages;
  for (int64_t i = 0; i < count; ++i) {
    pages.push_back(free_.back());
    is_free_[static_cast<size_t>(free_.back())] = false;
    free_.pop_back();
  }
  return pages;
}

void BlockPool::give_back(const std::vector<int32_t>& pages) {
  for (const int32_t page : pages) {
    require(page >= 0 && page < total_, "block pool: page of another pool");
    require(!is_free_[static_cast<size_t>(page)], "block pool: page given back twice");
    is_free_[static_cast<size_t>(page)] = true;
    free_.push_back(page);
  }
}

}  // namespace qvl

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace qvl {

/// Which pages of the cache are free. Pages are handed out lowest number first after a fresh start.
class BlockPool {
 public:
  explicit BlockPool(int64_t pages);

  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int64_t total_pages() const { return total_; }

  /// Nothing is taken if fewer than `count` are free.
  std::optional<std::vector<int32_t>> take(int64_t count);
  /// Pages that take() gave; each is given back once.
  void give_back(const std::vector<int32_t>& pages);

 private:
  int64_t total_;
  std::vector<int32_t> free_;  // a stack
  std::vector<bool> is_free_;
};

}  // namespace qvl

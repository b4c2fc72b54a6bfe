#include "runtime/block_pool.h"

#include <algorithm>

#include "core/check.h"

namespace qvl {

BlockPool::BlockPool(int64_t pages) : pages_(static_cast<size_t>(pages)) {
  for (int64_t p = pages - 1; p >= 0; --p) free_.push_back(static_cast<int32_t>(p));
}

BlockPool::Page& BlockPool::page(int32_t number) {
  require(number >= 0 && number < total_pages(), "block pool: page of another pool");
  return pages_[static_cast<size_t>(number)];
}

int64_t BlockPool::owned_pages() const {
  return std::count_if(pages_.begin(), pages_.end(), [](const Page& p) { return p.owners > 0; });
}

void BlockPool::give_up_oldest() {
  const int32_t number = cached_.begin()->second;
  cached_.erase(cached_.begin());
  Page& oldest = page(number);
  published_.erase(*oldest.key);
  oldest.key.reset();
  free_.push_back(number);
}

std::optional<std::vector<int32_t>> BlockPool::take(int64_t count) {
  if (count > available_pages()) return std::nullopt;
  while (free_pages() < count) give_up_oldest();
  std::vector<int32_t> taken;
  taken.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    taken.push_back(free_.back());
    free_.pop_back();
    page(taken.back()).owners = 1;
  }
  return taken;
}

int64_t BlockPool::known(std::span<const PageKey> keys) const {
  const auto unknown = std::find_if(keys.begin(), keys.end(),
                                    [&](const PageKey& key) { return !published_.contains(key); });
  return unknown - keys.begin();
}

std::vector<int32_t> BlockPool::take_known(std::span<const PageKey> keys) {
  std::vector<int32_t> taken;
  for (const PageKey& key : keys) {
    const auto it = published_.find(key);
    if (it == published_.end()) break;
    Page& p = page(it->second);
    if (p.owners++ == 0) cached_.erase(p.last_used);
    taken.push_back(it->second);
  }
  return taken;
}

void BlockPool::publish(int32_t number, const PageKey& key) {
  Page& p = page(number);
  require(p.owners > 0, "block pool: a page without owner is published");
  require(!p.key, "block pool: a page is published twice");
  if (published_.emplace(key, number).second) p.key = key;
  ++version_;
}

void BlockPool::give_back(const std::vector<int32_t>& pages) {
  ++version_;
  for (auto it = pages.rbegin(); it != pages.rend(); ++it) {
    Page& p = page(*it);
    require(p.owners > 0, "block pool: page given back twice");
    if (--p.owners > 0) continue;
    if (p.key) {
      p.last_used = clock_++;
      cached_.emplace(p.last_used, *it);
    } else {
      free_.push_back(*it);
    }
  }
}

}  // namespace qvl

#include "runtime/feature_cache.h"

#include "core/check.h"

namespace qvl {

void FeatureCache::erase(Entries::iterator entry) {
  rows_.give_back(entry->second.rows);
  entries_.erase(entry);
}

bool FeatureCache::give_up_oldest() {
  auto oldest = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->second.users > 0 || !it->second.ready) continue;
    if (oldest == entries_.end() || it->second.last_used < oldest->second.last_used) oldest = it;
  }
  if (oldest == entries_.end()) return false;
  erase(oldest);
  return true;
}

std::optional<RowRange> FeatureCache::take_known(const PageKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return std::nullopt;
  ++found->second.users;
  return found->second.rows;
}

std::optional<RowRange> FeatureCache::take_new(const PageKey& key, int64_t rows) {
  require(!entries_.contains(key), "features are computed twice");
  std::optional<RowRange> taken = rows_.take(rows);
  while (!taken && give_up_oldest()) taken = rows_.take(rows);
  if (taken) entries_[key] = {.rows = *taken, .users = 1};
  return taken;
}

void FeatureCache::give_back(const PageKey& key) {
  const auto found = entries_.find(key);
  require(found != entries_.end() && found->second.users > 0, "features given back twice");
  Entry& entry = found->second;
  entry.last_used = clock_++;
  if (--entry.users == 0 && entry.ready && keep_ == Keep::no) erase(found);
}

void FeatureCache::set_ready(const PageKey& key) {
  const auto found = entries_.find(key);
  require(found != entries_.end() && !found->second.ready, "unknown features became ready");
  found->second.ready = true;
  if (found->second.users == 0 && keep_ == Keep::no) erase(found);
}

void FeatureCache::abandon(const PageKey& key) {
  const auto found = entries_.find(key);
  require(found != entries_.end() && found->second.users == 0 && !found->second.ready,
          "features in use are abandoned");
  erase(found);
}

int64_t FeatureCache::cached_rows() const {
  int64_t rows = 0;
  for (const auto& [key, e] : entries_) rows += e.users == 0 && e.ready ? e.rows.rows : 0;
  return rows;
}

int64_t FeatureCache::owned_rows() const {
  int64_t rows = 0;
  for (const auto& [key, e] : entries_) rows += e.users > 0 || !e.ready ? e.rows.rows : 0;
  return rows;
}

int64_t FeatureCache::users() const {
  int64_t users = 0;
  for (const auto& [key, e] : entries_) users += e.users;
  return users;
}

}  // namespace qvl

#include "runtime/feature_cache.h"

#include "core/check.h"

namespace qvl {

void FeatureCache::erase(std::map<PageKey, Entry>::iterator entry) {
  runner_->give_back_features(entry->second.features);
  entries_.erase(entry);
}

bool FeatureCache::give_up_oldest() {
  auto oldest = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->second.users > 0) continue;
    if (oldest == entries_.end() || it->second.last_used < oldest->second.last_used) oldest = it;
  }
  if (oldest == entries_.end()) return false;
  erase(oldest);
  return true;
}

std::optional<FeatureCache::Taken> FeatureCache::take(const PageKey& key, const Grid& grid) {
  const auto found = entries_.find(key);
  if (found != entries_.end()) {
    ++found->second.users;
    return Taken{found->second.features, true};
  }
  std::optional<ActMat> features = runner_->take_features(grid);
  while (!features && give_up_oldest()) features = runner_->take_features(grid);
  if (!features) return std::nullopt;
  entries_.emplace(key, Entry{*features, 1, 0});
  return Taken{*features, false};
}

void FeatureCache::give_back(const PageKey& key) {
  const auto found = entries_.find(key);
  require(found != entries_.end() && found->second.users > 0, "features given back twice");
  Entry& entry = found->second;
  entry.last_used = clock_++;
  if (--entry.users == 0 && keep_ == Keep::no) erase(found);
}

}  // namespace qvl

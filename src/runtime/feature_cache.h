#pragma once

#include <map>
#include <optional>

#include "runtime/prefix_key.h"
#include "runtime/runner.h"

namespace qvl {

/// Features of pictures by what they were computed from. Those that nobody uses stay in the feature
/// pool until others need the room, the least recently used going first: a prompt's shared pages
/// may end inside a picture, whose last rows are then needed again.
class FeatureCache {
 public:
  enum class Keep : uint8_t { yes, no };

  /// `runner` outlives the cache. Keep::no: features go when their last user gives them back.
  FeatureCache(Runner& runner, Keep keep) : runner_(&runner), keep_(keep) {}

  struct Taken {
    ActMat features;
    bool computed = false;  ///< false: the caller runs the vision tower before anything else
  };
  /// One user more for the features of `key`, which are those of one picture of `grid`. Nothing if
  /// others use the room now.
  std::optional<Taken> take(const PageKey& key, const Grid& grid);
  /// One user less. `key` was taken.
  void give_back(const PageKey& key);

 private:
  struct Entry {
    ActMat features;
    int64_t users = 0;
    uint64_t last_used = 0;
  };
  bool give_up_oldest();
  void erase(std::map<PageKey, Entry>::iterator entry);

  Runner* runner_;
  Keep keep_;
  std::map<PageKey, Entry> entries_;
  uint64_t clock_ = 0;
};

}  // namespace qvl

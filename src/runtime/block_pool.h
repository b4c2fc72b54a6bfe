#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/prefix_key.h"

namespace qvl {

/// Who holds the pages of the cache. A page is free; or owned, by one or more sequences; or cached:
/// nobody's, but what it holds is known under a key and may be owned again. free + cached + owned =
/// total, always. Pages are handed out lowest number first after a fresh start.
class BlockPool {
 public:
  explicit BlockPool(int64_t pages);

  int64_t total_pages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int64_t cached_pages() const { return static_cast<int64_t>(cached_.size()); }
  int64_t available_pages() const { return free_pages() + cached_pages(); }
  /// Counts, page by page.
  int64_t owned_pages() const;
  int64_t owners(int32_t number) const { return pages_[static_cast<size_t>(number)].owners; }
  /// Changes when pages become available or known: what could not be taken before may be there now.
  uint64_t version() const { return version_; }

  /// Pages with one owner and no known content. If too few are free, cached ones are given up, the
  /// least recently used first. Nothing is taken if that is not enough.
  std::optional<std::vector<int32_t>> take(int64_t count);

  /// How many of the first keys are known.
  int64_t known(std::span<const PageKey> keys) const;
  /// The pages of the first keys, up to the first that is not known; each has one owner more.
  std::vector<int32_t> take_known(std::span<const PageKey> keys);
  /// `page`, which is owned, is complete and will not be written again. If the key is known already
  /// nothing changes.
  void publish(int32_t page, const PageKey& key);

  /// One owner less for each page. `pages` are of one sequence in its order: what comes later in a
  /// sequence is given up first, as it is of use only after what comes before.
  void give_back(const std::vector<int32_t>& pages);

 private:
  struct Page {
    int32_t owners = 0;
    uint64_t last_used = 0;  ///< key into cached_, if it is there
    std::optional<PageKey> key;
  };
  struct KeyHash {
    size_t operator()(const PageKey& key) const {  // a hash already
      size_t out = 0;
      std::memcpy(&out, key.data(), sizeof(out));
      return out;
    }
  };

  Page& page(int32_t number);
  void give_up_oldest();

  std::vector<Page> pages_;
  std::vector<int32_t> free_;           // a stack
  std::map<uint64_t, int32_t> cached_;  // by time of last use
  std::unordered_map<PageKey, int32_t, KeyHash> published_;
  uint64_t clock_ = 0;
  uint64_t version_ = 0;
};

}  // namespace qvl

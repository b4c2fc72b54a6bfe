#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "runtime/prefix_key.h"
#include "runtime/row_allocator.h"

namespace qvl {

/// Which rows of the feature buffer belong to which picture. Features that nobody uses stay until
/// others need the room, the least recently used going first: the next turn of a conversation may
/// begin inside a picture, and an interrupted prompt is computed again. Knows numbers only.
class FeatureCache {
 public:
  enum class Keep : uint8_t { yes, no };

  /// A buffer of `rows` rows. Keep::no: features go when their last user gives them back.
  FeatureCache(int64_t rows, Keep keep) : rows_(rows), keep_(keep) {}

  /// One user more for features that are there or being computed; nothing if the key is unknown.
  std::optional<RowRange> take_known(const PageKey& key);
  /// Room for the features of an unknown key, with one user; they are being computed until
  /// set_ready. Nothing if those in use leave no room.
  std::optional<RowRange> take_new(const PageKey& key, int64_t rows);
  /// One user less. Features that are being computed stay.
  void give_back(const PageKey& key);

  bool ready(const PageKey& key) const { return entries_.at(key).ready; }
  int64_t users(const PageKey& key) const { return entries_.at(key).users; }
  void set_ready(const PageKey& key);
  /// Forgets features that are being computed and have no users.
  void abandon(const PageKey& key);

  int64_t total_rows() const { return rows_.total_rows(); }
  int64_t free_rows() const { return rows_.free_rows(); }
  int64_t cached_rows() const;  ///< of features without users
  int64_t owned_rows() const;
  int64_t users() const;  ///< of all features together

 private:
  struct Entry {
    RowRange rows;
    int64_t users = 0;
    bool ready = false;
    uint64_t last_used = 0;
  };
  using Entries = std::map<PageKey, Entry>;
  bool give_up_oldest();
  void erase(Entries::iterator entry);

  RowAllocator rows_;
  Keep keep_;
  Entries entries_;
  uint64_t clock_ = 0;
};

}  // namespace qvl

#pragma once

/// What was entered in earlier chats: one JSON string per line, in a file only its owner can read.

#include <string>
#include <vector>

#include "qvl/result.h"

namespace qvl {

/// $XDG_STATE_HOME/qvl/history, or ~/.local/state/qvl/history; empty if neither is known.
std::string history_path();

class History {
 public:
  static constexpr size_t kMaxEntries = 1000;

  /// An empty path: nothing is kept.
  explicit History(std::string path) : path_(std::move(path)) {}

  /// The last entries, oldest first. A file that is missing or not a history has none. A file that
  /// has grown long is cut to the last kMaxEntries.
  std::vector<std::string> load() const;
  /// Appends, so that chats at the same time lose nothing. Creates the folder and the file (0600).
  Status add(const std::string& entry) const;

 private:
  std::string path_;
};

}  // namespace qvl

#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace qvl {

/// Consecutive rows of a buffer.
struct RowRange {
  int64_t first = 0;
  int64_t rows = 0;

  int64_t end() const { return first + rows; }
  bool operator==(const RowRange&) const = default;
};

/// Who holds which rows of a buffer; knows numbers, not the buffer. First fit; neighbours that
/// become free join.
class RowAllocator {
 public:
  explicit RowAllocator(int64_t rows) : total_(rows) {
    if (rows > 0) free_[0] = rows;
  }

  /// `rows` > 0 consecutive rows, or nothing if no gap is large enough now.
  std::optional<RowRange> take(int64_t rows);
  void give_back(RowRange range);

  int64_t total_rows() const { return total_; }
  int64_t free_rows() const;

 private:
  int64_t total_;
  std::map<int64_t, int64_t> free_;  // first row → rows
};

}  // namespace qvl

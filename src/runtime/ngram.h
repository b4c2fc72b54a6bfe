#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace qvl {

/// Guesses how a sequence goes on: as it did after the last earlier place where its last n tokens
/// stood, for the largest n in [min_n, max_n] that has one ("prompt lookup"). Right guesses are
/// common where an answer quotes its prompt: documents, code, tables.
class NgramIndex {
 public:
  /// 1 <= min_n <= max_n <= 16.
  NgramIndex(int min_n, int max_n) : min_n_(min_n), max_n_(max_n) {}

  /// At most `count` guesses. `tokens` is the whole sequence; between calls it only grows. Costs
  /// max_n lookups per new token.
  void propose(std::span<const int32_t> tokens, int64_t count, std::vector<int32_t>& out);

 private:
  static uint64_t hash(std::span<const int32_t> tokens);

  int min_n_;
  int max_n_;
  size_t indexed_ = 0;  ///< n-grams that end before this token are in the table
  std::unordered_map<uint64_t, size_t> next_;  ///< of an n-gram: where the token after it stands
};

}  // namespace qvl

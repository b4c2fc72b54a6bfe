#include "runtime/ngram.h"

#include <algorithm>

namespace qvl {

uint64_t NgramIndex::hash(std::span<const int32_t> tokens) {
  uint64_t hash = 0xcbf29ce484222325ULL + tokens.size();
  for (const int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001b3ULL;
  }
  return hash;
}

void NgramIndex::propose(std::span<const int32_t> tokens, int64_t count,
                         std::vector<int32_t>& out) {
  out.clear();
  // An n-gram is known when it has a token after it.
  for (; indexed_ + 1 < tokens.size(); ++indexed_) {
    const size_t end = indexed_ + 1;
    for (int n = min_n_; n <= max_n_ && static_cast<size_t>(n) <= end; ++n) {
      next_[hash(tokens.subspan(end - static_cast<size_t>(n), static_cast<size_t>(n)))] = end;
    }
  }
  if (count <= 0) return;
  for (int n = max_n_; n >= min_n_; --n) {
    const auto size = static_cast<size_t>(n);
    if (size >= tokens.size()) continue;
    const std::span<const int32_t> last = tokens.last(size);
    const auto found = next_.find(hash(last));
    if (found == next_.end()) continue;
    const size_t from = found->second;
    if (!std::equal(last.begin(), last.end(),
                    tokens.begin() + static_cast<std::ptrdiff_t>(from - size))) {
      continue;  // another n-gram of the same hash
    }
    const size_t to = std::min(tokens.size(), from + static_cast<size_t>(count));
    out.assign(tokens.begin() + static_cast<std::ptrdiff_t>(from),
               tokens.begin() + static_cast<std::ptrdiff_t>(to));
    return;
  }
}

}  // namespace qvl

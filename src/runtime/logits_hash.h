#pragma once

#include <bit>
#include <cstdint>

#include "core/view.h"

namespace qvl {

/// FNV-1a over the bit patterns of the logits, 32 bits at a time: equal hashes stand for equal
/// bits.
inline uint64_t logits_hash(Vec<const float> logits) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (int64_t i = 0; i < logits.size; ++i) {
    hash = (hash ^ std::bit_cast<uint32_t>(logits.data[i])) * 0x100000001b3ULL;
  }
  return hash;
}

}  // namespace qvl

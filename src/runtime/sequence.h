#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/attention.h"
#include "qvl/request.h"

namespace qvl {

/// One sequence as a step sees it: tokens, where their cache lies, and the pictures among them.
struct Sequence {
  std::vector<int32_t> tokens;  ///< prompt, then generated
  int64_t prompt_tokens = 0;
  std::vector<EmbedSpan> spans;
  std::vector<std::optional<ActMat>> features;  ///< per media item, while they are held
  std::vector<int32_t> block_table;
  int64_t computed = 0;  ///< tokens whose keys and values are in the cache

  Role role_of(int64_t token) const {
    return token < prompt_tokens ? Role::prompt : Role::generated;
  }
};

/// Some of a sequence's next tokens, all of one role: [computed, computed + rows).
struct SequenceChunk {
  const Sequence* sequence = nullptr;
  int64_t rows = 0;
  Role role = Role::prompt;
};

}  // namespace qvl

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/attention.h"
#include "qvl/request.h"
#include "runtime/row_allocator.h"

namespace qvl {

/// One sequence as a step sees it: tokens, where their cache lies, and the pictures among them.
struct Sequence {
  std::vector<int32_t> tokens;  ///< prompt, then generated
  int64_t prompt_tokens = 0;
  std::vector<EmbedSpan> spans;
  std::vector<std::optional<RowRange>> features;  ///< per media item, while they are held
  std::vector<int32_t> block_table;
  int64_t computed = 0;  ///< tokens whose keys and values are in the cache

  Role role_of(int64_t token) const {
    return token < prompt_tokens ? Role::prompt : Role::generated;
  }
  int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_tokens; }
  std::span<const int32_t> prompt() const {
    return {tokens.data(), static_cast<size_t>(prompt_tokens)};
  }
  std::span<const int32_t> answer() const {
    return std::span(tokens).subspan(static_cast<size_t>(prompt_tokens));
  }
};

/// Some of a sequence's next tokens, all of one role: [begin, begin + rows).
struct SequenceChunk {
  const Sequence* sequence = nullptr;
  int64_t begin = 0;
  int64_t rows = 0;
  Role role = Role::prompt;
  std::span<const int32_t> drafts = {};  ///< guessed tokens that follow the last known one; the
                                         ///< chunk's last rows
};

/// A picture for the vision tower, and where its features go.
struct Picture {
  Grid grid;
  std::shared_ptr<const uint8_t> patches;  ///< [grid.patches(), patch_dim]
  RowRange features;                       ///< grid.patches() / merge_unit rows
};

}  // namespace qvl

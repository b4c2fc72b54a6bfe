#pragma once

/// The added tokens of a tokenizer: texts that become one token wherever their origin allows it,
/// before anything else looks at the text.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "qvl/result.h"
#include "text/bpe.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

namespace qvl {

class AddedTokens {
 public:
  /// Fails if two tokens share an id or a text, or one has the id of another text in the
  /// vocabulary.
  static Result<AddedTokens> create(std::vector<AddedToken> tokens, const Vocabulary& vocabulary);

  const AddedToken* find(std::string_view text) const;
  const AddedToken* find(int32_t id) const;
  /// One past the largest id; 0 if there are none.
  int32_t end_id() const { return end_id_; }

  /// How far from a place on every byte is of the origin that a kind of token needs.
  struct Reach {
    size_t special;  ///< template text
    size_t plain;    ///< template text or assistant history
  };
  /// The longest token that `text` starts with and that lies within the reach, or null.
  const AddedToken* match(std::string_view text, Reach reach) const;
  bool may_start(char c) const { return starts_[static_cast<uint8_t>(c)]; }

 private:
  std::vector<AddedToken> tokens_;  ///< sorted by text
  std::vector<int32_t> by_id_;      ///< indices of tokens_, sorted by id
  std::vector<bool> starts_ = std::vector<bool>(256, false);
  int32_t end_id_ = 0;
};

}  // namespace qvl

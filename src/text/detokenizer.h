#pragma once

/// Turns a stream of token ids into text, never splitting a character: bytes of an unfinished UTF-8
/// sequence are held back until it is complete or known to be invalid (then U+FFFD, as the
/// reference).

#include <string>

#include "text/tokenizer.h"

namespace qvl {

class Detokenizer {
 public:
  enum class Special { skip, keep };

  Detokenizer(const Tokenizer& tokenizer, Special special);

  /// Text that became certain with `id`; may be empty.
  std::string push(int32_t id);
  /// What is left when the stream ends.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  Special special_;
  std::string pending_;
};

}  // namespace qvl

#pragma once

/// Reads tokenizer.json: the large tables without a document tree, the rest checked against what
/// the Qwen2 family has. Anything else is refused rather than tokenized differently.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/result.h"
#include "text/bpe.h"

namespace qvl {

struct AddedToken {
  int32_t id;
  std::string content;
  bool special;
};

struct TokenizerFile {
  Bpe bpe;
  std::vector<AddedToken> added_tokens;
};

Result<TokenizerFile> parse_tokenizer_json(std::string_view json);

}  // namespace qvl

#pragma once

/// Byte-level BPE of a checkpoint's tokenizer.json (Qwen2Tokenizer): NFC, split by the fixed
/// pattern of the family, byte-level merges, added tokens. Immutable after loading; safe to share
/// between threads.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/result.h"

namespace qvl {

/// Where a piece of text comes from, which decides what it may become. Only template text may
/// become any control token; assistant history may yield the non-special added tokens (<think>,
/// <tool_call>, …); user, system and tool text is never more than text.
enum class Origin : uint8_t { template_text, assistant, user };

struct TextPiece {
  std::string text;
  Origin origin = Origin::user;

  bool operator==(const TextPiece&) const = default;
};

class Tokenizer {
 public:
  /// Reads a tokenizer.json of at most 64 MiB.
  static Result<Tokenizer> load(const std::string& path);
  static Result<Tokenizer> parse(std::string_view json);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Tokens of the concatenated pieces, as the reference library gives for the one string:
  /// neighbours merge across piece borders, except where an added token of an allowed origin lies.
  /// Invalid UTF-8 is replaced by U+FFFD first, one per maximal invalid part.
  std::vector<int32_t> encode(std::span<const TextPiece> pieces) const;
  std::vector<int32_t> encode(std::string_view text, Origin origin) const;

  /// The bytes that `id` stands for; added tokens give their text. Empty for an id without a token.
  std::string_view bytes(int32_t id) const;
  /// True for added tokens that decoding drops when it skips special tokens.
  bool is_special(int32_t id) const;
  std::optional<int32_t> added_token(std::string_view text) const;
  /// One past the largest id that has a token (151669 for the published checkpoints).
  int32_t size() const;

 private:
  struct Tables;
  explicit Tokenizer(std::unique_ptr<const Tables> tables);
  std::unique_ptr<const Tables> tables_;
};

}  // namespace qvl

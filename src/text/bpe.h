#pragma once

/// The vocabulary and merges of a byte-level BPE, in flat tables. Immutable once made, but for what
/// it remembers of its own answers; safe to share.

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qvl/result.h"

namespace qvl {

/// Token texts by id; an id may be without a token.
class Vocabulary {
 public:
  struct Token {
    std::string_view bytes;
    int32_t id;
  };

  /// Fails if two tokens share an id or a text, or an id is negative or too large to be real.
  static Result<Vocabulary> create(const std::vector<Token>& tokens);

  std::string_view bytes(int32_t id) const {
    if (id < 0 || id >= size()) return {};
    return std::string_view(text_).substr(starts_[id], starts_[id + 1] - starts_[id]);
  }
  /// The id of a token, or -1.
  int32_t find(std::string_view bytes) const;
  /// One past the largest id.
  int32_t size() const { return static_cast<int32_t>(starts_.size()) - 1; }
  size_t max_token_bytes() const { return max_token_bytes_; }

 private:
  std::string text_;
  std::vector<uint32_t> starts_;  ///< by id, and the end of the last
  std::vector<int32_t> slots_;    ///< open addressing by the hash of the text; -1 is empty
  size_t max_token_bytes_ = 0;
};

/// Joins neighbours in the order of the merges, as the reference's BPE does with ignore_merges off:
/// always the pair of the lowest rank, the leftmost of equals.
class Bpe {
 public:
  struct Merge {
    int32_t left;
    int32_t right;
    int32_t joined;
  };

  /// `merges` in order of rank; the first of equal pairs counts. Fails if a byte has no token.
  static Result<Bpe> create(Vocabulary vocabulary, const std::vector<Merge>& merges);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Memory that encode uses; give the same one again to save allocations.
  struct Scratch {
    struct Symbol {
      int32_t id;
      int32_t previous;  ///< position, or -1
      int32_t next;      ///< position, or -1
    };
    struct Candidate {
      int32_t rank;
      int32_t position;
      int32_t left;
      int32_t right;
    };
    std::vector<int32_t> ids;
    std::vector<int32_t> ranks;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    int64_t lookups = 0;  ///< of pairs, by all encodings so far: the work that was done
  };

  /// Appends the tokens of one piece of at most INT32_MAX bytes.
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;

 private:
  struct Slot {
    int32_t left;  ///< -1: empty
    int32_t right;
    int32_t rank;
    int32_t joined;
  };

  const Slot* find(int32_t left, int32_t right) const;
  int32_t rank(int32_t left, int32_t right, Scratch& scratch) const;
  void merge(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;
  void merge_short(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;
  void merge_long(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;

  Vocabulary vocabulary_;
  std::vector<int32_t> byte_ids_;
  std::vector<Slot> slots_;
  /// By id: merging the token's own bytes was seen to give the token. Who asks first finds out.
  mutable std::vector<std::atomic<bool>> known_whole_;
};

}  // namespace qvl

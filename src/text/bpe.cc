#include "text/bpe.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace qvl {
namespace {

constexpr int32_t kMaxId = 1 << 22;
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();
/// Up to this size a scan for the lowest rank beats the heap.
constexpr size_t kShortPiece = 48;

uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15U;
  return x ^ (x >> 29);
}

uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = bytes.size();
  while (bytes.size() > 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    hash = mix(hash ^ word) * 0xD6E8FEB86659FD93U;
    bytes.remove_prefix(8);
  }
  uint64_t word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  return mix(mix(hash ^ word));
}

uint64_t hash_pair(int32_t left, int32_t right) {
  return mix(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
}

/// Slots of a table that stays at most half full.
size_t table_size(size_t entries) { return std::bit_ceil(2 * entries + 2); }

Error bad_tokenizer(std::string detail) {
  return Error{ErrorCode::bad_tokenizer, std::move(detail), {}};
}

}  // namespace

Result<Vocabulary> Vocabulary::create(const std::vector<Token>& tokens) {
  Vocabulary v;
  int32_t size = 0;
  for (const Token& token : tokens) {
    if (token.id < 0 || token.id >= kMaxId) {
      return bad_tokenizer(
          fmt::format("a token has id {}, expected 0 to {}", token.id, kMaxId - 1));
    }
    if (token.bytes.empty()) return bad_tokenizer(fmt::format("token {} is empty", token.id));
    size = std::max(size, token.id + 1);
    v.max_token_bytes_ = std::max(v.max_token_bytes_, token.bytes.size());
  }

  std::vector<const Token*> by_id(static_cast<size_t>(size), nullptr);
  size_t text_bytes = 0;
  for (const Token& token : tokens) {
    if (by_id[token.id] != nullptr) {
      return bad_tokenizer(fmt::format("id {} belongs to two tokens", token.id));
    }
    by_id[token.id] = &token;
    text_bytes += token.bytes.size();
  }
  v.text_.reserve(text_bytes);
  v.starts_.reserve(by_id.size() + 1);
  for (const Token* token : by_id) {
    v.starts_.push_back(static_cast<uint32_t>(v.text_.size()));
    if (token != nullptr) v.text_ += token->bytes;
  }
  v.starts_.push_back(static_cast<uint32_t>(v.text_.size()));

  v.slots_.assign(table_size(tokens.size()), -1);
  const size_t mask = v.slots_.size() - 1;
  for (const Token& token : tokens) {
    size_t slot = hash_bytes(token.bytes) & mask;
    for (; v.slots_[slot] >= 0; slot = (slot + 1) & mask) {
      if (v.bytes(v.slots_[slot]) == token.bytes) {
        return bad_tokenizer(
            fmt::format("ids {} and {} have the same text", v.slots_[slot], token.id));
      }
    }
    v.slots_[slot] = token.id;
  }
  return v;
}

int32_t Vocabulary::find(std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_bytes(text) & mask;
  while (slots_[slot] >= 0 && bytes(slots_[slot]) != text) slot = (slot + 1) & mask;
  return slots_[slot];
}

Result<Bpe> Bpe::create(Vocabulary vocabulary, const std::vector<Merge>& merges) {
  Bpe bpe;
  bpe.vocabulary_ = std::move(vocabulary);
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    const int32_t id = bpe.vocabulary_.find({&text, 1});
    if (id < 0) return bad_tokenizer(fmt::format("byte 0x{:02x} has no token", byte));
    bpe.byte_ids_.push_back(id);
  }

  bpe.slots_.assign(table_size(merges.size()), Slot{-1, -1, kNoRank, -1});
  const size_t mask = bpe.slots_.size() - 1;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& m = merges[rank];
    size_t slot = hash_pair(m.left, m.right) & mask;
    const auto is_pair = [&](const Slot& s) { return s.left == m.left && s.right == m.right; };
    while (bpe.slots_[slot].left >= 0 && !is_pair(bpe.slots_[slot])) slot = (slot + 1) & mask;
    if (bpe.slots_[slot].left >= 0) continue;
    bpe.slots_[slot] = {m.left, m.right, static_cast<int32_t>(rank), m.joined};
  }

  bpe.known_whole_ = std::vector<std::atomic<bool>>(static_cast<size_t>(bpe.vocabulary_.size()));
  return bpe;
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const {
  if (piece.size() > vocabulary_.max_token_bytes()) return merge(piece, scratch, out);
  const int32_t id = vocabulary_.find(piece);
  if (id >= 0 && known_whole_[id].load(std::memory_order_relaxed)) {
    out.push_back(id);
    return;
  }
  const size_t first = out.size();
  merge(piece, scratch, out);
  if (id >= 0 && out.size() == first + 1 && out[first] == id) {
    known_whole_[id].store(true, std::memory_order_relaxed);
  }
}

const Bpe::Slot* Bpe::find(int32_t left, int32_t right) const {
  const size_t mask = slots_.size() - 1;
  size_t i = hash_pair(left, right) & mask;
  while (slots_[i].left >= 0) {
    if (slots_[i].left == left && slots_[i].right == right) return &slots_[i];
    i = (i + 1) & mask;
  }
  return nullptr;
}

int32_t Bpe::rank(int32_t left, int32_t right, Scratch& scratch) const {
  ++scratch.lookups;
  const Slot* slot = find(left, right);
  return slot != nullptr ? slot->rank : kNoRank;
}

void Bpe::merge(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const {
  if (piece.size() <= kShortPiece) {
    merge_short(piece, scratch, out);
  } else {
    merge_long(piece, scratch, out);
  }
}

void Bpe::merge_short(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const {
  std::vector<int32_t>& ids = scratch.ids;
  std::vector<int32_t>& ranks = scratch.ranks;  // ranks[i] is that of ids[i], ids[i + 1]
  ids.clear();
  ranks.clear();
  for (const char c : piece) ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
  for (size_t i = 0; i + 1 < ids.size(); ++i) ranks.push_back(rank(ids[i], ids[i + 1], scratch));
  while (!ranks.empty()) {
    const auto lowest = std::min_element(ranks.begin(), ranks.end());
    if (*lowest == kNoRank) break;
    const auto i = static_cast<size_t>(lowest - ranks.begin());
    ids[i] = find(ids[i], ids[i + 1])->joined;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(i) + 1);
    ranks.erase(lowest);
    if (i > 0) ranks[i - 1] = rank(ids[i - 1], ids[i], scratch);
    if (i + 1 < ids.size()) ranks[i] = rank(ids[i], ids[i + 1], scratch);
  }
  out.insert(out.end(), ids.begin(), ids.end());
}

void Bpe::merge_long(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const {
  using Symbol = Scratch::Symbol;
  using Candidate = Scratch::Candidate;
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Candidate>& heap = scratch.heap;
  symbols.clear();
  heap.clear();
  const auto count = static_cast<int32_t>(piece.size());
  for (int32_t i = 0; i < count; ++i) {
    const int32_t next = i + 1 < count ? i + 1 : -1;
    symbols.push_back({byte_ids_[static_cast<uint8_t>(piece[i])], i - 1, next});
  }
  const auto comes_later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto candidate = [&](int32_t position) {
    const Symbol& left = symbols[position];
    if (left.next < 0) return Candidate{kNoRank, position, -1, -1};
    const int32_t right = symbols[left.next].id;
    return Candidate{rank(left.id, right, scratch), position, left.id, right};
  };
  const auto push = [&](int32_t position) {
    const Candidate c = candidate(position);
    if (c.rank == kNoRank) return;
    heap.push_back(c);
    std::push_heap(heap.begin(), heap.end(), comes_later);
  };
  for (int32_t i = 0; i < count; ++i) {
    if (const Candidate c = candidate(i); c.rank != kNoRank) heap.push_back(c);
  }
  std::make_heap(heap.begin(), heap.end(), comes_later);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    const Candidate c = heap.back();
    heap.pop_back();
    Symbol& left = symbols[c.position];
    // The pair may have changed since; its symbols then have other ids (-1 for a swallowed one).
    if (left.id != c.left || left.next < 0 || symbols[left.next].id != c.right) continue;
    Symbol& right = symbols[left.next];
    left.id = find(c.left, c.right)->joined;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = c.position;
    if (left.previous >= 0) push(left.previous);
    push(c.position);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next) out.push_back(symbols[i].id);
}

}  // namespace qvl

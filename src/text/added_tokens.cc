#include "text/added_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

namespace qvl {
namespace {

constexpr int32_t kMaxId = 1 << 22;

Error bad_tokenizer(std::string detail) {
  return Error{ErrorCode::bad_tokenizer, std::move(detail), {}};
}

}  // namespace

Result<AddedTokens> AddedTokens::create(std::vector<AddedToken> tokens,
                                        const Vocabulary& vocabulary) {
  AddedTokens added;
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (size_t i = 0; i < tokens.size(); ++i) {
    const AddedToken& t = tokens[i];
    if (t.content.empty()) return bad_tokenizer(fmt::format("added token {} is empty", t.id));
    if (t.id < 0 || t.id >= kMaxId) {
      return bad_tokenizer(fmt::format("added token \"{}\" has id {}, expected 0 to {}", t.content,
                                       t.id, kMaxId - 1));
    }
    if (i > 0 && tokens[i - 1].content == t.content) {
      return bad_tokenizer(fmt::format("added token \"{}\" appears twice", t.content));
    }
    const std::string_view taken = vocabulary.bytes(t.id);
    if (!taken.empty() && taken != t.content) {
      return bad_tokenizer(
          fmt::format("added token \"{}\" has the id {} of another token", t.content, t.id));
    }
    added.starts_[static_cast<uint8_t>(t.content[0])] = true;
    added.end_id_ = std::max(added.end_id_, t.id + 1);
  }
  added.tokens_ = std::move(tokens);

  added.by_id_.resize(added.tokens_.size());
  std::iota(added.by_id_.begin(), added.by_id_.end(), 0);
  const auto id_of = [&](int32_t index) { return added.tokens_[index].id; };
  std::sort(added.by_id_.begin(), added.by_id_.end(),
            [&](int32_t a, int32_t b) { return id_of(a) < id_of(b); });
  const auto twice = std::adjacent_find(added.by_id_.begin(), added.by_id_.end(),
                                        [&](int32_t a, int32_t b) { return id_of(a) == id_of(b); });
  if (twice != added.by_id_.end()) {
    return bad_tokenizer(fmt::format("id {} belongs to two added tokens", id_of(*twice)));
  }
  return added;
}

const AddedToken* AddedTokens::find(std::string_view text) const {
  const auto found =
      std::lower_bound(tokens_.begin(), tokens_.end(), text,
                       [](const AddedToken& t, std::string_view s) { return t.content < s; });
  return found != tokens_.end() && found->content == text ? &*found : nullptr;
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = std::lower_bound(by_id_.begin(), by_id_.end(), id,
                                      [&](int32_t i, int32_t x) { return tokens_[i].id < x; });
  return found != by_id_.end() && tokens_[*found].id == id ? &tokens_[*found] : nullptr;
}

const AddedToken* AddedTokens::match(std::string_view text, Reach reach) const {
  const AddedToken* best = nullptr;
  const size_t limit = std::min(text.size(), std::max(reach.special, reach.plain));
  // All of [first, last) start with the `depth` bytes seen; among them a token of just that size
  // comes first.
  auto first = tokens_.begin();
  auto last = tokens_.end();
  for (size_t depth = 0; depth < limit; ++depth) {
    const auto byte_at = [depth](const AddedToken& t) {
      return depth < t.content.size() ? static_cast<uint8_t>(t.content[depth]) : -1;
    };
    const int byte = static_cast<uint8_t>(text[depth]);
    first = std::partition_point(first, last, [&](const auto& t) { return byte_at(t) < byte; });
    last = std::partition_point(first, last, [&](const auto& t) { return byte_at(t) <= byte; });
    if (first == last) break;
    const size_t size = depth + 1;
    if (first->content.size() == size && size <= (first->special ? reach.special : reach.plain)) {
      best = &*first;
    }
  }
  return best;
}

}  // namespace qvl

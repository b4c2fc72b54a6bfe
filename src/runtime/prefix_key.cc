#include "runtime/prefix_key.h"

#include <algorithm>

#include "kernels/attention.h"
#include "media/content_hash.h"

namespace qvl {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// The rows of `span` that lie in tokens [begin, end).
void add_span(ContentHasher& hash, const EmbedSpan& span, const Patches& media, int64_t begin,
              int64_t end) {
  const int64_t from = std::max(begin, span.first_token);
  const int64_t to = std::min(end, span.end());
  hash.add(media.content_hash);
  for (const int64_t number :
       {int64_t{media.grid.t}, int64_t{media.grid.h}, int64_t{media.grid.w}, int64_t{span.merged_h},
        int64_t{span.merged_w}, span.feature_row + from - span.first_token, from - span.first_token,
        from - begin, to - from}) {
    hash.add(static_cast<uint64_t>(number));
  }
}

}  // namespace

std::vector<PageKey> prefix_keys(std::span<const int32_t> tokens, std::span<const EmbedSpan> spans,
                                 std::span<const Patches> media, std::string_view salt) {
  ContentHasher root;
  root.add(bytes_of(salt));
  PageKey parent = root.digest();
  std::vector<PageKey> keys;
  const auto count = static_cast<int64_t>(tokens.size());
  auto span = spans.begin();
  for (int64_t begin = 0; begin + kPageTokens <= count; begin += kPageTokens) {
    const int64_t end = begin + kPageTokens;
    ContentHasher hash;
    hash.add(parent);
    for (int64_t i = begin; i < end; ++i) {
      hash.add(static_cast<uint64_t>(tokens[static_cast<size_t>(i)]));
    }
    while (span != spans.end() && span->end() <= begin) ++span;
    for (auto touching = span; touching != spans.end() && touching->first_token < end; ++touching) {
      add_span(hash, *touching, media[static_cast<size_t>(touching->media)], begin, end);
    }
    parent = hash.digest();
    keys.push_back(parent);
  }
  return keys;
}

PageKey feature_key(const Patches& media, std::string_view salt) {
  ContentHasher hash;
  hash.add(media.content_hash);
  hash.add(bytes_of(salt));
  return hash.digest();
}

}  // namespace qvl

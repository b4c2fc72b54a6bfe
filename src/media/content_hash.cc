#include "media/content_hash.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace qvl {
namespace {

// Names and numbers as in RFC 7693.

constexpr size_t kBlockBytes = 128;

constexpr std::array<uint64_t, 8> kIv = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
                                         0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                                         0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

constexpr std::array<std::array<uint8_t, 16>, 10> kSigma = {{
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
}};

uint64_t load_le64(const uint8_t* bytes) {
  static_assert(std::endian::native == std::endian::little);
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

void mix(uint64_t& a, uint64_t& b, uint64_t& c, uint64_t& d, uint64_t x, uint64_t y) {
  a += b + x;
  d = std::rotr(d ^ a, 32);
  c += d;
  b = std::rotr(b ^ c, 24);
  a += b + y;
  d = std::rotr(d ^ a, 16);
  c += d;
  b = std::rotr(b ^ c, 63);
}

/// The round is known when this is compiled, so that words of the block are found without a table.
template <size_t kRound>
void mix_round(std::array<uint64_t, 16>& v, const std::array<uint64_t, 16>& m) {
  constexpr std::array<uint8_t, 16> kOrder = kSigma[kRound % kSigma.size()];
  mix(v[0], v[4], v[8], v[12], m[kOrder[0]], m[kOrder[1]]);
  mix(v[1], v[5], v[9], v[13], m[kOrder[2]], m[kOrder[3]]);
  mix(v[2], v[6], v[10], v[14], m[kOrder[4]], m[kOrder[5]]);
  mix(v[3], v[7], v[11], v[15], m[kOrder[6]], m[kOrder[7]]);
  mix(v[0], v[5], v[10], v[15], m[kOrder[8]], m[kOrder[9]]);
  mix(v[1], v[6], v[11], v[12], m[kOrder[10]], m[kOrder[11]]);
  mix(v[2], v[7], v[8], v[13], m[kOrder[12]], m[kOrder[13]]);
  mix(v[3], v[4], v[9], v[14], m[kOrder[14]], m[kOrder[15]]);
}

}  // namespace

ContentHasher::ContentHasher() : state_(kIv) {
  constexpr uint64_t kParameters = 0x01010000 | std::tuple_size_v<Digest>;  // no key, one leaf
  state_[0] ^= kParameters;
}

void ContentHasher::compress(const uint8_t* block, Block kind) {
  std::array<uint64_t, 16> m;
  for (size_t i = 0; i < m.size(); ++i) m[i] = load_le64(block + 8 * i);
  std::array<uint64_t, 16> v;
  std::copy(state_.begin(), state_.end(), v.begin());
  std::copy(kIv.begin(), kIv.end(), v.begin() + 8);
  v[12] ^= compressed_bytes_;  // the upper half of the count stays 0
  if (kind == Block::last) v[14] = ~v[14];
  [&]<size_t... kRounds>(std::index_sequence<kRounds...>) { (mix_round<kRounds>(v, m), ...); }
  (std::make_index_sequence<12>{});
  for (size_t i = 0; i < state_.size(); ++i) state_[i] ^= v[i] ^ v[i + 8];
}

void ContentHasher::add(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    if (pending_bytes_ == kBlockBytes) {
      compressed_bytes_ += kBlockBytes;
      compress(pending_.data(), Block::inner);
      pending_bytes_ = 0;
    }
    const size_t count = std::min(bytes.size(), kBlockBytes - pending_bytes_);
    std::memcpy(pending_.data() + pending_bytes_, bytes.data(), count);
    pending_bytes_ += count;
    bytes = bytes.subspan(count);
  }
}

void ContentHasher::add(uint64_t number) {
  std::array<uint8_t, 8> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(number >> (8 * i));
  add(bytes);
}

ContentHasher::Digest ContentHasher::digest() {
  compressed_bytes_ += pending_bytes_;
  std::fill(pending_.begin() + static_cast<ptrdiff_t>(pending_bytes_), pending_.end(), uint8_t{0});
  compress(pending_.data(), Block::last);
  Digest out;
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<uint8_t>(state_[i / 8] >> (8 * (i % 8)));
  }
  return out;
}

}  // namespace qvl

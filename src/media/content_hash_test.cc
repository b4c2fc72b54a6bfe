#include "media/content_hash.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace qvl {
namespace {

std::string hex(const ContentHasher::Digest& digest) {
  std::string out;
  for (const uint8_t byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

std::string hash_of(std::string_view text) {
  ContentHasher hash;
  hash.add({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  return hex(hash.digest());
}

/// 0, 1, … 255, 0, 1, …
std::vector<uint8_t> counting_bytes(size_t count) {
  std::vector<uint8_t> bytes(count);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  return bytes;
}

// Expected values: b2sum --length=128.
TEST(ContentHasher, IsBlake2bOf16Bytes) {
  EXPECT_EQ(hash_of(""), "cae66941d9efbd404e4d88758ea67670");
  EXPECT_EQ(hash_of("abc"), "cf4ab791c62b8d2b2109c90275287816");
}

TEST(ContentHasher, IsBlake2bOnBothSidesOfABlockBoundary) {
  const auto hash_of_first = [](size_t count) {
    ContentHasher hash;
    hash.add(counting_bytes(count));
    return hex(hash.digest());
  };
  EXPECT_EQ(hash_of_first(127), "28b1296c7d4807883de6ee4ec04dcc0a");
  EXPECT_EQ(hash_of_first(128), "a74787004ef589e31149183900d0294a");
  EXPECT_EQ(hash_of_first(129), "aaf1b0371f6d4ee49ee4fb5ddd9c49ef");
  EXPECT_EQ(hash_of_first(1000), "978a3f8b45508a42fe7f0f99caf2c423");
}

TEST(ContentHasher, DoesNotDependOnHowTheBytesAreCutIntoCalls) {
  const std::vector<uint8_t> bytes = counting_bytes(989);
  ContentHasher whole;
  whole.add(bytes);
  const auto expected = whole.digest();
  for (const size_t piece : {1, 19, 99, 128, 129, 988}) {
    ContentHasher hash;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      hash.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    }
    EXPECT_EQ(hash.digest(), expected) << "pieces of " << piece;
  }
}

TEST(ContentHasher, ANumberIsEightBytesLittleEndian) {
  ContentHasher number;
  number.add(uint64_t{0x0807060504030201});
  ContentHasher bytes;
  bytes.add(std::array<uint8_t, 8>{1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(number.digest(), bytes.digest());
}

}  // namespace
}  // namespace qvl

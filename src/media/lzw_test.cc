#include "media/lzw.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace qvl {
namespace {

/// Codes of equal size, lowest bit first; behind them the end code of literals of 2 bits.
std::vector<uint8_t> packed(std::vector<int> codes, int bits) {
  codes.push_back(5);
  std::vector<uint8_t> bytes;
  uint32_t rest = 0;
  int count = 0;
  for (const int code : codes) {
    rest |= static_cast<uint32_t>(code) << count;
    for (count += bits; count >= 8; count -= 8, rest >>= 8) {
      bytes.push_back(static_cast<uint8_t>(rest));
    }
  }
  if (count > 0) bytes.push_back(static_cast<uint8_t>(rest));
  return bytes;
}

struct Decoded {
  std::string values;  ///< one digit each
  LzwDecoder::State state = LzwDecoder::State::open;
};

Decoded decode(const std::vector<uint8_t>& bytes, int code_bits) {
  LzwDecoder lzw(code_bits);
  Decoded out;
  for (const uint8_t byte : bytes) {
    out.state = lzw.feed(byte, [&](std::span<const uint8_t> string) {
      for (const uint8_t value : string) out.values += static_cast<char>('0' + value);
    });
    if (out.state != LzwDecoder::State::open) break;
  }
  return out;
}

// Literals of 2 bits: 4 clears, 5 ends, entries start at 6. A first code makes no entry.
TEST(Lzw, CodesAreStringsSeenBefore) {
  const Decoded out = decode(packed({4, 1, 2, 6}, 3), 2);
  EXPECT_EQ(out.values, "1212");  // 6 is 12
}

TEST(Lzw, ACodeMayBeTheEntryThatItCompletes) {
  const Decoded out = decode(packed({4, 1, 6}, 3), 2);
  EXPECT_EQ(out.values, "111");  // 6 is 1 and its first value
}

TEST(Lzw, CodesGrowWhenTheTableNeedsIt) {
  // 6 = 12, 7 = 23: the table of 3 bits is full, the next code has 4.
  std::vector<uint8_t> bytes = {4 | 1 << 3 | (2 << 6 & 0xff), 2 >> 2 | 3 << 1 | 7 << 4};
  EXPECT_EQ(decode(bytes, 2).values, "12323");
}

TEST(Lzw, AClearForgetsTheTable) {
  EXPECT_EQ(decode(packed({4, 1, 2, 4, 3, 6}, 3), 2).values, "12333");
  EXPECT_EQ(decode(packed({4, 1, 2, 4, 4, 0, 0}, 3), 2).values, "1200");
}

TEST(Lzw, TheStreamNeedNotStartWithAClear) {
  EXPECT_EQ(decode(packed({1, 2, 6}, 3), 2).values, "1212");
}

TEST(Lzw, NothingIsReadBehindTheEndCode) {
  const Decoded out = decode(packed({4, 1, 5, 2, 2, 2, 2, 2}, 3), 2);
  EXPECT_EQ(out.values, "1");
  EXPECT_EQ(out.state, LzwDecoder::State::at_end_code);
}

TEST(Lzw, ACodeThatIsNotInTheTableIsDamage) {
  EXPECT_EQ(decode(packed({4, 6, 0, 0}, 3), 2).state, LzwDecoder::State::damaged);
  EXPECT_EQ(decode(packed({4, 1, 7, 0}, 3), 2).state, LzwDecoder::State::damaged);
}

TEST(Lzw, AFullTableStaysAsItIs) {
  // Codes of 12 bits from the start on would need 2^11 literals; so grow the table with real ones:
  // each literal after the first makes an entry.
  LzwDecoder lzw(8);
  uint32_t rest = 0;
  int count = 0;
  std::vector<uint8_t> values;
  const auto keep = [&](std::span<const uint8_t> string) {
    values.insert(values.end(), string.begin(), string.end());
  };
  const auto put = [&](int code, int bits) {
    rest |= static_cast<uint32_t>(code) << count;
    for (count += bits; count >= 8; count -= 8, rest >>= 8) {
      EXPECT_EQ(lzw.feed(static_cast<uint8_t>(rest), keep), LzwDecoder::State::open);
    }
  };
  int next = 258;
  int bits = 9;
  put(256, bits);
  constexpr int kLiterals = 5000;
  for (int i = 0; i < kLiterals; ++i) {
    put(i * 7 % 256, bits);
    if (i > 0 && next < 4096 && ++next == 1 << bits && bits < 12) ++bits;
  }
  put(4095, bits);  // the last entry: literals 3837 and 3838
  put(0, bits);
  put(0, bits);
  ASSERT_GE(values.size(), static_cast<size_t>(kLiterals) + 2);
  EXPECT_EQ(values[4999], 4999 * 7 % 256);
  EXPECT_EQ(values[5000], (4095 - 258) * 7 % 256);
  EXPECT_EQ(values[5001], (4095 - 257) * 7 % 256);
}

TEST(Lzw, AnyBytesAreHarmless) {
  std::mt19937 random(7);
  for (int code_bits = 1; code_bits <= 8; ++code_bits) {
    LzwDecoder lzw(code_bits);
    for (int i = 0; i < 20'000; ++i) {
      lzw.feed(static_cast<uint8_t>(random()), [](std::span<const uint8_t> string) {
        ASSERT_GE(string.size(), 1U);
        ASSERT_LE(string.size(), 4096U);
      });
    }
  }
}

}  // namespace
}  // namespace qvl

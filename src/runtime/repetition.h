#pragma once

#include <array>
#include <cstdint>

namespace qvl {

/// Notices that an answer has fallen into a loop: its last tokens are one group of p tokens, p at
/// most 128, over and over, at least 16 times and at least 128 tokens long. So a row of 100 zeros,
/// a table's rule or a dozen empty rows pass; anything that counts or varies within the group never
/// adds up. Costs one comparison per period and token.
class RepetitionDetector {
 public:
  static constexpr int kMaxPeriod = 128;
  static constexpr int64_t kMinRepeats = 16;
  static constexpr int64_t kMinTokens = 128;

  /// True if with `token` the sequence ends in a loop.
  bool push(int32_t token);

 private:
  int64_t count_ = 0;
  std::array<int32_t, kMaxPeriod> last_{};  ///< token i lies at i % kMaxPeriod
  /// [p - 1]: how many of the last tokens equal the one p before them.
  std::array<int64_t, kMaxPeriod> run_{};
};

}  // namespace qvl

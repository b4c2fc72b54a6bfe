#pragma once

/// The compression of GIF: LZW with codes of 3 to 12 bits, lowest bit first.

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "core/function_ref.h"

namespace qvl {

class LzwDecoder {
 public:
  enum class State { open, at_end_code, damaged };

  /// code_bits: of a literal, 1 to 8.
  explicit LzwDecoder(int code_bits);

  /// Feeds one byte, giving `emit` each string that it completes, at most 4096 values at once.
  State feed(uint8_t byte, FunctionRef<void(std::span<const uint8_t>)> emit);

 private:
  static constexpr int kMaxCodeBits = 12;
  static constexpr int kEntries = 1 << kMaxCodeBits;

  void clear();
  /// The string of `code`; nothing for a code that is not in the table.
  std::optional<std::span<const uint8_t>> expand(int code);

  const int clear_code_;
  int code_bits_ = 0;  ///< of the next code
  int next_ = 0;       ///< first free entry
  int previous_ = -1;  ///< the code before; -1 after a clear
  uint8_t first_ = 0;  ///< first value of its string
  uint32_t bits_ = 0;
  int bit_count_ = 0;
  State state_ = State::open;
  std::array<uint8_t, kEntries> last_{};     ///< last value of an entry's string
  std::array<uint16_t, kEntries> prefix_{};  ///< the entry that the string extends
  std::array<uint8_t, kEntries> string_{};
};

}  // namespace qvl

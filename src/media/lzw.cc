#include "media/lzw.h"

namespace qvl {

LzwDecoder::LzwDecoder(int code_bits) : clear_code_(1 << code_bits) {
  for (int i = 0; i < clear_code_; ++i) last_[static_cast<size_t>(i)] = static_cast<uint8_t>(i);
  clear();
}

void LzwDecoder::clear() {
  next_ = clear_code_ + 2;  // after the end code
  code_bits_ = 1;
  while (1 << code_bits_ <= clear_code_) ++code_bits_;
  previous_ = -1;
}

std::optional<std::span<const uint8_t>> LzwDecoder::expand(int code) {
  if (code >= next_ + (previous_ >= 0 ? 1 : 0)) return std::nullopt;
  size_t at = string_.size();
  int entry = code;
  if (code ==
      next_) {  // the entry that this very code completes: the string before, then its first
    string_[--at] = first_;
    entry = previous_;
  }
  for (; entry >= clear_code_; entry = prefix_[static_cast<size_t>(entry)]) {
    string_[--at] = last_[static_cast<size_t>(entry)];
  }
  string_[--at] = static_cast<uint8_t>(entry);
  return std::span(string_).subspan(at);
}

LzwDecoder::State LzwDecoder::feed(uint8_t byte, FunctionRef<void(std::span<const uint8_t>)> emit) {
  if (state_ != State::open) return state_;
  bits_ |= uint32_t{byte} << bit_count_;
  bit_count_ += 8;
  while (state_ == State::open && bit_count_ >= code_bits_) {
    const int code = static_cast<int>(bits_ & ((1U << code_bits_) - 1));
    bits_ >>= code_bits_;
    bit_count_ -= code_bits_;
    if (code == clear_code_) {
      clear();
      continue;
    }
    if (code == clear_code_ + 1) {
      state_ = State::at_end_code;
      break;
    }
    const auto string = previous_ < 0 && code > clear_code_ ? std::nullopt : expand(code);
    if (!string) {
      state_ = State::damaged;
      break;
    }
    first_ = string->front();
    if (previous_ >= 0 && next_ < kEntries) {
      last_[static_cast<size_t>(next_)] = first_;
      prefix_[static_cast<size_t>(next_)] = static_cast<uint16_t>(previous_);
      ++next_;
      if (next_ == 1 << code_bits_ && code_bits_ < kMaxCodeBits) ++code_bits_;
    }
    previous_ = code;
    emit(*string);
  }
  return state_;
}

}  // namespace qvl

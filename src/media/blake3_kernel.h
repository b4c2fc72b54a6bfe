#pragma once

/// BLAKE3's compression of several inputs side by side, one in each lane, for units of one
/// instruction set each. Names and numbers as in the specification of BLAKE3.

#include "media/lanes.h"
#include "media/pixel_kernels.h"

namespace qvl {

template <class Isa, size_t kLanes>
struct Blake3 {
  using Words = typename Lanes<Isa, uint32_t, kLanes>::Vector;

  static constexpr size_t kBlockBytes = 64;
  static constexpr uint32_t kIv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

  static void hash(const uint8_t* inputs, size_t count, const Blake3Inputs& how, uint32_t* values) {
    const size_t input_bytes = how.blocks * kBlockBytes;
    for (size_t first = 0; first < count; first += kLanes) {
      const size_t lanes = count - first < kLanes ? count - first : kLanes;
      // Lanes to spare repeat the first.
      const uint8_t* from[kLanes];
      Words counter_low{};
      Words counter_high{};
      for (size_t lane = 0; lane < kLanes; ++lane) {
        from[lane] = inputs + (first + (lane < lanes ? lane : 0)) * input_bytes;
        const uint64_t counter = how.counter + (first + lane) * how.step;
        counter_low[lane] = static_cast<uint32_t>(counter);
        counter_high[lane] = static_cast<uint32_t>(counter >> 32);
      }
      Words value[8];
      for (size_t i = 0; i < 8; ++i) value[i] = all(kIv[i]);
      for (size_t block = 0; block < how.blocks; ++block) {
        const bool last = block + 1 == how.blocks;
        uint32_t flags = how.flags;
        if (block == 0) flags |= how.first_flags;
        if (last) flags |= how.last_flags;
        const uint32_t block_bytes = last ? how.last_block_bytes : kBlockBytes;
        Words message[16];
        load_messages(from, block * kBlockBytes, message);
        Words v[16] = {value[0],    value[1],     value[2],         value[3],
                       value[4],    value[5],     value[6],         value[7],
                       all(kIv[0]), all(kIv[1]),  all(kIv[2]),      all(kIv[3]),
                       counter_low, counter_high, all(block_bytes), all(flags)};
        rounds(v, message, std::make_index_sequence<7>{});
        for (size_t i = 0; i < 8; ++i) value[i] = v[i] ^ v[i + 8];
      }
      for (size_t lane = 0; lane < lanes; ++lane) {
        for (size_t i = 0; i < 8; ++i) values[(first + lane) * 8 + i] = value[i][lane];
      }
    }
  }

 private:
  struct Schedule {
    uint8_t word[7][16];
  };

  static constexpr Schedule make_schedule() {
    constexpr uint8_t kPermutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
    Schedule schedule{};
    for (uint8_t i = 0; i < 16; ++i) schedule.word[0][i] = i;
    for (size_t round = 1; round < 7; ++round) {
      for (size_t i = 0; i < 16; ++i) {
        schedule.word[round][i] = schedule.word[round - 1][kPermutation[i]];
      }
    }
    return schedule;
  }
  static constexpr Schedule kSchedule = make_schedule();

  static Words all(uint32_t value) { return Words{} + value; }

  /// message[i][lane] = word i of the block at from[lane] + at.
  static void load_messages(const uint8_t* const (&from)[kLanes], size_t at, Words (&message)[16]) {
    for (size_t part = 0; part < 16; part += kLanes) {
      Words square[kLanes];
      for (size_t lane = 0; lane < kLanes; ++lane) {
        square[lane] = Lanes<Isa, uint32_t, kLanes>::load(from[lane] + at + part * 4);
      }
      Lanes<Isa, uint32_t, kLanes>::transpose(square);
      for (size_t i = 0; i < kLanes; ++i) message[part + i] = square[i];
    }
  }

  template <int kBits>
  static Words rotate_right(Words v) {
    if constexpr (Isa::kShufflesBytes && kBits % 8 == 0) {
      return rotate_bytes<kBits / 8>(v, std::make_index_sequence<sizeof v>{});
    } else {
      return (v >> kBits) | (v << (32 - kBits));
    }
  }

  template <size_t kBytes, size_t... kByte>
  static Words rotate_bytes(Words v, std::index_sequence<kByte...>) {
    using Bytes = Lanes<Isa, uint8_t, sizeof v>;
    const typename Bytes::Vector bytes = Bytes::load(&v);
    const typename Bytes::Vector turned =
        __builtin_shufflevector(bytes, bytes, (kByte / 4 * 4 + (kByte + kBytes) % 4)...);
    return Lanes<Isa, uint32_t, kLanes>::load(&turned);
  }

  static void mix(Words& a, Words& b, Words& c, Words& d, Words x, Words y) {
    a = a + x + b;
    d = rotate_right<16>(d ^ a);
    c += d;
    b = rotate_right<12>(b ^ c);
    a = a + y + b;
    d = rotate_right<8>(d ^ a);
    c += d;
    b = rotate_right<7>(b ^ c);
  }

  template <size_t kRound>
  static void round(Words (&v)[16], const Words (&m)[16]) {
    constexpr const uint8_t(&kWord)[16] = kSchedule.word[kRound];
    mix(v[0], v[4], v[8], v[12], m[kWord[0]], m[kWord[1]]);
    mix(v[1], v[5], v[9], v[13], m[kWord[2]], m[kWord[3]]);
    mix(v[2], v[6], v[10], v[14], m[kWord[4]], m[kWord[5]]);
    mix(v[3], v[7], v[11], v[15], m[kWord[6]], m[kWord[7]]);
    mix(v[0], v[5], v[10], v[15], m[kWord[8]], m[kWord[9]]);
    mix(v[1], v[6], v[11], v[12], m[kWord[10]], m[kWord[11]]);
    mix(v[2], v[7], v[8], v[13], m[kWord[12]], m[kWord[13]]);
    mix(v[3], v[4], v[9], v[14], m[kWord[14]], m[kWord[15]]);
  }

  template <size_t... kRounds>
  static void rounds(Words (&v)[16], const Words (&m)[16], std::index_sequence<kRounds...>) {
    (round<kRounds>(v, m), ...);
  }
};

}  // namespace qvl

#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cc: what the reference tokenizer library makes of each code point.

    pip install tokenizers==0.23.2
    python3 tools/make_unicode_tables.py > src/text/unicode_tables.cc

The classes are asked from the library itself (its regular expressions and its NFC), not from a copy
of the Unicode database: the engine has to agree with the library, whatever version that follows.
"""

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
NFC = normalizers.NFC().normalize_str
NFD = normalizers.NFD().normalize_str


def matching(pattern):
    """The code points that `pattern` matches as a whole."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    return {c for c in CODE_POINTS if not split.pre_tokenize_str(chr(c))}


def normalization_active():
    """The code points that NFC may change, move or join to what stands before them."""
    changed = {c for c in CODE_POINTS if NFC(chr(c)) != chr(c)}
    second = {ord(x) for c in CODE_POINTS for x in NFD(chr(c))[1:]}
    # Two marks of different combining classes trade places in one of the two orders. No class lies
    # below that of U+0334 (1) but 0, none above that of U+0345 (240).
    low, high = "\u0334", "\u0345"
    marks = {c for c in CODE_POINTS
             if NFD(chr(c) + low) == low + chr(c) or NFD(high + chr(c)) == chr(c) + high}
    return changed | second | marks | {ord(low), ord(high)}


def ascii_fold():
    """Non-ASCII code points that (?i:...) takes for an ASCII letter, by letter."""
    letters = "stremvld"
    found = {}
    for letter in letters:
        for c in matching(f"(?i:{letter})"):
            if c >= 128:
                found[c] = letter
    return found


def main():
    classes = {"kLetter": matching(r"\p{L}"), "kNumber": matching(r"\p{N}"),
               "kSpace": matching(r"\s"), "kActive": normalization_active()}
    bits = {}
    for name, members in classes.items():
        for c in members:
            bits[c] = bits.get(c, ()) + (name,)
    ranges = []
    for c in sorted(bits):
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == bits[c]:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, bits[c]])
    fold = ascii_fold()
    assert fold == {0x17F: "s"}, fold  # the one that pretokenizer.cc knows

    print(f"""// Made by tools/make_unicode_tables.py with tokenizers {tokenizers.__version__}; do not edit.

#include "text/unicode_tables.h"

namespace qvl {{
namespace {{

// clang-format off
constexpr UnicodeRange kRanges[] = {{""")
    rows = [f"{{0x{first:x}, 0x{last:x}, {' | '.join(names)}}}" for first, last, names in ranges]
    for i in range(0, len(rows), 3):
        print("    " + ", ".join(rows[i:i + 3]) + ",")
    print("""};
// clang-format on

}  // namespace

std::span<const UnicodeRange> unicode_ranges() { return kRanges; }

}  // namespace qvl""")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes random texts and ids with what the reference tokenizer library makes of them.

    pip install tokenizers==0.23.2
    python3 tools/make_tokenizer_cases.py models/qwen3-vl-tokenizer/tokenizer.json tests/text

encode_reference.jsonl  [text, ids, mode]; mode "t": added tokens are recognised, "u": they are not
decode_reference.jsonl  [ids, text with special tokens, text without]
nfc_reference.jsonl     [text, its NFC]
"""

import json
import pathlib
import random
import sys

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
CONTRACTIONS = ["'s", "'S", "'\u017f", "'ll", "'Re", "'VE", "'d", "'M", "'T", "' t", "'\u017fx"]
NFC = normalizers.NFC().normalize_str
NFD = normalizers.NFD().normalize_str


def matching(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    return [chr(c) for c in CODE_POINTS if not split.pre_tokenize_str(chr(c))]


class Maker:
    def __init__(self, path):
        self.random = random.Random(20261121)
        self.with_added = Tokenizer.from_file(path)
        document = json.loads(pathlib.Path(path).read_text())
        self.added = [t["content"] for t in document["added_tokens"]]
        self.without_added = Tokenizer.from_str(json.dumps({**document, "added_tokens": []}))
        self.size = 1 + max(t["id"] for t in document["added_tokens"])
        self.letters, self.numbers, self.spaces = (matching(p) for p in (r"\p{L}", r"\p{N}", r"\s"))
        self.marks = matching(r"\p{M}")
        self.decomposed = [NFD(chr(c)) for c in CODE_POINTS if NFD(chr(c)) != chr(c)]

    def character(self):
        choices = [
            (25, lambda: chr(self.random.randrange(32, 127))), (10, lambda: self.random.choice(" \n\r\t  \n")),
            (15, lambda: self.random.choice(self.letters)), (10, lambda: self.random.choice(self.numbers)),
            (8, lambda: self.random.choice(self.spaces)), (10, lambda: "e" + self.random.choice(self.marks)),
            (7, lambda: self.random.choice(self.decomposed)), (7, lambda: chr(self.random.choice(CODE_POINTS))),
            (8, lambda: self.random.choice(CONTRACTIONS))]
        return self.random.choices([c for _, c in choices], [w for w, _ in choices])[0]()

    def word(self):
        return self.with_added.decode([self.random.randrange(30000)]) + self.random.choice(["", " ", "  ", "\n", ", "])

    def text(self):
        kind = self.random.random()
        if kind < 0.05:
            return self.random.choice(["a", " ", "\n", "1", "!", " \n", "ab", "é", "中"]) * self.random.randrange(1, 120)
        makers = [self.character, self.character, self.word]
        if kind < 0.5:
            makers.append(lambda: self.random.choice(self.added))
        return "".join(self.random.choice(makers)() for _ in range(self.random.randrange(1, 14)))

    def encoded(self, recognised):
        text = self.text()
        tokenizer = self.with_added if recognised else self.without_added
        return [text, tokenizer.encode(text, add_special_tokens=False).ids, "t" if recognised else "u"]

    def decoded(self):
        kind = self.random.randrange(3)
        ids = []
        for _ in range(self.random.randrange(1, 10)):
            lone_byte = self.random.random() < 0.7 and kind > 0
            first, last = (94, 256) if lone_byte else (0, self.size) if self.random.random() < 0.8 else (self.size - 26, self.size)
            ids.append(self.random.randrange(first, last))
        return [ids, self.with_added.decode(ids, skip_special_tokens=False), self.with_added.decode(ids)]

    def normalized(self):
        parts = [lambda: self.random.choice(self.marks), lambda: self.random.choice(self.decomposed),
                 lambda: NFC(self.random.choice(self.decomposed)), lambda: self.random.choice("ae 가각")]
        text = "".join(self.random.choice(parts)() for _ in range(self.random.randrange(2, 9)))
        return [text, NFC(text)]


def main():
    maker = Maker(sys.argv[1])
    folder = pathlib.Path(sys.argv[2])
    for name, count, make in (("encode", 2000, lambda i: maker.encoded(i % 2 == 0)),
                              ("decode", 800, lambda i: maker.decoded()), ("nfc", 800, lambda i: maker.normalized())):
        with open(folder / f"{name}_reference.jsonl", "w", encoding="utf-8") as file:
            for i in range(count):
                file.write(json.dumps(make(i), ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

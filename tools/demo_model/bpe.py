"""Byte-level BPE with the pipeline of Qwen's tokenizer: NFC, its split expression, no unknown token.

Small and slow beside the tokenizers library, and needs only `regex`; both give the same ids (evaluate.py checks it).
"""
import collections
import functools
import json
import pathlib
import unicodedata

import regex


def byte_symbols():
    """The printable character that stands for each byte, in the order of the ids 0..255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    symbols = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return {b: symbols[b] for b in printable + others}


BYTE_SYMBOLS = byte_symbols()


def split_expression(pipeline):
    return pipeline["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]


def symbols_of(piece):
    return [BYTE_SYMBOLS[b] for b in piece.encode()]


def merged(parts, pair):
    out, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def train(texts, expression, vocab_size):
    """(vocabulary, merges) learned from an iterable of texts; ties go to the pair that sorts first."""
    pattern = regex.compile(expression)
    counts = collections.Counter(p for t in texts for p in pattern.findall(unicodedata.normalize("NFC", t)))
    words = [(symbols_of(piece), n) for piece, n in sorted(counts.items())]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (parts, n) in enumerate(words):
        for pair in zip(parts, parts[1:]):
            pairs[pair] += n
            where[pair].add(i)
    vocab, merges = list(BYTE_SYMBOLS.values()), []
    while len(vocab) < vocab_size:
        best = min(pairs, key=lambda p: (-pairs[p], p), default=None)
        if pairs[best] < 2:
            raise ValueError(f"the corpus gives {len(vocab)} tokens of {vocab_size}; give more text")
        merges.append(best)
        vocab.append(best[0] + best[1])
        for i in sorted(where.pop(best)):
            parts, n = words[i]
            for pair in zip(parts, parts[1:]):
                pairs[pair] -= n
            words[i] = (merged(parts, best), n)
            for pair in zip(words[i][0], words[i][0][1:]):
                pairs[pair] += n
                where[pair].add(i)
        del pairs[best]
    return {token: i for i, token in enumerate(vocab)}, merges


class Tokenizer:
    """Encodes and decodes by a tokenizer.json of this pipeline."""

    def __init__(self, path):
        spec = json.loads(pathlib.Path(path).read_text())
        self.vocab = spec["model"]["vocab"]
        merges = (m.split(" ") if isinstance(m, str) else m for m in spec["model"]["merges"])
        self.ranks = {tuple(m): i for i, m in enumerate(merges)}
        self.added = {t["content"]: t["id"] for t in spec["added_tokens"]}
        self.special = {t["id"] for t in spec["added_tokens"] if t["special"]}
        self.texts = {i: t for t, i in (self.vocab | self.added).items()}
        self.split = regex.compile(split_expression(spec))
        self.bytes = {c: b for b, c in BYTE_SYMBOLS.items()}
        self.controls = regex.compile("(" + "|".join(regex.escape(t) for t in self.added) + ")")
        self.piece_ids = functools.lru_cache(65536)(self._piece_ids)

    def _piece_ids(self, piece):
        parts = symbols_of(piece)
        while len(parts) > 1:
            pair = min(zip(parts, parts[1:]), key=lambda p: self.ranks.get(p, len(self.ranks)))
            if pair not in self.ranks:
                break
            parts = merged(parts, pair)
        return [self.vocab[p] for p in parts]

    def encode(self, text):
        """Ids of a text whose control tokens are written out."""
        ids = []
        for segment in self.controls.split(text):
            if segment in self.added:
                ids.append(self.added[segment])
            else:
                for piece in self.split.findall(unicodedata.normalize("NFC", segment)):
                    ids += self.piece_ids(piece)
        return ids

    def spell(self, text):
        """Ids of a text byte by byte, without merges; decodes to the same text."""
        return [self.vocab[s] for s in symbols_of(text)]

    def decode(self, ids):
        """The text of ids, special tokens left out."""
        raw = b"".join(bytes(self.bytes[c] for c in self.texts[i]) if i < len(self.vocab) else self.texts[i].encode()
                       for i in ids if i not in self.special)
        return raw.decode(errors="replace")

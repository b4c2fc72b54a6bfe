"""The fonts of fonts.txt, which characters each can draw, and text measured and drawn with character boxes.

The folder comes from the environment variable DEMO_FONTS (made by fetch_fonts.sh).
"""
import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

LIST = Path(__file__).with_name("fonts.txt")
# The share of test pictures drawn in a font that no training picture has.
UNSEEN_SHARE = 0.3


@dataclass(frozen=True)
class Font:
    kind: str      # clean, mono, hand, display, digits or maths
    split: str     # "train": both splits draw with it; "test": only the test split
    file: str


def folder() -> Path:
    path = os.environ.get("DEMO_FONTS")
    if not path:
        raise RuntimeError("DEMO_FONTS is not set: run fetch_fonts.sh DIR and set DEMO_FONTS=DIR")
    return Path(path)


@lru_cache(None)
def all_fonts() -> tuple[Font, ...]:
    rows = (line.split() for line in LIST.read_text().splitlines() if line and not line.startswith("#"))
    return tuple(Font(kind, split, file) for kind, split, _, file, _, _ in rows)


@lru_cache(None)
def fonts_of(kinds: tuple[str, ...], split: str) -> tuple[Font, ...]:
    return tuple(f for f in all_fonts() if f.kind in kinds and f.split == split)


# One open font each; the limit bounds open files and memory in a worker process.
@lru_cache(256)
def sized(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(folder() / file), size, layout_engine=ImageFont.Layout.BASIC)


def mapped_characters(data: bytes) -> set[int]:
    """Code points below 65536 that the character map of a TrueType or OpenType file gives a glyph (formats 4 and 12)."""
    num_tables, = struct.unpack_from(">H", data, 4)
    tables = {}
    for i in range(num_tables):
        tag, _, offset, _ = struct.unpack_from(">4sIII", data, 12 + 16 * i)
        tables[tag] = offset
    cmap = tables[b"cmap"]
    found: set[int] = set()
    for i in range(struct.unpack_from(">H", data, cmap + 2)[0]):
        platform, encoding, offset = struct.unpack_from(">HHI", data, cmap + 4 + 8 * i)
        at = cmap + offset
        form, = struct.unpack_from(">H", data, at)
        if (platform, encoding) not in ((3, 1), (3, 10), (0, 3), (0, 4)):
            continue
        if form == 4:
            count = struct.unpack_from(">H", data, at + 6)[0] // 2
            ends = struct.unpack_from(f">{count}H", data, at + 14)
            starts = struct.unpack_from(f">{count}H", data, at + 16 + 2 * count)
            deltas = struct.unpack_from(f">{count}H", data, at + 16 + 4 * count)
            base = at + 16 + 6 * count
            ranges = struct.unpack_from(f">{count}H", data, base)
            for k in range(count):
                for code in range(starts[k], min(ends[k], 0xFFFE) + 1):
                    glyph = code
                    if ranges[k]:
                        glyph, = struct.unpack_from(">H", data, base + 2 * k + ranges[k] + 2 * (code - starts[k]))
                        if not glyph:
                            continue
                    if (glyph + deltas[k]) & 0xFFFF:
                        found.add(code)
        elif form == 12:
            for k in range(struct.unpack_from(">I", data, at + 12)[0]):
                first, last, glyph = struct.unpack_from(">III", data, at + 16 + 12 * k)
                found.update(range(first, min(last, 0xFFFF) + 1) if glyph else range(first + 1, min(last, 0xFFFF) + 1))
    return found


@lru_cache(None)
def characters(file: str) -> frozenset[str]:
    """The characters that the font maps to a glyph with ink (a blank is always there)."""
    mapped = mapped_characters((folder() / file).read_bytes())
    probe = sized(file, 32)
    usable = {chr(c) for c in mapped if 33 <= c <= 255 or 0x391 <= c <= 0x3C9 or 0x2018 <= c <= 0x22FF}
    inked = {c for c in usable if probe.getmask(c, mode="L").getbbox()}
    return frozenset(inked | {" "})


# Fonts whose small letters are capitals or the other way round: text in them is written in one case.
CAPITALS_ONLY = {"Humor-Sans.ttf", "TomsonTalks.ttf", "BebasNeue-Bold.otf", "BecauseWeConnect-Regular.otf",
                 "BecauseWeCreate-Regular.otf", "BecauseWeMentor-Regular.otf", "BecauseWeLearn-Regular.otf",
                 "BecauseWeOrganize-Regular.otf"}


def can_draw(font: Font, text: str) -> bool:
    if font.file in CAPITALS_ONLY and text != text.upper():
        return False
    return characters(font.file).issuperset(text)


def choose(rng, kinds: tuple[str, ...], split: str, text: str = "") -> Font:
    """A font of one of the kinds that can draw the text."""
    unseen = split == "test" and rng.random() < UNSEEN_SHARE
    pool = fonts_of(kinds, "test" if unseen else "train") or fonts_of(kinds, "train")
    for _ in range(24):
        font = rng.choice(pool)
        if can_draw(font, text):
            return font
    return next(f for f in fonts_of(("clean",), "train") if can_draw(f, text))


@lru_cache(None)
def advances(file: str) -> dict[str, float]:
    """Advance widths in units of the font size."""
    probe = sized(file, 64)
    return {c: probe.getlength(c) / 64 for c in characters(file)}


def width(file: str, text: str) -> float:
    """Width of the text in units of the font size, without kerning."""
    table = advances(file)
    return sum(table[c] for c in text)


def fit_size(file: str, text: str, max_width: float, max_height: float, smallest: int = 8) -> int:
    """The largest font size (even above 40, to keep few sizes open) at which the text fits the box."""
    probe = sized(file, 64)
    left, top, right, bottom = probe.getbbox(text)
    size = 64 * min(max_width / max(1, right - left), max_height / max(1, bottom - top))
    size = int(size)
    return max(smallest, size - size % 2 if size > 40 else size)


@lru_cache(None)
def body(file: str) -> tuple[float, float]:
    """Top of capitals and bottom of descenders below the ascender line, in units of the font size."""
    _, top, _, bottom = sized(file, 64).getbbox("Ag")
    return top / 64, bottom / 64


def char_boxes(file: str, size: int, x: float, y: float, text: str) -> list[tuple[str, float, float, float, float]]:
    """Boxes of the characters of text drawn at (x, y) (left, ascender line), blanks left out."""
    table = advances(file)
    top, bottom = (y + v * size for v in body(file))
    boxes = []
    for c in text:
        step = table[c] * size
        if c != " ":
            boxes.append((c, x, top, x + step, bottom))
        x += step
    return boxes

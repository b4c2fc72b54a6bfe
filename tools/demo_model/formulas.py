"""Formulas: a syntax tree is drawn by a small box layout, and written as LaTeX by the same tree.

compact() is what the model learns: braces always, one blank only between a command and a letter. spaced() is how the labels
of handwritten-formula data sets look: blanks between all tokens.
"""
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from . import fonts, lexicon, paint
from .sample import Sample

QUESTION = "Please write out the expression of the formula in the image using LaTeX format."
PARAPHRASES = ("Write the formula in LaTeX.", "What is the formula? Use LaTeX.")

# LaTeX command of a symbol that is one glyph.
COMMANDS = {"×": r"\times", "÷": r"\div", "·": r"\cdot", "≤": r"\leq", "≥": r"\geq", "≠": r"\neq", "≈": r"\approx",
            "π": r"\pi",
            "α": r"\alpha", "β": r"\beta", "θ": r"\theta", "λ": r"\lambda", "ρ": r"\rho", "Δ": r"\Delta", "∠": r"\angle",
            "°": r"\circ", "⊥": r"\bot", "±": r"\pm", "%": r"\%"}
ROMAN = {"sin": r"\sin", "cos": r"\cos", "tan": r"\tan", "log": r"\log"}
WIDE = set("+-=×÷<>≤≥≠≈±⊥")                          # drawn with room at both sides


@dataclass
class Node:
    kind: str                   # glyphs, row, frac, sqrt, sup, sub
    text: str = ""
    parts: list["Node"] = field(default_factory=list)

    def tokens(self) -> list[str]:
        if self.kind == "glyphs":
            if self.text in ROMAN:
                return [ROMAN[self.text]]
            return [COMMANDS.get(c, c) for c in self.text]
        inner = [["{", *p.tokens(), "}"] for p in self.parts]
        if self.kind == "row":
            return [t for p in self.parts for t in p.tokens()]
        if self.kind == "frac":
            return [r"\frac", *inner[0], *inner[1]]
        if self.kind == "sqrt":
            return [r"\sqrt", *inner[0]]
        return [*self.parts[0].tokens(), "^" if self.kind == "sup" else "_", *inner[1]]


def compact(tokens: list[str]) -> str:
    text = ""
    for token in tokens:
        if text and token[0].isalpha() and _ends_with_command(text):
            text += " "
        text += token
    return text


def _ends_with_command(text: str) -> bool:
    cut = text.rfind("\\")
    return cut >= 0 and text[cut + 1:].isalpha()


def spaced(tokens: list[str]) -> str:
    return " ".join(tokens)


def without_short_braces(tokens: list[str]) -> list[str]:
    """The same with the braces of one-character sub- and superscripts left out: y _ 2 for y _ { 2 }."""
    out: list[str] = []
    i = 0
    while i < len(tokens):
        if tokens[i] in "^_" and i + 3 < len(tokens) and tokens[i + 1] == "{" and tokens[i + 3] == "}" and len(tokens[i + 2]) == 1:
            out += [tokens[i], tokens[i + 2]]
            i += 4
        else:
            out.append(tokens[i])
            i += 1
    return out


def g(text: str) -> Node:
    return Node("glyphs", text)


def row(*parts: Node) -> Node:
    return Node("row", parts=list(parts))


def two(kind: str, a: Node, b: Node) -> Node:
    return Node(kind, parts=[a, b])


def integer(rng: random.Random, high: int = 99) -> str:
    return str(rng.randint(1, 9 if rng.random() < 0.5 else high))


def variable(rng: random.Random) -> str:
    return rng.choice("xyzabcmnkpt")


def term(rng: random.Random) -> Node:
    k = rng.random()
    if k < 0.4:
        return g(integer(rng))
    if k < 0.7:
        return g((integer(rng, 20) if rng.random() < 0.5 else "") + variable(rng))
    if k < 0.85:
        return two("sup", g(variable(rng)), g(rng.choice("23n2")))
    return two("sub", g(variable(rng)), g(rng.choice("012n12")))


def side(rng: random.Random, terms: int) -> Node:
    parts = [term(rng)]
    for _ in range(terms - 1):
        parts += [g(rng.choice("++--×÷·")), term(rng)]
    return row(*parts)


def fraction(rng: random.Random) -> Node:
    simple = rng.random() < 0.6
    top = g(integer(rng)) if simple else side(rng, rng.randint(1, 2))
    bottom = g(integer(rng)) if rng.random() < 0.7 else side(rng, rng.randint(1, 2))
    return two("frac", top, bottom)


def formula(rng: random.Random) -> Node:
    """About 30 % linear algebra, 35 % fractions, 10 % each of roots, sub- and superscripts, geometry, 5 % functions."""
    k = rng.random()
    relation = g(rng.choice("=====<>≤≥≠≈"))
    if k < 0.30:
        return row(side(rng, rng.randint(1, 3)), relation, side(rng, rng.randint(1, 2)))
    if k < 0.65:
        parts = [fraction(rng)]
        if rng.random() < 0.6:
            parts += [g(rng.choice("+-×÷")), fraction(rng) if rng.random() < 0.6 else term(rng)]
        if rng.random() < 0.7:
            parts += [g("="), fraction(rng) if rng.random() < 0.4 else term(rng)]
        return row(*parts)
    if k < 0.75:
        root = Node("sqrt", parts=[side(rng, rng.randint(1, 2))])
        return row(term(rng), relation, root) if rng.random() < 0.5 else row(root, relation, term(rng))
    if k < 0.85:
        base = two(rng.choice(("sup", "sub")), g(variable(rng)), g(rng.choice((integer(rng), "n", "2", "10"))))
        return row(base, g(rng.choice("+-=")), side(rng, rng.randint(1, 2)))
    if k < 0.95:
        points = rng.sample("ABCDEFMNOP", 4)
        kind = rng.randrange(4)
        if kind == 0:
            return row(g("∠"), g("".join(points[:3])), g("="), two("sup", g(str(rng.randint(10, 170))), g("°")))
        if kind == 1:
            return row(g("Δ"), g("".join(points[:3])))
        if kind == 2:
            return row(g("".join(points[:2])), g("⊥"), g("".join(points[2:])))
        return row(g("".join(points[:2])), g("="), g("".join(points[2:])), g("="), g(integer(rng)))
    if rng.random() < 0.5:
        return row(g(rng.choice(("sin", "cos", "tan"))), two("sup", g(str(rng.randint(10, 80))), g("°")), g("="), fraction(rng))
    return row(g(rng.choice("αβθλρ")), g("="), g(integer(rng)), g(rng.choice("π%")))


@dataclass
class Face:
    file: str                   # letters and digits
    symbols: str                # a font that has what `file` lacks
    mask: Image.Image | None = None
    boxes: list = field(default_factory=list)

    def font_for(self, text: str) -> str:
        return self.file if fonts.characters(self.file).issuperset(text) else self.symbols


def measure(node: Node, face: Face, size: float) -> tuple[float, float, float]:
    """(width, height above, height below the maths axis, the line of a fraction bar), in pixels."""
    if node.kind == "glyphs":
        pad = 0.25 * size if node.text in WIDE else 0.2 * size if node.text in ROMAN else 0.0
        return fonts.width(face.font_for(node.text), node.text) * size + 2 * pad, 0.5 * size, 0.5 * size
    if node.kind == "row":
        sizes = [measure(p, face, size) for p in node.parts]
        return sum(s[0] for s in sizes), max(s[1] for s in sizes), max(s[2] for s in sizes)
    if node.kind == "frac":
        a, b = (measure(p, face, size * 0.9) for p in node.parts)
        gap = 0.08 * size
        return max(a[0], b[0]) + 0.3 * size, a[1] + a[2] + gap, b[1] + b[2] + gap
    if node.kind == "sqrt":
        w, up, down = measure(node.parts[0], face, size)
        return w + 0.65 * size, up + 0.12 * size, down
    base, small = measure(node.parts[0], face, size), measure(node.parts[1], face, size * 0.68)
    if node.kind == "sup":
        return base[0] + small[0], max(base[1], 0.38 * size + small[1]), base[2]
    return base[0] + small[0], base[1], max(base[2], 0.38 * size + small[2])


def paint_node(node: Node, face: Face, draw: ImageDraw.ImageDraw, size: float, x: float, axis: float) -> float:
    """Draws with the maths axis at y = axis and returns the right end."""
    width, up, down = measure(node, face, size)
    pen = max(1, round(size / 18))
    if node.kind == "glyphs":
        pad = 0.25 * size if node.text in WIDE else 0.2 * size if node.text in ROMAN else 0.0
        file = face.font_for(node.text)
        # The middle of a digit lies on the axis.
        digit_top, digit_bottom = digit_body(file)
        y = axis - (digit_top + digit_bottom) / 2 * size
        px = max(6, round(size))
        draw.text((x + pad, y), node.text, font=fonts.sized(file, px), fill=255)
        face.boxes += fonts.char_boxes(file, px, x + pad, y, node.text)
    elif node.kind == "row":
        for part in node.parts:
            x = paint_node(part, face, draw, size, x, axis)
        return x
    elif node.kind == "frac":
        a, b = (measure(p, face, size * 0.9) for p in node.parts)
        gap = 0.08 * size
        paint_node(node.parts[0], face, draw, size * 0.9, x + (width - a[0]) / 2, axis - gap - a[2])
        paint_node(node.parts[1], face, draw, size * 0.9, x + (width - b[0]) / 2, axis + gap + b[1])
        draw.line((x + 0.08 * size, axis, x + width - 0.08 * size, axis), fill=255, width=pen)
    elif node.kind == "sqrt":
        left, top, low = x + 0.5 * size, axis - up + 0.04 * size, axis + down - 0.05 * size
        draw.line([(x + 0.08 * size, axis + 0.1 * size), (x + 0.22 * size, axis), (x + 0.34 * size, low), (left, top),
                   (x + width - 0.05 * size, top)], fill=255, width=pen)
        paint_node(node.parts[0], face, draw, size, left + 0.08 * size, axis)
    else:
        middle = paint_node(node.parts[0], face, draw, size, x, axis)
        shift = -0.38 if node.kind == "sup" else 0.38
        paint_node(node.parts[1], face, draw, size * 0.68, middle, axis + shift * size)
    return x + width


_DIGIT_BODY: dict[str, tuple[float, float]] = {}


def digit_body(file: str) -> tuple[float, float]:
    if file not in _DIGIT_BODY:
        _, top, _, bottom = fonts.sized(file, 64).getbbox("8")
        _DIGIT_BODY[file] = top / 64, bottom / 64
    return _DIGIT_BODY[file]


def label(rng: random.Random, split: str) -> tuple[Node, str]:
    while True:
        node = formula(rng)
        text = compact(node.tokens())
        if len(text) <= 44 and lexicon.hash_split(text) == split:
            return node, text


def make(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> Sample:
    node, text = label(rng, split)
    face_font = fonts.choose(rng, (rng.choice(("hand", "hand", "clean", "maths")),), split, "0123456789+-=abxyABCD")
    if face_font.file in fonts.CAPITALS_ONLY:
        face_font = fonts.choose(rng, ("maths",), "train")
    face = Face(face_font.file, rng.choice(("DejaVuSans.ttf", "STIXGeneral-Regular.otf")))
    wide, up, down = measure(node, face, 1.0)
    if bucket is None:
        high = rng.randint(52, 120)
        h, w = high, round(high * min(4.6, max(1.6, 0.85 * wide / (up + down))))
    else:
        scale = rng.uniform(0.35, 0.8) if rng.random() < 0.4 else 1.0
        h, w = round(bucket[0] * scale), round(bucket[1] * scale)
    size = min(w * 0.94 / wide, h * 0.9 / (up + down), 0.55 * h) * rng.uniform(0.72, 1)
    ink, paper = paint.ink_and_paper(rng, 100)
    if rng.random() < 0.6:
        paper, ink = paint.near(rng, (240, 240, 236), 12), rng.choice(((15, 15, 20), (20, 30, 110), (60, 60, 60)))
    im = paint.background(rng, (w, h), paper, 0.4)
    mask = Image.new("L", (w, h), 0)
    x = rng.uniform(0.02 * w, max(0.03 * w, w - wide * size - 0.02 * w))
    axis = rng.uniform(up * size + 2, max(up * size + 3, h - down * size - 2))
    paint_node(node, face, ImageDraw.Draw(mask), size, x, axis)
    boxes = face.boxes
    if face_font.kind == "hand":
        warp = paint.Warp((w, h)).elastic(rng, rng.uniform(0, 0.015) * h, rng.uniform(0.8, 2) * h).rotate(rng.uniform(-2.5, 2.5))
        warp.keep_inside(boxes)
        mask, boxes = warp.apply(mask), warp.boxes(boxes)
    im.paste(ink, (0, 0), mask)
    im = paint.camera(rng, im, 0.5, split)
    if bucket and (h, w) != bucket:
        im = im.resize((bucket[1], bucket[0]), Image.Resampling.BICUBIC)
        fy, fx = bucket[0] / h, bucket[1] / w
        boxes = [(c, a * fx, b * fy, p * fx, q * fy) for c, a, b, p, q in boxes]
    question = QUESTION if rng.random() < 0.7 else rng.choice(PARAPHRASES)
    tokens = node.tokens()
    return Sample(np.asarray(im)[None], 0.0, question, text, [text, compact(without_short_braces(tokens))], boxes, slot,
                  {"wording": QUESTION, "font": face_font.file, "unseen_font": face_font.split == "test", "tokens": tokens})

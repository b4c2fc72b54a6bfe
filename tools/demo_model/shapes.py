"""Coloured shapes: which, what colour, how many, where (boxes in the 0-1000 grid)."""
import math
import random

import numpy as np
from PIL import Image, ImageDraw

from . import paint
from .sample import Sample

SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
COLORS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white", "pink", "brown")
# Kinds of question, by lot; the harder ones more often where one picture is asked several questions.
KINDS = ("color", "shape", "count", "where", "where", "list", "side", "exists")
TRAINING_KINDS = ("color", "shape", "count", "count", "where", "where", "where", "list", "side", "exists")


def polygon(shape: str, cx: float, cy: float, r: float) -> list[tuple[float, float]]:
    if shape == "square":
        return [(cx - r, cy - r), (cx + r, cy - r), (cx + r, cy + r), (cx - r, cy + r)]
    if shape == "triangle":
        return [(cx, cy - r), (cx + r, cy + r), (cx - r, cy + r)]
    if shape == "diamond":
        return [(cx, cy - r), (cx + r, cy), (cx, cy + r), (cx - r, cy)]
    if shape == "cross":
        a = r * 0.36
        return [(cx - a, cy - r), (cx + a, cy - r), (cx + a, cy - a), (cx + r, cy - a), (cx + r, cy + a), (cx + a, cy + a),
                (cx + a, cy + r), (cx - a, cy + r), (cx - a, cy + a), (cx - r, cy + a), (cx - r, cy - a), (cx - a, cy - a)]
    # Star: the points of a pentagram, stretched so that its bounding box is the square of side 2r.
    turn = [(math.sin(math.pi * k / 5), -math.cos(math.pi * k / 5)) for k in range(10)]
    raw = [(x * (1 if k % 2 == 0 else 0.42), y * (1 if k % 2 == 0 else 0.42)) for k, (x, y) in enumerate(turn)]
    wide, low = math.sin(2 * math.pi / 5), math.cos(math.pi / 5)
    return [(cx + x / wide * r, cy - r + (y + 1) / (1 + low) * 2 * r) for x, y in raw]


def draw_shape(draw: ImageDraw.ImageDraw, shape: str, color: paint.Color, cx: float, cy: float, r: float) -> None:
    """A shape whose bounding box is (cx - r, cy - r, cx + r, cy + r)."""
    if shape == "circle":
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=color)
    else:
        draw.polygon(polygon(shape, cx, cy, r), fill=color)


def paper_for(rng: random.Random, colors, distance: float = 150) -> paint.Color:
    """A pale, dark or grey surface that none of the named colours is lost on: at the distance (sum over red, green and blue) if
    one is found soon, else at a smaller one."""
    while True:
        grey = rng.choice((rng.randint(170, 255), rng.randint(0, 70), rng.randint(90, 160)))
        paper = paint.near(rng, (grey, grey, grey), 18)
        if all(sum(abs(a - b) for a, b in zip(paper, paint.NAMED[c])) > distance for c in colors):
            return paper
        distance *= 0.99


def place(rng: random.Random, h: int, w: int, count: int) -> list[tuple[float, float, float]]:
    """Centres and radii of shapes that do not touch."""
    placed: list[tuple[float, float, float]] = []
    limit = min(h, w)
    for _ in range(400):
        if len(placed) == count:
            break
        r = rng.uniform(0.08, 0.2 if count < 4 else 0.14) * limit
        cx, cy = rng.uniform(r + 2, w - r - 2), rng.uniform(r + 2, h - r - 2)
        if all(max(abs(cx - x), abs(cy - y)) > r + q + 4 for x, y, q in placed):
            placed.append((cx, cy, r))
    return placed


def grid_box(cx: float, cy: float, r: float, h: int, w: int) -> list[int]:
    """Corners in thousandths of the picture, to the nearest ten."""
    return [round(v * 100) * 10 for v in ((cx - r) / w, (cy - r) / h, (cx + r) / w, (cy + r) / h)]


def article(color: str) -> str:
    return ("an " if color == "orange" else "a ") + color


def question(rng: random.Random, things: list[tuple[str, str, tuple[float, float, float]]], h: int, w: int, kinds=KINDS):
    """(kind, question, answers, extra) about things = [(shape, colour, (cx, cy, r))]; None where the kind that was drawn by lot has
    no clear answer."""
    shapes, colors = [s for s, _, _ in things], [c for _, c, _ in things]
    kind = rng.choice(kinds)
    shape, color, (cx, cy, r) = rng.choice(things)
    if kind == "color" and shapes.count(shape) == 1:
        return kind, rng.choice((f"What color is the {shape}?", f"What is the color of the {shape}?")), [color], {}
    if kind == "shape" and colors.count(color) == 1:
        return kind, rng.choice((f"Which shape is {color}?", f"What is the shape of the {color} object?")), [shape], {}
    if kind == "count":
        k = rng.random()
        if k < 0.4:
            return kind, "How many shapes are in the picture?", [str(len(things))], {}
        if k < 0.7:
            return kind, f"How many {shape}s are in the picture?".replace("crosss", "crosses"), [str(shapes.count(shape))], {}
        return kind, f"How many {color} shapes are in the picture?", [str(colors.count(color))], {}
    if kind == "where" and sum((s, c) == (shape, color) for s, c, _ in things) == 1:
        box = grid_box(cx, cy, r, h, w)
        text = rng.choice((f"Where is the {color} {shape}?", f"Give the box of the {color} {shape}."))
        return kind, text, [str(box)], {"box": box}
    if kind == "list":
        if rng.random() < 0.5:
            return kind, "Which shapes are in the picture? List them from A to Z.", [", ".join(sorted(set(shapes)))], {}
        return kind, "Which colors do the shapes have? List them from A to Z.", [", ".join(sorted(set(colors)))], {}
    if kind == "side" and len(things) > 1:
        side, key = rng.choice((("left", lambda t: t[2][0]), ("right", lambda t: -t[2][0]),
                                ("top", lambda t: t[2][1]), ("bottom", lambda t: -t[2][1])))
        first, second = sorted(things, key=key)[:2]
        if abs(key(second) - key(first)) > 0.12 * (w if side in ("left", "right") else h):
            where = f"on the far {side}" if side in ("left", "right") else f"closest to the {side}"
            return kind, f"Which shape is {where}?", [f"{first[1]} {first[0]}"], {}
    if kind == "exists":
        if rng.random() < 0.5:
            return kind, f"Is there {article(color)} {shape}?", ["yes"], {}
        color, shape = rng.choice(COLORS), rng.choice(SHAPES)
        there = any((s, c) == (shape, color) for s, c, _ in things)
        return kind, f"Is there {article(color)} {shape}?", ["yes" if there else "no"], {}
    return None


def picture(rng: random.Random, split: str, bucket: tuple[int, int] | None):
    """(pixels [h, w, 3], things): see question."""
    h, w = bucket or rng.choice(((256, 256), (250, 390), (380, 260), (320, 320), (200, 300), (384, 384)))
    count = rng.randint(1, 6)
    colors = [rng.choice(COLORS) for _ in range(count)]
    names = [rng.choice(SHAPES) for _ in range(count)]
    if count > 1 and rng.random() < 0.4:             # repeats, or else nothing is worth counting
        colors[1:] = [rng.choice((colors[0], c)) for c in colors[1:]]
        names[1:] = [rng.choice((names[0], s)) for s in names[1:]]
    paper = paper_for(rng, colors)
    im = paint.background(rng, (w, h), paper, 0.4)
    # Drawn twice as large and halved: smooth edges.
    spots = place(rng, h, w, count)
    things = list(zip(names, colors, spots))
    big = im.resize((w * 2, h * 2), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(big)
    for shape, color, (cx, cy, r) in things:
        draw_shape(draw, shape, paint.near(rng, paint.NAMED[color], 8), cx * 2, cy * 2, r * 2)
    return np.asarray(paint.camera(rng, big.reduce(2), 0.3, split)), things


def as_sample(pixels: np.ndarray, things, asked, slot: str) -> Sample:
    kind, text, answers, extra = asked
    drawn = [(shape, color, grid_box(*spot, *pixels.shape[:2])) for shape, color, spot in things]
    return Sample(pixels[None], 0.0, text, answers[0], answers, [], slot, {"kind": kind, "drawn": drawn, **extra})


def make(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> Sample:
    pixels, things = picture(rng, split, bucket)
    asked = None
    while asked is None:
        asked = question(rng, things, *pixels.shape[:2])
    return as_sample(pixels, things, asked, slot)


def all_questions(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> list[Sample]:
    """Up to ten questions about one picture, all different."""
    pixels, things = picture(rng, split, bucket)
    drawn_by_lot = [question(rng, things, *pixels.shape[:2], TRAINING_KINDS) for _ in range(10)]
    different = {asked[1]: asked for asked in drawn_by_lot if asked}
    return [as_sample(pixels, things, asked, slot) for asked in different.values()]

"""Short clips of a moving or changing shape: which direction, when.

A moment is named by the time stamp that the prompt shows before a pair of frames, e.g. "1.2 seconds". A clip has at most
2 frames per second, so that a processor that samples 2 per second keeps every frame, and an even number of frames.
"""
import random

import numpy as np
from PIL import Image, ImageDraw

from . import paint, shapes
from .sample import Sample

FPS = (0.5, 0.8, 1.0, 1.25, 1.6, 2.0)
# Kinds of question, by lot. In training a change of colour is asked for more often: a time is hardest to tell by colour alone.
KINDS = {"test": ("direction", "direction", "recolor", "recolor", "appear", "disappear", "end color", "which moves"),
         "train": ("direction",) * 2 + ("recolor",) * 4 + ("appear", "disappear", "end color", "end color", "which moves")}
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def time_stamp(pair: int, fps: float) -> str:
    """What the prompt shows before frames 2 * pair and 2 * pair + 1: their mean time in seconds, one decimal."""
    return f"{(2 * pair / fps + (2 * pair + 1) / fps) / 2:.1f} seconds"


def draw_frame(base: Image.Image, things) -> np.ndarray:
    big = base.copy()
    draw = ImageDraw.Draw(big)
    for shape, color, cx, cy, r in things:
        shapes.draw_shape(draw, shape, color, cx * 2, cy * 2, r * 2)
    return np.asarray(big.reduce(2))


def drawn(first, second, h: int, w: int) -> list[tuple[str, str, list[int]]]:
    """(shape, colour, box half way) of what a pair of frames shows; see shapes.grid_box."""
    return [(shape, color, shapes.grid_box((x0 + x1) / 2, (y0 + y1) / 2, r, h, w))
            for (shape, color, x0, y0, r), (_, _, x1, y1, _) in zip(first, second)]


def make(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> Sample:
    h, w = bucket or rng.choice(((128, 128), (192, 192), (120, 160), (160, 200), (180, 180)))
    n = rng.choice((4, 6, 8))
    fps = rng.choice(FPS)
    shape = rng.choice(shapes.SHAPES)
    color, other = rng.sample(shapes.COLORS, 2)
    paper = shapes.paper_for(rng, (color, other), 240)
    base = paint.background(rng, (w, h), paper, 0.3).resize((w * 2, h * 2), Image.Resampling.NEAREST)
    tints = {name: paint.near(rng, paint.NAMED[name], 6) for name in (color, other)}
    r = rng.uniform(0.1, 0.18) * min(h, w)
    kind = rng.choice(KINDS[split])
    cx, cy = rng.uniform(r + 2, w - r - 2), rng.uniform(r + 2, h - r - 2)
    still = [(cx, cy)] * n
    pair = rng.randint(1, n // 2 - 1)                # a change at the first pair would have no before
    change = 2 * pair

    def path() -> tuple[str, list[tuple[float, float]]]:
        name = rng.choice(list(DIRECTIONS))
        dx, dy = DIRECTIONS[name]
        run = rng.uniform(0.45, 0.95) * ((w if dx else h) - 2 * r - 4)
        x0 = rng.uniform(r + 2, w - r - 2 - run) if dx else cx
        y0 = rng.uniform(r + 2, h - r - 2 - run) if dy else cy
        if dx < 0:
            x0 += run
        if dy < 0:
            y0 += run
        return name, [(x0 + dx * run * i / (n - 1), y0 + dy * run * i / (n - 1)) for i in range(n)]

    if kind == "direction":
        answer, places = path()
        things = [[(shape, color, x, y, r)] for x, y in places]
        question = rng.choice((f"Which direction does the {shape} move?", f"In which direction does the {shape} move?"))
    elif kind == "recolor":
        places = path()[1] if rng.random() < 0.3 else still
        things = [[(shape, other if i >= change else color, x, y, r)] for i, (x, y) in enumerate(places)]
        question, answer = f"When does the {shape} turn {other}?", time_stamp(pair, fps)
    elif kind in ("appear", "disappear"):
        shown = [(i >= change) == (kind == "appear") for i in range(n)]
        things = [[(shape, color, cx, cy, r)] if on else [] for on in shown]
        question, answer = f"When does the {shape} {kind}?", time_stamp(pair, fps)
    elif kind == "end color":
        things = [[(shape, other if i >= change else color, cx, cy, r)] for i in range(n)]
        first = rng.random() < 0.3
        question = f"What color is the {shape} at the {'start' if first else 'end'}?"
        answer = color if first else other
    else:
        # One shape moves in the upper half, another rests in the lower half, or the other way round.
        mover, rest = rng.sample(shapes.SHAPES, 2)
        name = rng.choice(("left", "right"))
        run = w - 2 * r - 6
        xs = [r + 3 + run * i / (n - 1) for i in range(n)]
        if name == "left":
            xs.reverse()
        y1, y2 = (h * 0.27, h * 0.73) if rng.random() < 0.5 else (h * 0.73, h * 0.27)
        things = [[(mover, color, x, y1, r), (rest, other, cx, y2, r)] for x in xs]
        if rng.random() < 0.6:
            question, answer = "Which shape moves?", mover
        else:
            question, answer = "Which shape does not move?", rest
    stack = np.stack([draw_frame(base, [(s, tints[c], *spot) for s, c, *spot in frame]) for frame in things])
    meta = {"kind": kind, "drawn": [drawn(*things[i:i + 2], h, w) for i in range(0, n, 2)]}
    if rng.random() < 0.3:
        sigma = rng.uniform(2, 6)
        stack = np.stack([paint.noise(rng, f, sigma) for f in stack])
    return Sample(stack, fps, question, answer, [answer], [], slot, meta)

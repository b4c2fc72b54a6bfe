"""A surface with lines of text on it, which remembers where each character is, and the questions that it answers."""
import random
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from . import fonts, paint
from .sample import Sample

# What every font of a page must be able to draw.
CHARACTERS = "".join(chr(c) for c in range(48, 58)) + "".join(chr(c) for c in range(65, 91)) + "".join(
    chr(c) for c in range(97, 123)) + "$%.,:/()-&'"
DIRECTLY = " Answer this question using the text in the image directly."


@dataclass
class Question:
    text: str
    answers: list[str]          # the first is the training target
    paraphrases: tuple[str, ...] = ()


class Page:
    def __init__(self, rng: random.Random, split: str, h: int, w: int, paper: paint.Color, kinds=("clean",), busy: float = 0.2):
        self.rng, self.split, self.h, self.w = rng, split, h, w
        self.im = paint.background(rng, (w, h), paper, busy)
        self.draw = ImageDraw.Draw(self.im)
        self.font = self.any_font(kinds)
        self.boxes: list[tuple[str, float, float, float, float]] = []
        self.unseen = self.font.split == "test"

    def any_font(self, kinds) -> fonts.Font:
        return fonts.choose(self.rng, (self.rng.choice(kinds),), self.split, CHARACTERS)

    def text(self, x: float, y: float, text: str, size: int, fill: paint.Color, align: str = "left",
             room: float | None = None, font: fonts.Font | None = None) -> float:
        """Writes one line and returns its width in pixels. x: the left end, middle or right end by align; y: the top of the
        line. The size shrinks until the line fits `room` pixels."""
        file = (font or self.font).file
        if room is not None:
            size = max(8, min(size, int(room / max(0.1, fonts.width(file, text)))))
        wide = fonts.width(file, text) * size
        left = x - (0 if align == "left" else wide / 2 if align == "center" else wide)
        self.draw.text((left, y), text, font=fonts.sized(file, size), fill=fill)
        self.boxes += fonts.char_boxes(file, size, left, y, text)
        return wide

    def photo(self, harm: float, tilt: float):
        """(frames, boxes): the page as a camera or a scanner sees it. harm 0..1; tilt: degrees of rotation, at most."""
        rng, im, boxes = self.rng, self.im, self.boxes
        if tilt and rng.random() < 0.5:
            warp = paint.Warp((self.w, self.h)).rotate(rng.uniform(-tilt, tilt))
            if rng.random() < 0.3:
                warp.elastic(rng, rng.uniform(0, 2), rng.uniform(200, 500))
            im, boxes = warp.apply(im, 48), warp.boxes(boxes)
        inside = [b for b in boxes if 0 <= (b[1] + b[3]) / 2 < self.w and 0 <= (b[2] + b[4]) / 2 < self.h]
        return np.asarray(paint.camera(rng, im, harm, self.split))[None], inside


def samples(page: Page, questions: list[Question], slot: str, harm: float, tilt: float) -> list[Sample]:
    """Every question about one picture of the page. meta["wording"] keeps the question unparaphrased."""
    frames, boxes = page.photo(harm, tilt)
    out = []
    for q in questions:
        text = page.rng.choice(q.paraphrases) if q.paraphrases and page.rng.random() < 0.3 else q.text
        out.append(Sample(frames, 0.0, text, q.answers[0], q.answers, boxes, slot,
                          {"wording": q.text, "font": page.font.file, "unseen_font": page.unseen}))
    return out


def frame(rng: random.Random, bucket: tuple[int, int] | None, sizes) -> tuple[int, int]:
    """The bucket, or one of the sizes give or take 14 pixels: what the processor's rounding to 32 makes the size again."""
    if bucket:
        return bucket
    h, w = rng.choice(sizes)
    return h + rng.randint(-14, 14), w + rng.randint(-14, 14)

"""Crops of one word or number: the six kinds of the Text Recognition group."""
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from . import fonts, lexicon, paint
from .sample import Sample

QUESTION = "what is written in the image?"
DIGITS_QUESTION = "what is the number in the image?"
PARAPHRASES = ("What does the picture say?", "Read the text in the image.", "read this",
               "What is the text in this image?", "Transcribe the image.")
DIGITS_PARAPHRASES = ("Read the number in the image.", "Which number is shown?", "What number is this?")


def natural_size(rng: random.Random, length: int) -> tuple[int, int]:
    """(h, w) of a crop as cut from a photo: 36..110 pixels high, wider for longer words."""
    aspect = min(rng.uniform(3.9, 4.7), max(1.6, rng.uniform(0.4, 0.6) * length))
    h = rng.randint(36, 110)
    return h, round(h * aspect)


def frame_of(rng: random.Random, bucket: tuple[int, int] | None, length: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """((h, w) to draw in, (h, w) of the result). Half of the bucket pictures are drawn small and enlarged, as small crops are."""
    if bucket is None:
        size = natural_size(rng, length)
        return size, size
    if rng.random() < 0.5:
        scale = rng.uniform(0.22, 0.7)
        return (round(bucket[0] * scale), round(bucket[1] * scale)), bucket
    return bucket, bucket


def lay_out(rng: random.Random, font: fonts.Font, text: str, h: int, w: int, jitter: float = 0.0, spacing: float = 0.0,
            fill: tuple[float, float] = (0.6, 0.94)):
    """Font size and position of each character: [(character, x, y)], and boxes. fill: least and largest share of the frame."""
    stretch = 1 + spacing * 0.5
    size = fonts.fit_size(font.file, text, w * rng.uniform(*fill) / stretch,
                          h * (rng.uniform(*fill) - 0.1) * (1 - jitter / 2))
    face = fonts.sized(font.file, size)
    left, top, right, bottom = face.getbbox(text)
    gap = spacing * size * 0.2
    total = right - left + gap * (len(text) - 1)
    x = rng.uniform(0.02, max(0.03, 1 - total / w - 0.02)) * w - left if total < w else -left
    y = rng.uniform(0.03, max(0.04, 1 - (bottom - top) / h - 0.03)) * h - top
    advance = fonts.advances(font.file)
    places, boxes = [], []
    for c in text:
        dy = rng.uniform(-jitter, jitter) * size * 0.3
        places.append((c, x, y + dy))
        step = advance[c] * size
        if c != " ":
            boxes.append((c, x, y + dy + top, x + step, y + dy + bottom))
        x += step + gap
    return face, size, places, boxes


def draw_word(draw: ImageDraw.ImageDraw, face, places, fill: int, stroke: int = 0, whole: bool = True):
    if whole:
        _, x, y = places[0]
        draw.text((x, y), "".join(c for c, _, _ in places), font=face, fill=fill, stroke_width=stroke)
    else:
        for c, x, y in places:
            draw.text((x, y), c, font=face, fill=fill, stroke_width=stroke)


def finish(rng: random.Random, im: Image.Image, boxes, drawn, result, harm: float, split: str):
    im = paint.camera(rng, im, harm, split)
    if drawn != result:
        im = im.resize((result[1], result[0]), Image.Resampling.BICUBIC)
        fy, fx = result[0] / drawn[0], result[1] / drawn[1]
        boxes = [(c, a * fx, b * fy, p * fx, q * fy) for c, a, b, p, q in boxes]
    return np.asarray(im)[None], boxes


def make(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> Sample:
    if slot == "digits":
        text = lexicon.number(rng, split)
    elif slot == "nonsemantic":
        text = lexicon.cased(rng, lexicon.non_word(rng, split))
    else:
        text = lexicon.cased(rng, lexicon.word(rng, split, 3 if slot != "regular" else 4))
    kinds = {"regular": ("clean", "clean", "mono"), "irregular": ("clean",), "artistic": ("display",),
             "handwriting": ("hand",), "digits": ("hand", "digits", "mono"), "nonsemantic": ("clean", "mono")}[slot]
    font = fonts.choose(rng, (rng.choice(kinds),), split, text.upper() if slot in ("handwriting", "artistic") else text)
    if font.file in fonts.CAPITALS_ONLY:
        text = text.upper()
    if not fonts.can_draw(font, text):
        font = fonts.choose(rng, ("clean",), split, text)
    drawn, result = frame_of(rng, bucket, len(text))
    h, w = drawn
    size = (w, h)
    harm = {"regular": 0.6, "irregular": 0.9, "artistic": 0.5, "handwriting": 0.5, "digits": 0.6, "nonsemantic": 0.4}[slot]
    ink, paper = paint.ink_and_paper(rng, 50 if slot == "irregular" and rng.random() < 0.4 else 80)
    if slot == "handwriting" and rng.random() < 0.6:
        paper = paint.near(rng, (238, 236, 228), 14)
        ink = rng.choice(((20, 24, 60), (30, 30, 30), (24, 40, 140), (90, 20, 30)))
    im = paint.background(rng, size, paper, 0.7)

    warp = paint.Warp(size)
    jitter = spacing = 0.0
    if slot == "irregular":
        k = rng.random()
        if k < 0.35:
            warp.rotate(rng.uniform(-14, 14))
        elif k < 0.6:
            warp.keystone(rng.uniform(-0.7, 0.7), rng.uniform(-0.4, 0.4))
        elif k < 0.8:
            warp.arc(rng.uniform(-0.3, 0.3) * h)
        else:
            warp.wave(rng.uniform(0.04, 0.12) * h, rng.uniform(0.5, 1.5) * w, rng.uniform(0, 6.3))
        if rng.random() < 0.3:
            warp.shear(rng.uniform(-0.3, 0.3))
    elif slot == "handwriting" or (slot == "digits" and font.kind == "hand"):
        warp.shear(rng.uniform(-0.25, 0.25)).elastic(rng, rng.uniform(0, 0.025) * h, rng.uniform(0.8, 2) * h)
        jitter = rng.uniform(0, 0.12)
        if rng.random() < 0.3 and paint.luma(paper) > 190:   # ruled paper
            draw = ImageDraw.Draw(im)
            for y in range(rng.randint(2, 12), h, rng.randint(max(8, h // 5), max(9, h // 2))):
                draw.line((0, y, w, y), fill=paint.near(rng, (150, 170, 210), 30), width=1)
    elif slot == "artistic":
        jitter, spacing = (rng.uniform(0, 0.3), rng.uniform(0, 0.5)) if rng.random() < 0.35 else (0.0, 0.0)
        if rng.random() < 0.35:
            warp.rotate(rng.uniform(-8, 8))
        elif rng.random() < 0.3:
            warp.arc(rng.uniform(-0.2, 0.2) * h)
    elif slot == "digits":
        spacing = rng.uniform(-0.15, 0.4)
    elif rng.random() < 0.2:
        warp.rotate(rng.uniform(-4, 4))

    bend = bool(warp.terms)
    fill = (0.75 if bucket is None else 0.55, 0.84 if slot == "irregular" else 0.95)
    face, font_size, places, boxes = lay_out(rng, font, text, h, w, jitter, spacing, fill)
    if bend:
        warp.keep_inside(boxes)
    whole = jitter == 0 and spacing == 0
    thin = min(h, w) >= 64 and rng.random() < 0.25 and slot in ("handwriting", "digits")

    def layer(stroke: int, shift: tuple[float, float] = (0, 0)) -> Image.Image:
        mask = Image.new("L", size, 0)
        moved = [(c, x + shift[0], y + shift[1]) for c, x, y in places]
        draw_word(ImageDraw.Draw(mask), face, moved, 255, stroke, whole)
        return warp.apply(mask) if bend else mask

    if slot == "artistic":
        k = rng.random()
        edge = max(1, font_size // rng.randint(14, 26))
        if k < 0.3:                                  # outline
            rim = paint.any_color(rng)
            im.paste(rim, (0, 0), layer(edge))
        elif k < 0.6:                                # shadow
            shift = edge * rng.choice((-1, 1)), edge * rng.choice((-1, 1))
            shade = layer(0, shift).point(lambda v: v * 3 // 5)
            im.paste((0, 0, 0) if paint.luma(paper) > 110 else (255, 255, 255), (0, 0), shade)
        body = layer(0)
        if rng.random() < 0.35:
            im.paste(paint.gradient(size, ink, paint.near(rng, ink, 60), rng.random() < 0.6), (0, 0), body)
        else:
            im.paste(ink, (0, 0), body)
    else:
        im.paste(ink, (0, 0), layer(1 if thin else 0))
    if slot == "irregular" and rng.random() < 0.15:  # a bright or dark streak across
        streak = Image.linear_gradient("L").resize(size).point(lambda v: v // 3)
        im.paste((255, 255, 255) if rng.random() < 0.5 else (0, 0, 0), (0, 0), streak)
    if slot == "regular" and rng.random() < 0.15 and h > 48:
        im = im.filter(ImageFilter.BoxBlur(1))
    boxes = warp.boxes(boxes) if bend else boxes
    frames, boxes = finish(rng, im, boxes, drawn, result, harm, split)
    wording, others = (DIGITS_QUESTION, DIGITS_PARAPHRASES) if slot == "digits" else (QUESTION, PARAPHRASES)
    question = wording if rng.random() < 0.7 else rng.choice(others)
    return Sample(frames, 0.0, question, text, [text], boxes, slot,
                  {"wording": wording, "font": font.file, "unseen_font": font.split == "test"})

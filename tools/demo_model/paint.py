"""Colours, backgrounds, warps and camera faults; all heavy work is inside Pillow or numpy."""
import io
import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Color = tuple[int, int, int]

# The colours that questions name; far apart, so that a name has one meaning.
NAMED: dict[str, Color] = {
    "red": (214, 32, 36), "green": (28, 150, 60), "blue": (36, 76, 214), "yellow": (244, 214, 30),
    "orange": (244, 128, 20), "purple": (132, 44, 168), "black": (20, 20, 22), "white": (248, 248, 246),
    "pink": (248, 140, 186), "brown": (122, 74, 36), "gray": (128, 130, 132)}

# One fixed block of noise; a picture takes a slice from a random place, which costs a tenth of fresh noise.
_NOISE = np.random.default_rng(20240229).normal(0, 32, 1 << 20).clip(-127, 127).astype(np.int8)


def luma(c: Color) -> float:
    return 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]


def any_color(rng: random.Random, low: int = 0, high: int = 255) -> Color:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def near(rng: random.Random, c: Color, spread: int) -> Color:
    return tuple(min(255, max(0, v + rng.randint(-spread, spread))) for v in c)


def ink_and_paper(rng: random.Random, contrast: float = 90) -> tuple[Color, Color]:
    """Two colours whose lightness differs by at least `contrast` of 255."""
    while True:
        if rng.random() < 0.4:                       # grey on grey is what most scans are
            a, b = rng.randint(0, 110), rng.randint(140, 255)
            ink, paper = (a, a, a), near(rng, (b, b, b), 12)
        else:
            ink, paper = any_color(rng), any_color(rng)
        if rng.random() < 0.25:
            ink, paper = paper, ink
        if abs(luma(ink) - luma(paper)) >= contrast:
            return ink, paper


def gradient(size: tuple[int, int], a: Color, b: Color, upright: bool) -> Image.Image:
    ramp = Image.linear_gradient("L")
    mask = (ramp if upright else ramp.transpose(Image.Transpose.ROTATE_90)).resize(size)
    im = Image.new("RGB", size, a)
    im.paste(b, (0, 0), mask)
    return im


def blotches(rng: random.Random, size: tuple[int, int], paper: Color, spread: int) -> Image.Image:
    """Soft clouds around a colour: a few random points, enlarged."""
    w, h = max(2, size[0] // 48), max(2, size[1] // 48)
    random_bytes = np.frombuffer(rng.randbytes(w * h * 3), np.uint8).reshape(h, w, 3)
    base = np.array(paper, np.int16) + random_bytes.astype(np.int16) * spread // 128 - spread
    return Image.fromarray(base.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def background(rng: random.Random, size: tuple[int, int], paper: Color, busy: float = 0.5) -> Image.Image:
    """A surface of about one colour. busy: the share of surfaces that are not plain."""
    if rng.random() >= busy:
        return Image.new("RGB", size, paper)
    k = rng.random()
    if k < 0.35:
        return gradient(size, near(rng, paper, 30), near(rng, paper, 30), rng.random() < 0.5)
    im = blotches(rng, size, paper, rng.randint(12, 36))
    if k < 0.65:
        return im
    draw = ImageDraw.Draw(im)
    if k < 0.85:                                     # boards, bricks, stripes
        step, shade = rng.randint(10, 40), near(rng, paper, 26)
        if rng.random() < 0.5:
            for x in range(rng.randint(0, step), size[0], step):
                draw.line((x, 0, x + rng.randint(-4, 4), size[1]), fill=shade, width=rng.randint(1, 3))
        else:
            for y in range(rng.randint(0, step), size[1], step):
                draw.line((0, y, size[0], y + rng.randint(-3, 3)), fill=shade, width=rng.randint(1, 3))
    else:                                            # things out of focus behind the text
        for _ in range(rng.randint(2, 6)):
            x, y = rng.randint(-20, size[0]), rng.randint(-20, size[1])
            box = (x, y, x + rng.randint(20, 120), y + rng.randint(15, 80))
            (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=near(rng, paper, 32))
        im = im.filter(ImageFilter.BoxBlur(3))
    return im


class Warp:
    """A smooth displacement: output point (x, y) shows source point (x + dx, y + dy)."""

    def __init__(self, size: tuple[int, int]):
        self.size = size
        self.terms = []

    def rotate(self, degrees: float):
        c, s = math.cos(math.radians(degrees)) - 1, math.sin(math.radians(degrees))
        cx, cy = self.size[0] / 2, self.size[1] / 2
        self.terms.append(lambda x, y: (c * (x - cx) - s * (y - cy), s * (x - cx) + c * (y - cy)))
        return self

    def shear(self, amount: float):
        cy = self.size[1] / 2
        self.terms.append(lambda x, y: (amount * (y - cy), 0 * x))
        return self

    def keystone(self, horizontal: float, vertical: float):
        """Perspective of a plane turned away: one side becomes smaller."""
        w, h = self.size
        def term(x, y):
            u, v = x / w - 0.5, y / h - 0.5
            z = 1 + horizontal * u + vertical * v
            return (u / z - u) * w, (v / z - v) * h
        self.terms.append(term)
        return self

    def wave(self, height: float, length: float, phase: float):
        self.terms.append(lambda x, y: (0 * x, height * np.sin(2 * math.pi * x / length + phase)))
        return self

    def arc(self, sag: float):
        w = self.size[0]
        self.terms.append(lambda x, y: (0 * x, sag * (4 * (x / w - 0.5) ** 2 - 0.5)))
        return self

    def elastic(self, rng: random.Random, amount: float, length: float):
        """Slow wobble in both directions, as of an unsteady hand."""
        a, b, c, d = (rng.uniform(0, 6.3) for _ in range(4))
        k = 2 * math.pi / length
        self.terms.append(lambda x, y: (amount * np.sin(k * y * 1.3 + a + np.sin(k * x + c)),
                                        amount * np.sin(k * x + b + np.sin(k * y * 0.7 + d))))
        return self

    def keep_inside(self, boxes):
        """Shifts the picture so that the warped boxes lie in the frame, as far as they fit."""
        w, h = self.size
        moved = np.array([b[1:] for b in self.boxes(boxes)])
        def shift(low, high, room):
            return max(1 - low, 0) if high - low < room else (room - high - low) / 2
        left, top, right, bottom = moved[:, 0].min(), moved[:, 1].min(), moved[:, 2].max(), moved[:, 3].max()
        sx = shift(left, right, w) or min(w - 1 - right, 0)
        sy = shift(top, bottom, h) or min(h - 1 - bottom, 0)
        if sx or sy:
            self.terms.append(lambda x, y: (0 * x - sx, 0 * y - sy))

    def displacement(self, x, y):
        dx, dy = 0 * x, 0 * y
        for term in self.terms:
            a, b = term(x, y)
            dx, dy = dx + a, dy + b
        return dx, dy

    def apply(self, im: Image.Image, cell: int = 20) -> Image.Image:
        w, h = self.size
        nx, ny = max(2, round(w / cell)), max(2, round(h / cell))
        xs, ys = np.round(np.linspace(0, w, nx + 1)), np.round(np.linspace(0, h, ny + 1))
        gx, gy = np.meshgrid(xs, ys)
        dx, dy = self.displacement(gx, gy)
        sx, sy = (gx + dx).tolist(), (gy + dy).tolist()
        mesh = []
        for j in range(ny):
            for i in range(nx):
                box = (int(xs[i]), int(ys[j]), int(xs[i + 1]), int(ys[j + 1]))
                mesh.append((box, (sx[j][i], sy[j][i], sx[j + 1][i], sy[j + 1][i],
                                   sx[j + 1][i + 1], sy[j + 1][i + 1], sx[j][i + 1], sy[j][i + 1])))
        return im.transform(self.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)

    def boxes(self, boxes):
        """Where the boxes come to lie: the centre is followed by three fixed-point steps, the size stays."""
        if not boxes:
            return boxes
        src = np.array([b[1:] for b in boxes])
        cx, cy = (src[:, 0] + src[:, 2]) / 2, (src[:, 1] + src[:, 3]) / 2
        x, y = cx, cy
        for _ in range(3):
            dx, dy = self.displacement(x, y)
            x, y = cx - dx, cy - dy
        moved = src + np.stack([x - cx, y - cy, x - cx, y - cy], 1)
        return [(b[0], *row) for b, row in zip(boxes, moved.tolist())]


def noise(rng: random.Random, pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Grey camera noise; sigma in levels of 255."""
    h, w, _ = pixels.shape
    start = rng.randrange(len(_NOISE) - h * w)
    grain = _NOISE[start:start + h * w].reshape(h, w, 1).astype(np.int16) * int(sigma * 8) >> 8
    return (pixels + grain).clip(0, 255).astype(np.uint8)


def jpeg(im: Image.Image, quality: int) -> Image.Image:
    store = io.BytesIO()
    im.save(store, "JPEG", quality=quality)
    return Image.open(store).convert("RGB")


def camera(rng: random.Random, im: Image.Image, harm: float, split: str) -> Image.Image:
    """Blur, noise and JPEG artefacts, each on a part of the pictures. harm 0..1. Test pictures become files, most of them JPEG; a
    part of the training pictures is coded as such a file would be."""
    if rng.random() < 0.35 * harm:
        im = im.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 0.3 + harm)))
    if rng.random() < 0.6 * harm:
        im = Image.fromarray(noise(rng, np.asarray(im), rng.uniform(2, 2 + 14 * harm)))
    if rng.random() < 0.25 * harm:
        im = jpeg(im, rng.randint(45, 90))
    elif split == "train" and rng.random() < 0.3:
        im = jpeg(im, rng.randint(80, 95))
    return im

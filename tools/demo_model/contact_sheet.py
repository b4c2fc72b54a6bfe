"""Sheets of sample pictures with their questions and answers, for a human eye."""
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from . import samples


def save_sheets(folder: str, rows: int = 6, columns: int = 3, boxes: bool = True) -> None:
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for slot in samples.SLOTS:
        cells = []
        for i in range(rows * columns):
            bucket = None if i % 3 == 2 else samples.BUCKETS_OF_SLOT[slot][i % len(samples.BUCKETS_OF_SLOT[slot])]
            s = samples.make_sample(i, slot, "test" if bucket is None else "train", bucket)
            im = Image.fromarray(np.concatenate(list(s.frames), 1))
            draw = ImageDraw.Draw(im)
            if boxes:
                for _, x0, y0, x1, y1 in s.boxes:
                    draw.rectangle((x0, y0, x1, y1), outline=(255, 0, 255))
            cells.append((im, f"{s.question} -> {s.answer}"))
        w = max(c.width for c, _ in cells) + 8
        h = max(c.height for c, _ in cells) + 30
        sheet = Image.new("RGB", (w * columns, h * rows), "white")
        draw = ImageDraw.Draw(sheet)
        for i, (im, text) in enumerate(cells):
            x, y = i % columns * w, i // columns * h
            sheet.paste(im, (x, y))
            draw.text((x, y + im.height + 2), text[:w // 6] + "\n" + text[w // 6:], fill="black")
        sheet.save(out / f"{slot}.png")

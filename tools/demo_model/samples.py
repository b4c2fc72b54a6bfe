"""make_sample: one picture or clip with a question and its answer, a pure function of (seed, slot, split, bucket).

Speed of every slot: DEMO_FONTS=DIR python3 -m demo_model.samples
"""
import argparse
import hashlib
import os
import random
import time

from . import clips, documents, formulas, lines, receipts, scenes, shapes, words
from .sample import Sample

__all__ = ["Sample", "SLOTS", "BUCKETS_OF_SLOT", "make_sample"]

# Training mix.
SLOTS: dict[str, float] = {
    "regular": 10, "irregular": 10, "artistic": 8, "handwriting": 10, "digits": 7, "nonsemantic": 8,
    "line": 5, "scene": 9, "cover": 3, "document": 5, "chart": 5, "infographic": 3, "receipt": 6, "form": 5, "nutrition": 4,
    "formula": 9, "shapes": 7, "clips": 6,
}

# Frame sizes (h, w) of the training pictures: multiples of 32 of at least 65,536 pixels, which the processor's resize leaves alone.
# Word crops are enlarged to about 65,536 pixels by it; these are grids that crops of usual proportions come to.
_WORD = [(128, 544), (128, 576), (160, 448), (160, 480), (192, 352), (192, 384), (192, 416), (224, 352), (256, 256)]
BUCKETS_OF_SLOT: dict[str, list[tuple[int, int]]] = {
    "regular": _WORD, "irregular": _WORD, "artistic": _WORD, "handwriting": _WORD, "digits": _WORD, "nonsemantic": _WORD,
    "line": lines.SIZES, "scene": scenes.SIZES, "cover": [(384, 256), (256, 256)], **documents.SIZES,
    "receipt": receipts.RECEIPT_SIZES, "form": receipts.FORM_SIZES, "nutrition": receipts.TABLE_SIZES,
    "formula": _WORD, "shapes": [(256, 256), (256, 384), (384, 256), (224, 320), (320, 320), (384, 384)],
    "clips": [(128, 128), (128, 160), (160, 192), (192, 192)],
}

_MAKERS = {slot: words.make for slot in ("regular", "irregular", "artistic", "handwriting", "digits", "nonsemantic")}
_MAKERS |= {"shapes": shapes.make, "formula": formulas.make, "clips": clips.make}
_PAGES = {"line": lines, "scene": scenes, "cover": scenes, "document": documents, "chart": documents, "infographic": documents,
          "receipt": receipts, "form": receipts, "nutrition": receipts}
# Slots whose pictures answer several questions.
_SEVERAL = _PAGES | {"shapes": shapes}


def generator(*key) -> random.Random:
    """The random numbers of one sample: a function of the key alone, on every machine."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "little"))


def picture_samples(seed: int, slot: str, split: str, bucket: tuple[int, int] | None) -> list[Sample]:
    """Several questions about one picture of a slot that has them; at least one."""
    for again in range(100):
        found = _SEVERAL[slot].all_questions(generator(split, slot, seed, bucket, again), slot, split, bucket)
        if found:
            return found
    raise AssertionError(f"{slot}: no question for seed {seed}")


def make_sample(seed: int, slot: str, split: str, bucket: tuple[int, int] | None) -> Sample:
    """bucket: the exact frame size (h, w) to draw into, or None for the size such a picture has in the wild.

    split: "train" or "test"; the test split has its own words, numbers and names, and draws a part of its pictures in fonts
    that no training picture has.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; expected 'train' or 'test'")
    rng = generator(split, slot, seed, bucket)
    if slot in _PAGES:
        return rng.choice(picture_samples(seed, slot, split, bucket))
    return _MAKERS[slot](rng, slot, split, bucket)


def main() -> None:
    parser = argparse.ArgumentParser(description="samples per second and core of every slot")
    parser.add_argument("--fonts", help="folder made by fetch_fonts.sh; default: the variable DEMO_FONTS")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--save", metavar="DIR", help="write a few pictures of every slot there instead")
    args = parser.parse_args()
    if args.fonts:
        os.environ["DEMO_FONTS"] = args.fonts
    if args.save:
        from .contact_sheet import save_sheets
        save_sheets(args.save)
        return
    for slot in SLOTS:
        buckets = BUCKETS_OF_SLOT[slot]
        for i in range(150):                          # opens fonts
            make_sample(i, slot, "train", buckets[i % len(buckets)])
        n, start = 0, time.process_time()
        while time.process_time() - start < args.seconds:
            make_sample(1000 + n, slot, "train", buckets[n % len(buckets)])
            n += 1
        ms = (time.process_time() - start) / n * 1000
        print(f"{slot:12} {1000 / ms:6.0f} samples/s  {ms:5.1f} ms")


if __name__ == "__main__":
    main()

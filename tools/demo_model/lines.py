"""One to three lines of words, to be read as a whole."""
import random

from . import lexicon, paint, words
from .page import Page, Question, frame, samples
from .sample import Sample

SIZES = [(128, 544), (256, 256), (256, 384)]


def all_questions(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> list[Sample]:
    h, w = frame(rng, bucket, SIZES)
    ink, paper = paint.ink_and_paper(rng, 90)
    page = Page(rng, split, h, w, paper, ("clean", "clean", "mono", "hand", "display"), 0.6)
    count = rng.randint(1, 2 if h < 200 else 3)
    lines = []
    for _ in range(count):
        parts = [lexicon.cased(rng, lexicon.word(rng, split, 2, 8)) for _ in range(rng.randint(1, 3 if w > 300 else 2))]
        if rng.random() < 0.2:
            parts[-1] = lexicon.number(rng, split, 2, 5)
        lines.append(" ".join(parts))
    step = min((h - 10) / count, 90) * rng.uniform(0.75, 1)
    size = int(step * rng.uniform(0.5, 0.72))
    y = rng.uniform(4, max(5, h - step * count - 2))
    align = rng.choice(("left", "center"))
    x = w / 2 if align == "center" else rng.uniform(8, w * 0.12)
    for line in lines:
        page.text(x, y, line, size, ink, align, w - 2 * 8 if align == "center" else w - x - 8)
        y += step
    question = Question(words.QUESTION, [" ".join(lines)], words.PARAPHRASES)
    return samples(page, [question], slot, 0.7, 4.0)

"""What a generator hands out."""
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Sample:
    frames: np.ndarray      # uint8 [t, h, w, 3]; t == 1 is a picture
    fps: float              # frames per second of a clip, 0 for a picture
    question: str
    answer: str             # the training target, a bare label
    answers: list[str]      # all that count as right; the first is the answer
    # Characters and where they are, in pixels of the frame: (character, x0, y0, x1, y1). May be empty.
    boxes: list[tuple[str, float, float, float, float]]
    slot: str
    meta: dict = field(default_factory=dict)

"""What the auxiliary loss asks of a visual token: the characters in it, or the shape that covers it, its colour and its box."""
import collections

import numpy as np

from demo_model import prompt, shapes

CHARACTERS = 4
LABELS = CHARACTERS + 2 + 4
BLANK, OTHER = 0, 1              # classes before the printable ASCII characters; shapes, colours and hundredths follow BLANK
UNASKED = -100
CLASSES = 1 + 101                # the most: blank and 0 to 100 hundredths


def character_class(character):
    return 2 + ord(character) - 32 if 32 <= ord(character) < 127 else OTHER


def character_labels(boxes, h, w):
    """[h * w, CHARACTERS] classes of the characters whose centre lies in each token, line by line. boxes: see Sample."""
    labels = np.full((h * w, CHARACTERS), BLANK, np.int64)
    filled = collections.Counter()
    for character, x0, y0, x1, y1 in boxes:
        row, column = int((y0 + y1) / 2) // prompt.TOKEN_PIXELS, int((x0 + x1) / 2) // prompt.TOKEN_PIXELS
        cell = row * w + column
        if 0 <= row < h and 0 <= column < w and not character.isspace() and filled[cell] < CHARACTERS:
            labels[cell, filled[cell]] = character_class(character)
            filled[cell] += 1
    return labels


def shape_labels(things, h, w):
    """[h * w, 6] classes of the shape, its colour and the corners of its box, at the token that holds its centre and at those whose
    own centre lies in its box. things = [(shape, colour, box in thousandths)]."""
    labels = np.full((h, w, LABELS - CHARACTERS), BLANK, np.int64)
    for at_centre in (False, True):                  # where two shapes meet, the one with its centre there
        for shape, color, box in things:
            label = [1 + shapes.SHAPES.index(shape), 1 + shapes.COLORS.index(color), *(1 + v // 10 for v in box)]
            x0, y0, x1, y1 = (v / 1000 * side for v, side in zip(box, (w, h, w, h)))
            if at_centre:
                labels[int((y0 + y1) / 2), int((x0 + x1) / 2)] = label
            else:
                labels[round(y0):round(y1), round(x0):round(x1)] = label
    return labels.reshape(h * w, -1)


def labels(sample):
    """[tokens, LABELS] classes for all visual tokens of a sample, slice by slice, UNASKED where there is nothing to ask."""
    h, w = (side // prompt.TOKEN_PIXELS for side in sample.frames.shape[1:3])
    slices = (len(sample.frames) + 1) // 2
    found = np.full((slices * h * w, LABELS), UNASKED, np.int64)
    if sample.boxes:
        found[:, :CHARACTERS] = character_labels(sample.boxes, h, w)
    if "drawn" in sample.meta:
        drawn = sample.meta["drawn"] if sample.fps else [sample.meta["drawn"]]
        found[:, CHARACTERS:] = np.concatenate([shape_labels(things, h, w) for things in drawn])
    return found

"""Endless batches of samples of one grid, rendered by worker processes."""
import collections
import dataclasses
import random
import time

import numpy as np
import torch

from demo_model import bpe, cells, prompt, samples

VISUAL_TOKENS_A_BATCH = 16384
LENGTH_STEP = 16                 # lengths are padded to multiples of this, so that few shapes occur
ANSWER_STEP = 8
QUESTIONS_A_PICTURE = 3          # of a picture that has several
EASY_SLOTS = ("regular", "digits", "nonsemantic")
WORD_SLOTS = EASY_SLOTS + ("irregular", "artistic", "handwriting")
SEVERAL_QUESTIONS_SLOTS = ("scene", "cover", "document", "chart", "infographic", "receipt", "form", "nutrition", "shapes")


@dataclasses.dataclass
class Progress:
    """Where the training stands in [0, 1], for processes that only know the clock."""
    start: float
    seconds: float

    def now(self):
        return min(1.0, max(0.0, (time.time() - self.start) / self.seconds))


def slot_weights(mix, progress):
    """Shares of rendered pictures: the mix, or, where there is none, first mostly plain words, so that attention finds the letters;
    then words twice as often as later. What gives several samples is rendered less often."""
    if mix:
        return {slot: weight / (QUESTIONS_A_PICTURE if slot in SEVERAL_QUESTIONS_SLOTS else 1) for slot, weight in mix.items()}

    def factor(slot):
        if progress < 0.06:
            return 10 if slot in EASY_SLOTS else 0.1
        if slot in SEVERAL_QUESTIONS_SLOTS:
            return 1 / QUESTIONS_A_PICTURE
        return 2 if progress < 0.35 and slot in WORD_SLOTS else 1
    return {slot: weight * factor(slot) for slot, weight in samples.SLOTS.items()}


def buckets_of(slot, progress):
    """Frame sizes to render into; few at first."""
    return samples.BUCKETS_OF_SLOT[slot][:1 if progress < 0.06 and slot in EASY_SLOTS else None]


def padded(rows, step, value):
    """Integer lists as one array, padded to a multiple of step."""
    width = -(-max(map(len, rows)) // step) * step
    out = np.full((len(rows), width), value, np.int64)
    for i, row in enumerate(rows):
        out[i, :len(row)] = row
    return out


def collate(encoded, labels):
    """Tensors of samples of one grid; see model.Batch. `labels` are the answers' ids, -100 where there is none."""
    ids = padded([e.ids for e in encoded], LENGTH_STEP, 0)
    length = ids.shape[1]
    positions = np.zeros((len(encoded), 3, length), np.int64)
    for i, e in enumerate(encoded):
        positions[i, :, :len(e.ids)] = e.positions
    rows = [np.arange(e.prompt_length - 1, len(e.ids) - 1) for e in encoded]
    starts = np.arange(len(encoded))[:, None] * length
    tensors = {
        "frames": np.stack([e.frames for e in encoded]),
        "ids": ids,
        "positions": positions,
        "visual_rows": (np.stack([e.visual_rows for e in encoded]) + starts).reshape(-1),
        "answer_rows": (padded(rows, ANSWER_STEP, 0) + starts).reshape(-1),
        "labels": padded([e.ids[e.prompt_length:] for e in encoded], ANSWER_STEP, -100).reshape(-1),
        "cells": np.stack(labels),
    }
    return {name: torch.from_numpy(array) for name, array in tensors.items()}


def train_samples(seed, slot, bucket, choose):
    """One rendered picture or clip, with some of its questions."""
    if slot not in SEVERAL_QUESTIONS_SLOTS:
        return [samples.make_sample(seed, slot, "train", bucket)]
    found = samples.picture_samples(seed, slot, "train", bucket)
    return choose.sample(found, min(len(found), QUESTIONS_A_PICTURE))


class SampleBatches(torch.utils.data.IterableDataset):
    """Batches of the training split; each worker has seeds of its own. mix: shares of the slots, or None: see slot_weights."""

    def __init__(self, tokenizer, progress, seed, mix):
        self.tokenizer, self.progress, self.seed, self.mix = tokenizer, progress, seed, mix

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        tokenizer = bpe.Tokenizer(self.tokenizer)
        choose = random.Random(f"{self.seed} {worker}")
        waiting = collections.defaultdict(list)
        count = worker
        while True:
            progress = self.progress.now()
            weights = slot_weights(self.mix, progress)
            slot = choose.choices(list(weights), list(weights.values()))[0]
            bucket = choose.choice(buckets_of(slot, progress))
            for sample in train_samples(self.seed * 1_000_000_000 + count, slot, bucket, choose):
                encoded = prompt.encode(tokenizer, sample)
                key = encoded.frames.shape
                waiting[key].append((encoded, cells.labels(sample)))
                if len(waiting[key]) * len(encoded.visual_rows) >= VISUAL_TOKENS_A_BATCH:
                    yield collate(*zip(*waiting.pop(key)))
            count += workers


def validation_batches(tokenizer, per_slot):
    """(slot of each sample, batch) of the test split in training buckets, the same every time."""
    groups = collections.defaultdict(list)
    for slot in samples.SLOTS:
        buckets = samples.BUCKETS_OF_SLOT[slot]
        for seed in range(per_slot):
            sample = samples.make_sample(seed, slot, "test", buckets[seed % len(buckets)])
            encoded = prompt.encode(tokenizer, sample)
            groups[encoded.frames.shape].append((slot, encoded, cells.labels(sample)))
    for group in groups.values():
        slots, encoded, labels = zip(*group)
        yield slots, collate(encoded, labels)

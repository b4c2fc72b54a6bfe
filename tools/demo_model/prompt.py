"""From a sample to what the model takes: sampled frames, token ids, M-RoPE positions. As qvl does it by default."""
import dataclasses

import numpy as np

IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
TOKEN_PIXELS = 32  # a visual token covers 32 x 32 pixels
VIDEO_FPS, MIN_FRAMES, MAX_FRAMES = 2, 4, 768


@dataclasses.dataclass
class Encoded:
    frames: np.ndarray           # uint8 [t, h, w, 3]; t is 1 for a picture, else even
    ids: list[int]               # prompt, then answer and <|im_end|>
    positions: np.ndarray        # int64 [3, len(ids)]
    visual_rows: np.ndarray      # indices into ids
    prompt_length: int


def sampled_frames(total, fps):
    """Indices of the frames a video is read at, the last twice if their number is odd, and the seconds of each pair."""
    count = min(max(int(total / fps * VIDEO_FPS), MIN_FRAMES), MAX_FRAMES, total)
    indices = [round(k * (total - 1) / (count - 1)) for k in range(count)]
    indices += indices[-1:] * (count % 2)
    seconds = [(a / fps + b / fps) / 2 for a, b in zip(indices[::2], indices[1::2])]
    return indices, seconds


def rendered(question, tokens_a_slice, seconds):
    """The chat template's text for one question after one picture (seconds is None) or video, placeholders expanded."""
    span = lambda pad: f"<|vision_start|>{pad * tokens_a_slice}<|vision_end|>"
    media = span(IMAGE) if seconds is None else "".join(f"<{t:.1f} seconds>{span(VIDEO)}" for t in seconds)
    return f"<|im_start|>user\n{media}{question}<|im_end|>\n<|im_start|>assistant\n"


def mrope_positions(is_visual, h, w):
    """[3, tokens] time, row and column of each token; visual tokens come in runs of h * w."""
    positions = np.empty((3, len(is_visual)), np.int64)
    rows, columns = np.divmod(np.arange(h * w), w)
    i = base = 0
    while i < len(is_visual):
        if is_visual[i]:
            positions[:, i:i + h * w] = base + np.stack([np.zeros_like(rows), rows, columns])
            i, base = i + h * w, base + max(h, w)
        else:
            positions[:, i] = base
            i, base = i + 1, base + 1
    return positions


def encode(tokenizer, sample, answer=True):
    """A sample whose frames have sides that are multiples of 32. Answers are spelled out byte by byte: a small reader learns
    letters sooner than pieces of words."""
    frames, seconds = sample.frames, None
    if len(frames) > 1:
        indices, seconds = sampled_frames(len(frames), sample.fps)
        frames = frames[indices]
    h, w = frames.shape[1] // TOKEN_PIXELS, frames.shape[2] // TOKEN_PIXELS
    ids = tokenizer.encode(rendered(sample.question, h * w, seconds))
    length = len(ids)
    if answer:
        ids += tokenizer.spell(sample.answer) + [tokenizer.added["<|im_end|>"]]
    pad = tokenizer.added[IMAGE if seconds is None else VIDEO]
    is_visual = np.array(ids) == pad
    return Encoded(frames, ids, mrope_positions(is_visual, h, w), np.flatnonzero(is_visual), length)

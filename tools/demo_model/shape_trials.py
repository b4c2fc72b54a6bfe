"""The 200 questions about shapes asked in other ways, and more of them: does it depend on the asking?

A trial is a list of records as in shapes.json, each with a further key drawn: [(shape, colour, box)] of its picture.
"""
import json
from pathlib import Path

from PIL import Image

from . import samples

SEED = 7_000_000                                      # of the first question in shapes.json
OTHER_SEED = 1_000_000_000
# (h, w) that models/demo saw shapes in.
TRAINED_FRAMES = ((256, 256), (256, 384), (384, 256), (224, 320), (320, 320), (384, 384))


def benchmark(syn: Path) -> list[dict]:
    records = json.loads((syn / "shapes.json").read_text(encoding="utf-8"))
    for i, record in enumerate(records):
        sample = samples.make_sample(SEED + i, "shapes", "test", None)
        if sample.question != record["question"]:
            raise ValueError(f"{record['id']} was drawn with another seed or by another generator")
        record["drawn"] = sample.meta["drawn"]
    return records


def is_where(record: dict) -> bool:
    return "box" in record


def reworded(records: list[dict]) -> list[dict]:
    """Each question for a place in the other of its two wordings."""
    def other(text: str) -> str:
        where, box = "Where is ", "Give the box of "
        return box + text[len(where):-1] + "." if text.startswith(where) else where + text[len(box):-1] + "?"
    return [{**r, "question": other(r["question"])} for r in records if is_where(r)]


def resized(records: list[dict], media: Path, name: str, size) -> list[dict]:
    """The same questions about pictures of size(width, height), written to media / name. Places are in thousandths: they stay."""
    out = []
    for r in records:
        path = f"{name}/{r['id']}.png"
        (media / name).mkdir(parents=True, exist_ok=True)
        with Image.open(media / r["image_path"]) as im:
            im.resize(size(*im.size), Image.Resampling.LANCZOS).save(media / path)
        out.append({**r, "image_path": path})
    return out


def drawn(media: Path, name: str, count: int, split: str = "test", frames=(None,), wanted=lambda meta: True) -> list[dict]:
    """Questions of other seeds about pictures drawn into the frames in turn, those whose meta is wanted."""
    out, seed = [], OTHER_SEED
    (media / name).mkdir(parents=True, exist_ok=True)
    while len(out) < count:
        seed += 1
        s = samples.make_sample(seed, "shapes", split, frames[seed % len(frames)])
        if wanted(s.meta):
            path = f"{name}/{seed}.png"
            Image.fromarray(s.frames[0]).save(media / path)
            place = {"box": s.meta["box"]} if "box" in s.meta else {}
            out.append({"dataset_name": "SynShapes", "id": seed, "image_path": path, "question": s.question, "answers": s.answers[0],
                        "type": f"Shapes: {s.meta['kind']}", "drawn": s.meta["drawn"], **place})
    return out


def all_trials(syn: Path) -> dict[str, list[dict]]:
    """Each trial's name with its records; their pictures are under syn/images."""
    media = syn / "images"
    asked = benchmark(syn)
    where_among = lambda count: lambda meta: meta["kind"] == "where" and len(meta["drawn"]) == count
    return {
        "as in the benchmark": asked,
        "places asked for in the other wording": reworded(asked),
        "pictures enlarged twice": resized(asked, media, "trials/enlarged", lambda w, h: (2 * w, 2 * h)),
        "other questions, drawn in frames of the training": drawn(media, "trials/frames", 200, frames=TRAINED_FRAMES),
        "other questions, drawn as for training": drawn(media, "trials/train", 200, "train", TRAINED_FRAMES),
        "other places, one shape in the picture": drawn(media, "trials/one", 100, wanted=where_among(1)),
        "other places, six shapes in the picture": drawn(media, "trials/six", 100, wanted=where_among(6)),
    }

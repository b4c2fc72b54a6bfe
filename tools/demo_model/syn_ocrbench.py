"""SynOCRBench: 1,000 synthetic samples in the files, order, counts and quirks of OCRBench v1, and two lists of its own.

    DEMO_FONTS=DIR python3 -m demo_model.syn_ocrbench OUT [--seed 7] [--subset DIR]

writes into OUT
    OCRBench.json, OCRBench_Images/syn/…          the official layout
    OCRBench.tsv                                  VLMEvalKit's layout
    data/test-00000-of-00001.parquet              the Hugging Face layout
    shapes.json, clips.json, images/…             200 questions each about shapes and about clips
    meta.jsonl                                    font, whether training saw it, character boxes
    synthetic.json                                says that all of this is synthetic
and, with --subset, every tenth sample of each list into DIR.

A SynOCRBench score is not an OCRBench score.
"""
import argparse
import base64
import io
import json
import random
import shutil
from pathlib import Path

from PIL import Image

from . import fonts, formulas, parquet, samples, scenes
from .page import samples as page_questions
from .sample import Sample

FIRST_ID = 9_000_000
RECOGNITION = "Text Recognition"
# (type, slot, data sets with counts) in file order.
LAYOUT = [
    ("Regular Text Recognition", "regular", {"IIIT5K": 15, "svt": 17, "IC13_857": 18}),
    ("Irregular Text Recognition", "irregular", {"IC15_1811": 8, "svtp": 9, "ct80": 9, "cocotext": 8, "ctw": 8, "totaltext": 8}),
    ("Artistic Text Recognition", "artistic", {"WordArt": 50}),
    ("Handwriting Recognition", "handwriting", {"IAM": 50}),
    ("Digit String Recognition", "digits", {"ORAND": 50}),
    ("Non-Semantic Text Recognition", "nonsemantic", {"NonSemanticText": 50}),
    ("Scene Text-centric VQA", "scene", {"STVQA": 50, "textVQA": 50, "ESTVQA": 50}),
    ("Scene Text-centric VQA", "cover", {"ocrVQA": 50}),
    ("Doc-oriented VQA", "document", {"docVQA": 50}),
    ("Doc-oriented VQA", "chart", {"ChartQA": 50, "ChartQA_Human": 50}),
    ("Doc-oriented VQA", "infographic", {"infographicVQA": 50}),
    ("Key Information Extraction", "receipt", {"SROIE": 67}),
    ("Key Information Extraction", "form", {"FUNSD": 66}),
    ("Key Information Extraction", "nutrition", {"POIE": 67}),
    ("Handwritten Mathematical Expression Recognition", "formula", {"HME100k": 100}),
]
FOLDERS = {"HME100k": "HME100K", "ChartQA_Human": "ChartQA"}
# Questions on one picture, picture by picture: 39 pictures carry more than one of the 70 repeats, 45 of them on forms.
SHARING = {"docVQA": [2] * 10 + [1] * 30, "infographicVQA": [2] * 10 + [1] * 30, "SROIE": [2] * 5 + [1] * 57,
           "FUNSD": [5] * 3 + [4] * 11 + [1] * 7}
RECEIPT_QUOTAS = {"total amount": 19, "name of the company": 18, "when was": 18, "where was": 12}
TWO_FORMS = 46                  # formulas whose label lists a second form without short braces
LISTS = 149                     # records whose answers are a list
ACCENTED = (440, "Café Réserve")
SHORTEST = 3                    # characters of an answer outside text recognition: shorter ones are hit by accident


def wording(s: Sample) -> str:
    return s.meta.get("wording", s.question)


def encoded(frame) -> tuple[bytes, bool]:
    """(file bytes, whether they are PNG): PNG where that is small, else JPEG."""
    im = Image.fromarray(frame)
    store = io.BytesIO()
    im.save(store, "PNG", optimize=True)
    if store.tell() <= 12_000:
        return store.getvalue(), True
    store = io.BytesIO()
    im.save(store, "JPEG", quality=88)
    return store.getvalue(), False


def write_picture(frame, stem: Path, jpeg_ending: str = "jpg") -> str:
    """Writes stem.png or stem.jpg (or another ending of JPEG files) and returns the ending."""
    data, is_png = encoded(frame)
    ending = "png" if is_png else jpeg_ending
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_name(f"{stem.name}.{ending}").write_bytes(data)
    return ending


def good_questions(found: list[Sample], name: str) -> list[Sample]:
    seen, out = set(), []
    for s in found:
        text = wording(s)
        aggregate = text.startswith(("Which one", "What is the highest", "What is the lowest"))
        if min(map(len, s.answers)) < SHORTEST or text in seen or s.answer.lower() in text.lower():
            continue
        if name == "ChartQA" and aggregate or name == "ChartQA_Human" and not aggregate:
            continue
        seen.add(text)
        out.append(s)
    return out


def page_records(seed: int, slot: str, name: str, count: int) -> list[Sample]:
    rng = samples.generator("SynOCRBench", seed, name)
    plan = SHARING.get(name, [1] * count)
    plan = rng.sample(plan, len(plan))
    quotas = dict(RECEIPT_QUOTAS)
    out: list[Sample] = []
    number = 0
    for wanted in plan:
        while True:
            number += 1
            found = good_questions(samples.picture_samples(seed * 1_000_000 + number, slot, "test", None), name)
            if name == "SROIE":       # the kinds of question that are still most wanted
                found.sort(key=lambda s: -next(left for kind, left in quotas.items() if kind in wording(s)))
            else:
                rng.shuffle(found)
            if len(found) >= wanted:
                break
        for s in found[:wanted]:
            if name == "SROIE":
                quotas[next(kind for kind in quotas if kind in wording(s))] -= 1
            out.append(s)
    return out


def formula_records(seed: int, count: int) -> list[Sample]:
    """Labels as in HME100k: blanks between tokens, a line feed at the end, for some a second form without short braces."""
    left = {True: TWO_FORMS, False: count - TWO_FORMS}
    out, number = [], 0
    while len(out) < count:
        number += 1
        s = samples.make_sample(seed * 1_000_000 + number, "formula", "test", None)
        tokens = s.meta["tokens"]
        short = formulas.without_short_braces(tokens)
        if not left[short != tokens]:
            continue
        left[short != tokens] -= 1
        s.answers = [formulas.spaced(tokens) + "\n"]
        if short != tokens:
            s.answers.append(formulas.spaced(short).replace(" _ ", "_").replace(" ^ ", "^") + "\n")
        out.append(s)
    return out


def accented_sample(seed: int, text: str) -> Sample:
    page, questions = scenes.signs(samples.generator("accented", seed), "test", 256, 384, accented=text)
    return page_questions(page, questions[:1], "scene", 0.3, 0.0)[0]


def all_samples(seed: int) -> list[tuple[str, str, Sample]]:
    """(type, data set, sample) of the 1,000, in order."""
    rows: list[tuple[str, str, Sample]] = []
    number = 0
    for kind, slot, sets in LAYOUT:
        for name, count in sets.items():
            if slot == "formula":
                found = formula_records(seed, count)
            elif RECOGNITION in kind or slot in ("handwriting", "digits"):
                found = []
                for _ in range(count):
                    number += 1
                    found.append(samples.make_sample(seed * 1_000_000 + number, slot, "test", None))
            else:
                found = page_records(seed + 1000 * list(sets).index(name), slot, name, count)
            rows += [(kind, name, s) for s in found]
    kind, name, _ = rows[ACCENTED[0]]
    rows[ACCENTED[0]] = kind, name, accented_sample(seed, ACCENTED[1])
    return rows


def as_records(rows: list[tuple[str, str, Sample]], out: Path) -> list[dict]:
    rng = random.Random(1)
    records = []
    written: dict[int, str] = {}     # by frames: questions on one page share its file
    for i, (kind, name, s) in enumerate(rows):
        path = written.get(id(s.frames))
        if path is None:
            stem = f"syn/{FOLDERS.get(name, name)}/{FIRST_ID + i}"
            ending = write_picture(s.frames[0], out / "OCRBench_Images" / stem, rng.choice(("jpg", "jpg", "jpg", "jpeg", "JPEG")))
            path = written[id(s.frames)] = f"{stem}.{ending}"
        records.append({"dataset_name": name, "id": FIRST_ID + i, "image_path": path, "question": wording(s),
                        "answers": s.answers if len(s.answers) > 1 else s.answers[0], "type": kind})
    spare = LISTS - sum(isinstance(r["answers"], list) for r in records)
    for r in [r for r in records if r["dataset_name"] == "textVQA" and isinstance(r["answers"], str)][:spare]:
        r["answers"] = [r["answers"]]
    return records


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(c in cell for c in '"\t\n\r') else cell


def write_tsv(records: list[dict], out: Path) -> None:
    """index, image (base64, or the index of the row that has the picture), question, answer (a Python list), category."""
    first: dict[str, int] = {}
    lines = ["index\timage\tquestion\tanswer\tcategory"]
    for i, r in enumerate(records):
        path = r["image_path"]
        if path in first:
            image = str(first[path])
        else:
            first[path] = i
            image = base64.b64encode((out / "OCRBench_Images" / path).read_bytes()).decode()
        answers = [r["answers"]] if isinstance(r["answers"], str) else r["answers"]
        lines.append("\t".join((str(i), image, quoted(r["question"]), quoted(repr(answers)), r["type"])))
    (out / "OCRBench.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_parquet(records: list[dict], out: Path) -> None:
    """Columns of the Hugging Face copy: pictures re-encoded as JPEG of quality 75, path empty."""
    def jpeg(path: str) -> bytes:
        store = io.BytesIO()
        Image.open(out / "OCRBench_Images" / path).convert("RGB").save(store, "JPEG")
        return store.getvalue()
    rows = [{"dataset": r["dataset_name"], "question": r["question"], "question_type": r["type"],
             "answer": [r["answers"]] if isinstance(r["answers"], str) else r["answers"], "image": jpeg(r["image_path"])}
            for r in records]
    text = {"dtype": "string", "_type": "Value"}
    features = {"dataset": text, "question": text, "question_type": text, "answer": [text], "image": {"_type": "Image"}}
    (out / "data").mkdir(exist_ok=True)
    (out / "data" / "test-00000-of-00001.parquet").write_bytes(
        parquet.file(rows, {"huggingface": json.dumps({"info": {"features": features}})}))


def extra_records(slot: str, seed: int, count: int, out: Path) -> list[dict]:
    """Records of the same style. A clip's image_path is a folder of frames and it has a further key fps; a record about a place
    has a further key box, in thousandths."""
    name, kind = {"shapes": ("SynShapes", "Shapes"), "clips": ("SynClips", "Clips")}[slot]
    records = []
    for i in range(count):
        s = samples.make_sample(seed * 1_000_000 + i, slot, "test", None)
        path = f"syn/{name}/{FIRST_ID + i}"
        extra: dict = {}
        if slot == "clips":
            extra["fps"] = s.fps
            for k, frame in enumerate(s.frames):
                write_picture(frame, out / "images" / path / f"{k:02}")
        else:
            path += "." + write_picture(s.frames[0], out / "images" / path)
            if "box" in s.meta:
                extra["box"] = s.meta["box"]
        records.append({"dataset_name": name, "id": FIRST_ID + i, "image_path": path, "question": s.question,
                        "answers": s.answers[0], "type": f"{kind}: {s.meta['kind']}", **extra})
    return records


def notice(seed: int, count: int) -> dict:
    return {"synthetic": True, "seed": seed, "samples": count, "generator": "tools/demo_model/syn_ocrbench.py",
            "note": "Synthetic pictures in the file formats of OCRBench. A score on them is not an OCRBench score.",
            "fonts": [f.file for f in fonts.all_fonts()],
            "fonts only here": [f.file for f in fonts.all_fonts() if f.split == "test"]}


def copy_subset(out: Path, to: Path, step: int, seed: int) -> None:
    """Every step-th record of each list with its pictures, and no picture twice."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    kept = 0
    for name, folder in (("OCRBench", "OCRBench_Images"), ("shapes", "images"), ("clips", "images")):
        records = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))[::step if name == "OCRBench" else 2 * step]
        kept += len(records)
        write_json(to / f"{name}.json", records)
        for path in {r["image_path"] for r in records}:
            (to / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (out / folder / path).is_dir() else shutil.copyfile)(out / folder / path, to / folder / path)
    write_json(to / "synthetic.json", notice(seed, kept))


def main() -> None:
    parser = argparse.ArgumentParser(description="write SynOCRBench")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--subset", type=Path, help="also copy every tenth sample there")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = all_samples(args.seed)
    records = as_records(rows, args.out)
    write_json(args.out / "OCRBench.json", records)
    write_tsv(records, args.out)
    write_parquet(records, args.out)
    with open(args.out / "meta.jsonl", "w", encoding="utf-8") as meta:
        for i, (_, _, s) in enumerate(rows):
            boxes = [[c, *map(round, corners)] for c, *corners in s.boxes]
            row = {"id": FIRST_ID + i, "slot": s.slot, "font": s.meta["font"], "unseen_font": s.meta["unseen_font"],
                   "height": s.frames.shape[1], "width": s.frames.shape[2], "boxes": boxes}
            meta.write(json.dumps(row, ensure_ascii=False) + "\n")
    for slot in ("shapes", "clips"):
        write_json(args.out / f"{slot}.json", extra_records(slot, args.seed, 200, args.out))
    write_json(args.out / "synthetic.json", notice(args.seed, len(records) + 400))
    if args.subset:
        copy_subset(args.out, args.subset, 10, args.seed)
    print(f"{len(records)} + 400 samples in {args.out}")


if __name__ == "__main__":
    main()

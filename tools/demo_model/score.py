"""The official OCRBench rule, per group and in total, with Wilson 95 % intervals.

    python3 -m demo_model.score DATA.json PREDICTIONS [--meta meta.jsonl]     print the report; with --meta, also by font
    python3 -m demo_model.score --self-check DATA.json    oracle, echo and empty predictions

DATA.json is a list of records with id, dataset_name, type, question, answers. PREDICTIONS is a JSON list in the same order with
"predict" in each object, as the official scripts write it, or JSON lines {"id": id of the record, "text": the answer}.

A sample is a hit when a normalised answer is a substring of the normalised prediction. Everything but formulas: lower case,
stripped, line feeds to blanks. Formulas (HME100k): case kept, stripped, line feeds to blanks, then all blanks removed.
Source: example.py and the scoring scripts of Yuliang-Liu/MultimodalOCR, OCRBench v1. Two more kinds of record exist here only:
a "box" is hit by the last four numbers of the prediction at an intersection over union of at least 0.5.
"""
import argparse
import json
import math
import re
import sys
from collections import defaultdict

GROUPS = {
    "Regular Text Recognition": "Text Recognition", "Irregular Text Recognition": "Text Recognition",
    "Artistic Text Recognition": "Text Recognition", "Handwriting Recognition": "Text Recognition",
    "Digit String Recognition": "Text Recognition", "Non-Semantic Text Recognition": "Text Recognition"}

TABLES = ("groups", "types", "data sets", "fonts")


def general(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def formula(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


def answers_of(record: dict) -> list[str]:
    answers = record["answers"]
    return [answers] if isinstance(answers, str) else answers


def overlap(a, b) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    area = lambda c: (c[2] - c[0]) * (c[3] - c[1])
    return wide * high / (area(a) + area(b) - wide * high)


def box_of(prediction: str) -> list[float] | None:
    """The last four numbers."""
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", prediction)][-4:]
    return numbers if len(numbers) == 4 else None


def is_hit(record: dict, prediction: str | None) -> bool:
    if not isinstance(prediction, str):
        return False
    if "box" in record:
        box = box_of(prediction)
        return box is not None and overlap(box, record["box"]) >= 0.5
    normal = formula if record["dataset_name"] == "HME100k" else general
    wanted = [normal(a) for a in answers_of(record)]
    if not all(wanted):
        raise ValueError(f"empty answer in record {record.get('id')}: every prediction would count as a hit")
    said = normal(prediction)
    return any(a in said for a in wanted)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion."""
    if count == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / count
    middle = p + z * z / (2 * count)
    spread = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return (middle - spread) / (1 + z * z / count), (middle + spread) / (1 + z * z / count)


def score(records: list[dict], predictions: list[str | None], unseen: dict[int, bool] | None = None) -> dict:
    """{"total": [hits, count], "groups": …, "types": …, "data sets": …, "fonts": …}; a missing prediction (None) is no hit.

    unseen: by id of the record, whether training never had its font; fills the table "fonts"."""
    if len(records) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(records)} records")
    tables: dict[str, dict] = {name: defaultdict(lambda: [0, 0]) for name in TABLES}
    total = [0, 0]
    for record, prediction in zip(records, predictions):
        hit = is_hit(record, prediction)
        kind = record["type"]
        cells = (tables["groups"][GROUPS.get(kind, kind)], tables["types"][kind], tables["data sets"][record["dataset_name"]])
        if unseen is not None:
            seen = "font not in training" if unseen[record["id"]] else "font of training"
            cells += (tables["fonts"][f"{GROUPS.get(kind, kind)}, {seen}"],)
        for cell in (total, *cells):
            cell[0] += hit
            cell[1] += 1
    return {"total": total, **{name: dict(table) for name, table in tables.items()}}


def load_predictions(text: str, records: list[dict]) -> list[str | None]:
    """Predictions in the order of the records; None where there is none."""
    if text.lstrip().startswith("["):
        return [row.get("predict") for row in json.loads(text)]
    said: dict[int, str] = {}
    known = {r["id"] for r in records}
    for line in text.splitlines():
        if line.strip():
            row = json.loads(line)
            if row["id"] not in known or row["id"] in said:
                raise ValueError(f"prediction for id {row['id']}: no such record, or the second one for it")
            said[row["id"]] = row["text"]
    return [said.get(r["id"]) for r in records]


def report(result: dict) -> str:
    lines = []
    for name in (t for t in TABLES if result[t]):
        lines.append(f"# {name}")
        for key, (hits, count) in result[name].items():
            low, high = wilson(hits, count)
            lines.append(f"{key:70} {hits:4}/{count:<4} {100 * hits / count:5.1f} %  ({100 * low:.1f}-{100 * high:.1f})")
    hits, count = result["total"]
    low, high = wilson(hits, count)
    lines.append(f"Final score {hits}/{count}  {100 * hits / count:.1f} % ({100 * low:.1f}-{100 * high:.1f})")
    return "\n".join(lines)


def self_check(records: list[dict]) -> dict[str, int]:
    """Hits of predictions that any correct scorer must rate so: oracle = all, echo of the question about none, empty none."""
    run = lambda predict: score(records, [predict(r) for r in records])["total"][0]
    return {"oracle": run(lambda r: answers_of(r)[0]), "echo": run(lambda r: r["question"]), "empty": run(lambda r: ""),
            "missing": run(lambda r: None)}


def main() -> int:
    parser = argparse.ArgumentParser(description="score predictions by the official OCRBench rule")
    parser.add_argument("data")
    parser.add_argument("predictions", nargs="?")
    parser.add_argument("--meta", help="meta.jsonl of the generator")
    parser.add_argument("--self-check", action="store_true")
    args = parser.parse_args()
    records = json.load(open(args.data, encoding="utf-8"))
    if args.self_check:
        found = self_check(records)
        print(found)
        good = found["oracle"] == len(records) and found["echo"] <= len(records) // 100 and found["empty"] == found["missing"] == 0
        return 0 if good else 1
    if args.predictions is None:
        parser.error("name a file of predictions, or use --self-check")
    predictions = load_predictions(open(args.predictions, encoding="utf-8").read(), records)
    unseen = None
    if args.meta:
        rows = [json.loads(line) for line in open(args.meta, encoding="utf-8")]
        unseen = {row["id"]: row["unseen_font"] for row in rows}
    print(report(score(records, predictions, unseen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

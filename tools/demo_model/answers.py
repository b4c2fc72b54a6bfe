"""What the demo model said: fills the tables of docs/demo-answers.md and writes their counts as JSON.

    DEMO_FONTS=DIR python3 -m demo_model.answers QVL CHECKPOINT SYN PAGE COUNTS.json

SYN is the folder that syn_ocrbench.py wrote with its own seed. In PAGE, what stands between `<!-- NAME -->` and `<!-- end -->` is
replaced; the rest is left alone. Which answers are shown follows from their place in the files alone.
"""
import argparse
import concurrent.futures
import json
import re
from collections import defaultdict
from pathlib import Path

from . import compare, score, shape_trials

SUBSET = "tests/synocrbench"
LISTS = {"OCRBench": "OCRBench_Images", "shapes": "images", "clips": "images"}
SHOWN_EVERY = 3                  # of the stored questions of SynOCRBench
WEAK = 0.9                       # kinds with a smaller share of right answers get examples


def asked(args, records: list[dict], media: Path) -> list[tuple[dict, str]]:
    """(record, answer) of each record."""
    one = argparse.Namespace(qvl=args.qvl, checkpoint=args.checkpoint, media=media, dtype="bfloat16")
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        return list(zip(records, (a["text"] for a in pool.map(lambda r: compare.ask(one, r), records))))


def tally(answered) -> list[int]:
    return [sum(score.is_hit(*pair) for pair in answered), len(answered)]


def groups(answered, key) -> dict:
    """Pairs by key(record), in the order of their first one."""
    out = defaultdict(list)
    for pair in answered:
        out[key(pair[0])].append(pair)
    return dict(out)


def code(text: str) -> str:
    return f"`{text.strip()}`".replace("|", "\\|") if text.strip() else "nothing"


def table(head: list[str], rows: list[list]) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows])


def of(counts) -> str:
    return f"{counts[0]} of {counts[1]}"


def two_columns(counts: dict) -> list[list]:
    return [[name, *(of(c) if c[1] else "–" for c in row.values())] for name, row in counts.items()]


def expected(record: dict) -> str:
    return " or ".join(map(code, score.answers_of(record)))


def shown_rows(name: str, answered, repo: Path) -> list[list]:
    rows = []
    for record, said in answered:
        path = f"{SUBSET}/{LISTS[name]}/{record['image_path']}"
        files = sorted((repo / path).iterdir()) if (repo / path).is_dir() else [repo / path]
        pictures = " … ".join(f'<img src="../{f.relative_to(repo)}" height="56">' for f in dict.fromkeys((files[0], files[-1])))
        rows.append([f"[{pictures}](../{path})", record["question"], expected(record), code(said),
                     "right" if score.is_hit(record, said) else "**wrong**"])
    return rows


def shown(answers: dict, repo: Path) -> str:
    rows = []
    for name in LISTS:
        stored = [r["id"] for r in json.loads((repo / SUBSET / f"{name}.json").read_text(encoding="utf-8"))]
        ids = set(stored[::SHOWN_EVERY] if name == "OCRBench" else stored)
        rows += shown_rows(name, [pair for pair in answers[name] if pair[0]["id"] in ids], repo)
    return table(["picture", "question", "expected", "answer", ""], rows)


def examples(kinds: dict) -> str:
    """First, middle and last wrong answer of each weak kind."""
    rows = []
    for kind, answered in kinds.items():
        wrong = [pair for pair in answered if not score.is_hit(*pair)]
        if len(wrong) > (1 - WEAK) * len(answered):
            for i in sorted({0, len(wrong) // 2, len(wrong) - 1}):
                record, said = wrong[i]
                rows.append([kind, record["id"], record["question"], expected(record), code(said)])
    return table(["kind", "id", "question", "expected", "answer"], rows)


def place_of_answer(pair) -> str:
    """Whose place an answer with a box tells: of the shapes in the picture, the one it overlaps most."""
    record, said = pair
    box = score.box_of(said)
    best, whose = max((score.overlap(box, b) if box else 0.0, b == record["box"]) for _, _, b in record["drawn"])
    return "none of them" if best == 0 else "the asked shape" if whose else "another shape"


def by_pairs(answered, media: Path) -> dict[int, list]:
    """Pairs of questions and answers by the number of pairs of frames before which a change could have happened."""
    return groups(answered, lambda r: len(list((media / r["image_path"]).iterdir())) // 2 - 1)


def places_and_others(answered) -> dict[str, list[int]]:
    return {"places": tally([p for p in answered if shape_trials.is_where(p[0])]),
            "others": tally([p for p in answered if not shape_trials.is_where(p[0])])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("qvl")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("syn", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("counts", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    repo = Path(__file__).resolve().parents[2]

    answers = {name: asked(args, json.loads((args.syn / f"{name}.json").read_text(encoding="utf-8")), args.syn / media)
               for name, media in LISTS.items()}
    slots = {row["id"]: row["slot"] for row in map(json.loads, (args.syn / "meta.jsonl").read_text(encoding="utf-8").splitlines())}
    kinds = groups(answers["OCRBench"], lambda r: slots[r["id"]])
    for name in ("clips", "shapes"):
        kinds |= groups(answers[name], lambda r: r["type"])
    trials = {name: asked(args, records, args.syn / "images") for name, records in shape_trials.all_trials(args.syn).items()}
    where = [pair for pair in trials["as in the benchmark"] if shape_trials.is_where(pair[0])]
    by_number = {n: [pair for pair in where if len(pair[0]["drawn"]) == n] for n in range(1, 7)}
    whose = ("the asked shape", "another shape", "none of them")
    among = {n: [sum(place_of_answer(pair) == w for pair in pairs) for w in whose] for n, pairs in by_number.items()}
    split = {name: places_and_others(pairs) for name, pairs in trials.items()}
    moments = {n: tally(pairs) for n, pairs in sorted(by_pairs(kinds["Clips: recolor"], args.syn / "images").items())}

    tables = {
        "shown": shown(answers, repo),
        "kinds": table(["kind", "right"], [[kind, of(tally(pairs))] for kind, pairs in kinds.items()]),
        "examples": examples(kinds),
        "places": table(["shapes in the picture", "right", *(f"on {w}" for w in whose)],
                        [[n, of(tally(pairs)), *among[n]] for n, pairs in by_number.items()]),
        "moments": table(["possible moments", "right", "right by guessing"], [[n, of(c), f"{c[1] / n:.1f}"] for n, c in moments.items()]),
        "trials": table(["trial", "places", "all other kinds"], two_columns(split)),
    }
    text = args.page.read_text(encoding="utf-8")
    for name, body in tables.items():
        text, found = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{body}\n{m[2]}", text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"{args.page}: found {found} places for the table {name}, expected one")
    args.page.write_text(text, encoding="utf-8")
    result = {"what": "answers of qvl run with models/demo to SynOCRBench and to trials with shapes: [right, asked]",
              "command": "python3 -m demo_model.answers build/release/qvl models/demo build/syn docs/demo-answers.md COUNTS.json",
              "total": tally(answers["OCRBench"]), "kinds": {k: tally(pairs) for k, pairs in kinds.items()}, "shape_trials": split,
              "recolor_by_possible_moments": moments,
              "places_by_number_of_shapes": {n: dict(zip(("right", *whose), (tally(by_number[n])[0], *among[n]))) for n in among}}
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items())
    args.counts.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

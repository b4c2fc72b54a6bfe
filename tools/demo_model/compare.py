"""Asks `qvl run` the questions that evaluate.py asked transformers, and compares the greedy token ids.

    python3 -m demo_model.compare QVL CHECKPOINT RECORDS.json MEDIA --reference FILE.jsonl... [--dtype float32] [--out FILE.jsonl]

Prints each record that differs, then how many agree; the exit status is 1 if fewer than --least (a share) do. --out gets lines of
id, ids and text for score.py; without --reference that is all that is done. RECORDS and MEDIA are as for evaluate.py.
"""
import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import sys

MAX_NEW_TOKENS = 128             # as evaluate.py


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("qvl")
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("records", type=pathlib.Path)
    parser.add_argument("media", type=pathlib.Path)
    parser.add_argument("--reference", type=pathlib.Path, nargs="*", default=[])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--least", type=float, default=0.99)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def ask(args, record):
    """{id, ids, text} of qvl's answer; raises if qvl fails."""
    path = args.media / record["image_path"]
    command = [args.qvl, "run", args.checkpoint, path, record["question"], "--json", "--logprobs", "0", "--temperature", "0",
               "--dtype", args.dtype, "--max-tokens", str(MAX_NEW_TOKENS), "--threads", "1"]
    if path.is_dir():
        command += ["--fps", str(record["fps"])]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{record['id']}: qvl ended with {done.returncode}: {done.stderr.strip()}")
    answer = json.loads(done.stdout)
    return {"id": record["id"], "ids": [token["id"] for token in answer["logprobs"]], "text": answer["answer"]}


def main():
    args = arguments()
    ends = json.loads((args.checkpoint / "generation_config.json").read_text())["eos_token_id"]
    reference = {}
    for file in args.reference:
        reference |= {row["id"]: row for row in map(json.loads, file.read_text().splitlines())}
    records = json.loads(args.records.read_text())
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        answers = list(pool.map(lambda record: ask(args, record), records))
    if args.out:
        args.out.write_text("".join(json.dumps(a, ensure_ascii=False) + "\n" for a in answers))
    if not reference:
        return 0
    same = 0
    for answer in answers:
        theirs = reference[answer["id"]]
        said = [[i for i in row["ids"] if i not in ends] for row in (answer, theirs)]
        same += said[0] == said[1]
        if said[0] != said[1]:
            print(f"{answer['id']}: qvl {answer['text']!r}, reference {theirs['text']!r}")
    print(f"{same} of {len(answers)} agree")
    return 0 if same >= args.least * len(answers) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Learns the demo model's vocabulary of 2,048 from its own questions and answers.

    python3 -m demo_model.make_tokenizer --like models/qwen3-vl-tokenizer/tokenizer.json --words FILE --out FILE

Everything but the vocabulary is taken from the tokenizer.json given with --like: normaliser, split expression, decoder and the
26 added tokens in their order, which follow the 2,022 learned tokens. Needs DEMO_FONTS, as the questions come with samples.
"""
import argparse
import json
import pathlib

from demo_model import bpe, samples

VOCAB_SIZE = 2048
SAMPLES_PER_SLOT = 200


def corpus(words):
    for slot in sorted(samples.SLOTS):
        bucket = samples.BUCKETS_OF_SLOT[slot][0]
        for seed in range(SAMPLES_PER_SLOT):
            sample = samples.make_sample(seed, slot, "train", bucket)
            yield sample.question
            yield sample.answer
    for tenths in range(200):
        yield f"<{tenths / 10} seconds>"
    yield from ("user\n", "assistant\n", "system\n") * SAMPLES_PER_SLOT
    for word in words[::8]:
        yield word
        yield f" {word}"


def build(like, texts):
    """A tokenizer.json like `like`, its regular tokens learned from texts."""
    spec = json.loads(pathlib.Path(like).read_text())
    regular = VOCAB_SIZE - len(spec["added_tokens"])
    vocab, merges = bpe.train(texts, bpe.split_expression(spec), regular)
    spec["model"]["vocab"] = vocab
    spec["model"]["merges"] = [" ".join(m) for m in merges]
    for i, token in enumerate(spec["added_tokens"]):
        token["id"] = regular + i
    return spec


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", type=pathlib.Path, required=True)
    parser.add_argument("--words", type=pathlib.Path, required=True, help="one word a line")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    spec = build(args.like, corpus(args.words.read_text().split()))
    args.out.write_text(json.dumps(spec, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

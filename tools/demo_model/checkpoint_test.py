"""What models/demo reads, through `qvl run`: QVL=build/dev/qvl python3 -m unittest demo_model.checkpoint_test, in tools/."""
import json
import os
import pathlib
import shutil
import struct
import tempfile
import types
import unittest

from . import compare, score

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH = ROOT / "tests/synocrbench"
QVL = os.environ.get("QVL")
MERGED = 4                       # patches a merger joins


def hits(checkpoint, name="OCRBench", media="OCRBench_Images"):
    """(right answers, questions) of a list of the stored subset."""
    args = types.SimpleNamespace(qvl=QVL, checkpoint=checkpoint, media=BENCH / media, dtype="bfloat16")
    records = json.loads((BENCH / f"{name}.json").read_text())
    return score.score(records, [compare.ask(args, record)["text"] for record in records])["total"]


def rewritten(folder, change):
    """A copy of the checkpoint in which change(name, shape, bytes) has replaced the bytes of each tensor."""
    out = pathlib.Path(folder)
    shutil.copytree(ROOT / "models/demo", out, dirs_exist_ok=True)
    raw = (out / "model.safetensors").read_bytes()
    start = 8 + struct.unpack_from("<Q", raw)[0]
    data = bytearray(raw)
    for name, tensor in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            first, last = (start + offset for offset in tensor["data_offsets"])
            data[first:last] = change(name, tensor["shape"], raw[first:last])
    (out / "model.safetensors").write_bytes(data)
    return out


def without_deepstack(name, _, data):
    return bytes(len(data)) if "deepstack_merger_list" in name and "linear_fc2" in name else data


def merged_column_first(name, shape, data):
    """As if a merger took its four patches column by column: the second and the third change places."""
    if "merger" not in name or not (name.endswith("linear_fc1.weight") or "deepstack" in name and ".norm." in name):
        return data
    row = 2 * shape[-1]
    part = row // MERGED
    rows = (data[i:i + row] for i in range(0, len(data), row))
    return b"".join(r[:part] + r[2 * part:3 * part] + r[part:2 * part] + r[3 * part:] for r in rows)


@unittest.skipUnless(QVL, "QVL is not set")
class DemoModel(unittest.TestCase):
    def test_it_reads_most_of_the_stored_subset(self):
        right, asked = hits(ROOT / "models/demo")
        self.assertEqual(asked, 100)
        self.assertGreaterEqual(right, 87)

    def test_it_watches_clips(self):
        right, asked = hits(ROOT / "models/demo", "clips", "images")
        self.assertEqual(asked, 10)
        self.assertGreaterEqual(right, 8)

    def test_its_answers_need_deepstack(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertLess(hits(rewritten(folder, without_deepstack))[0], 65)

    def test_its_answers_need_the_order_of_merged_patches(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertLess(hits(rewritten(folder, merged_column_first))[0], 70)


if __name__ == "__main__":
    unittest.main()

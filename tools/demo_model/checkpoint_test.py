"""What models/demo reads, through `qvl run`: QVL=build/dev/qvl python3 -m unittest demo_model.checkpoint_test, in tools/."""
import json
import os
import pathlib
import types
import unittest

from . import compare, score

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH = ROOT / "tests/synocrbench"
QVL = os.environ.get("QVL")


def hits(checkpoint, name="OCRBench", media="OCRBench_Images"):
    """(right answers, questions) of a list of the stored subset."""
    args = types.SimpleNamespace(qvl=QVL, checkpoint=checkpoint, media=BENCH / media, dtype="bfloat16")
    records = json.loads((BENCH / f"{name}.json").read_text())
    return score.score(records, [compare.ask(args, record)["text"] for record in records])["total"]


@unittest.skipUnless(QVL, "QVL is not set")
class DemoModel(unittest.TestCase):
    def test_it_reads_most_of_the_stored_subset(self):
        right, asked = hits(ROOT / "models/demo")
        self.assertEqual(asked, 100)
        self.assertGreaterEqual(right, 88)

    def test_it_sees_shapes(self):
        right, asked = hits(ROOT / "models/demo", "shapes", "images")
        self.assertEqual(asked, 10)
        self.assertGreaterEqual(right, 9)

    def test_it_watches_clips(self):
        right, asked = hits(ROOT / "models/demo", "clips", "images")
        self.assertEqual(asked, 10)
        self.assertGreaterEqual(right, 8)


if __name__ == "__main__":
    unittest.main()

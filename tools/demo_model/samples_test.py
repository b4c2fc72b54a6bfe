"""Needs numpy, Pillow and the fonts: DEMO_FONTS=DIR python3 -m unittest discover -s tools -t tools -p '*_test.py'"""
import ast
import csv
import tempfile
import unittest
from pathlib import Path

import numpy as np

from . import cells, clips, fonts, formulas, lexicon, paint, samples, score, shapes, syn_ocrbench


class EverySlot(unittest.TestCase):
    def test_a_sample_is_a_function_of_its_arguments(self):
        for slot, buckets in samples.BUCKETS_OF_SLOT.items():
            one, same, other = (samples.make_sample(seed, slot, "train", buckets[0]) for seed in (3, 3, 4))
            self.assertTrue(np.array_equal(one.frames, same.frames), slot)
            self.assertEqual((one.question, one.answers, one.boxes, one.meta), (same.question, same.answers, same.boxes, same.meta))
            self.assertFalse(one.frames.shape == other.frames.shape and np.array_equal(one.frames, other.frames), slot)

    def test_a_bucket_is_filled_exactly_and_needs_no_resize(self):
        for slot, buckets in samples.BUCKETS_OF_SLOT.items():
            for h, w in buckets:
                s = samples.make_sample(11, slot, "train", (h, w))
                t = len(s.frames)
                self.assertIn(t, (4, 6, 8) if slot == "clips" else (1,))
                self.assertEqual((s.frames.shape, s.frames.dtype), ((t, h, w, 3), np.uint8), slot)
                self.assertEqual((h % 32, w % 32), (0, 0))
                self.assertGreaterEqual(t * h * w, 65536)
        self.assertEqual(set(samples.SLOTS), set(samples.BUCKETS_OF_SLOT))

    def test_the_answer_is_the_first_accepted_one_and_boxes_spell_it_in_word_crops(self):
        for slot in ("regular", "irregular", "artistic", "handwriting", "digits", "nonsemantic"):
            for seed in range(40):
                s = samples.make_sample(seed, slot, "train", (160, 480))
                self.assertEqual("".join(b[0] for b in s.boxes), s.answer)
                centres = [((x0 + x1) / 2, (y0 + y1) / 2) for _, x0, y0, x1, y1 in s.boxes]
                inside = [0 <= x < 480 and 0 <= y < 160 for x, y in centres]
                self.assertTrue(all(inside), (slot, seed, centres))

    def test_ink_lies_in_the_boxes(self):
        """On a plain page the pixels that differ from the paper are those in the character boxes."""
        for seed in range(20):
            rng = samples.generator("ink", seed)
            page = samples.lines.Page(rng, "train", 256, 384, (255, 255, 255), busy=0.0)
            page.text(20, 60, "Sample 123", 40, (0, 0, 0))
            dark = np.asarray(page.im)[:, :, 0] < 128
            covered = np.zeros_like(dark)
            for _, x0, y0, x1, y1 in page.boxes:
                covered[int(y0) - 2:int(y1) + 3, int(x0) - 3:int(x1) + 4] = True
            self.assertGreater(dark.sum(), 200)
            self.assertLess((dark & ~covered).sum(), 0.02 * dark.sum(), page.font)

    def test_training_never_sees_a_test_word_or_a_test_font(self):
        for slot in ("regular", "irregular", "artistic", "handwriting", "digits", "nonsemantic", "formula"):
            for seed in range(60):
                train = samples.make_sample(seed, slot, "train", samples.BUCKETS_OF_SLOT[slot][0])
                test = samples.make_sample(seed, slot, "test", None)
                self.assertEqual((lexicon.hash_split(train.answer), lexicon.hash_split(test.answer)), ("train", "test"), slot)
                self.assertFalse(train.meta["unseen_font"])
        unseen = [samples.make_sample(seed, "regular", "test", None).meta["unseen_font"] for seed in range(200)]
        self.assertTrue(30 < sum(unseen) < 90, sum(unseen))

    def test_an_unknown_split_is_refused(self):
        with self.assertRaises(ValueError):
            samples.make_sample(1, "regular", "valid", None)


class Clips(unittest.TestCase):
    def test_the_named_moment_is_the_pair_of_frames_where_the_change_shows(self):
        found = 0
        for seed in range(200):
            s = samples.make_sample(seed, "clips", "train", (128, 128))
            if s.meta["kind"] not in ("appear", "disappear"):
                continue
            change = [np.abs(f.astype(int) - s.frames[0].astype(int)).sum(axis=2) > 90 for f in s.frames]
            first = next(i for i, c in enumerate(change) if c.sum() > 100)
            self.assertEqual(first % 2, 0)
            self.assertEqual(s.answer, clips.time_stamp(first // 2, s.fps))
            found += 1
        self.assertGreater(found, 20)

    def test_a_time_stamp_is_the_mean_of_its_pair(self):
        self.assertEqual([clips.time_stamp(i, 2.0) for i in range(4)], ["0.2 seconds", "1.2 seconds", "2.2 seconds", "3.2 seconds"])
        self.assertEqual([clips.time_stamp(i, 1.25) for i in range(3)], ["0.4 seconds", "2.0 seconds", "3.6 seconds"])

    def test_every_frame_is_kept_at_two_samples_per_second(self):
        for seed in range(60):
            s = samples.make_sample(seed, "clips", "test", None)
            self.assertGreaterEqual(int(len(s.frames) / s.fps * 2), len(s.frames))
            self.assertEqual(len(s.frames) % 2, 0)

    def test_the_shape_moves_where_the_answer_says(self):
        found = 0
        for seed in range(240):
            s = samples.make_sample(seed, "clips", "train", (192, 192))
            if s.meta["kind"] != "direction":
                continue
            # What is dark or bright in one frame only: the shape there, and where it is in the other frame.
            first, last = (f.astype(int) for f in (s.frames[0], s.frames[-1]))
            changed = np.abs(first - last).sum(axis=2) > 90
            paper = np.median(first.reshape(-1, 3), axis=0)
            middle = []
            for f in (first, last):
                ys, xs = np.nonzero(changed & (np.abs(f - paper).sum(axis=2) > 120))
                middle.append((xs.mean(), ys.mean()))
            dx, dy = np.subtract(middle[1], middle[0])
            seen = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
            self.assertEqual(seen, s.answer, seed)
            found += 1
        self.assertGreater(found, 20)


class Shapes(unittest.TestCase):
    def test_a_box_holds_the_shape_of_that_colour(self):
        found = 0
        for seed in range(200):
            s = samples.make_sample(seed, "shapes", "train", (256, 256))
            if s.meta["kind"] != "where":
                continue
            x1, y1, x2, y2 = (v * 256 // 1000 for v in s.meta["box"])
            color = next(c for c in shapes.COLORS if f" {c} " in s.question)
            x, y = (x1 + x2) // 2, (y1 + y2) // 2
            middle = s.frames[0, y - 1:y + 2, x - 1:x + 2].reshape(-1, 3).mean(axis=0)
            self.assertLess(np.abs(middle - paint.NAMED[color]).max(), 40, (seed, s.question))
            found += 1
        self.assertGreater(found, 20)

    def test_every_shape_fills_its_bounding_box(self):
        for shape in shapes.SHAPES[1:]:
            xs, ys = zip(*shapes.polygon(shape, 50, 60, 10))
            self.assertEqual([round(v, 6) for v in (min(xs), max(xs), min(ys), max(ys))], [40, 60, 50, 70], shape)

    def test_a_picture_is_asked_several_different_questions_with_the_answers_of_its_shapes(self):
        for seed in range(60):
            asked = samples.picture_samples(seed, "shapes", "train", (256, 384))
            self.assertGreater(len(asked), 1)
            self.assertEqual(len({s.question for s in asked}), len(asked))
            for s in asked:
                drawn = s.meta["drawn"]
                self.assertTrue(np.array_equal(s.frames, asked[0].frames) and drawn == asked[0].meta["drawn"])
                if s.question == "How many shapes are in the picture?":
                    self.assertEqual(s.answer, str(len(drawn)))
                if s.meta["kind"] == "where":
                    self.assertEqual([f"{box}" for shape, color, box in drawn if f"{color} {shape}" in s.question], [s.answer])


class Cells(unittest.TestCase):
    BLANK = [0, 0, 0, 0, 0, 0]

    def test_a_shape_is_asked_for_where_its_box_covers_a_tokens_centre(self):
        # In 3 x 4 tokens: 0.4 to 1.8 across and 0.9 to 2.1 down hold the centres of columns 0 and 1 and of row 1.
        found = cells.shape_labels([("square", "red", [100, 300, 450, 700])], 3, 4).reshape(3, 4, 6).tolist()
        square = [2, 1, 11, 31, 46, 71]
        self.assertEqual(found, [[self.BLANK] * 4, [square, square, self.BLANK, self.BLANK], [self.BLANK] * 4])

    def test_a_small_shape_is_asked_for_at_the_token_of_its_centre(self):
        large, small = ("circle", "brown", [0, 0, 1000, 550]), ("star", "blue", [460, 560, 540, 640])
        found = cells.shape_labels([small, large], 2, 2).reshape(2, 2, 6).tolist()
        brown, blue = [1, 10, 1, 1, 101, 56], [4, 3, 47, 57, 55, 65]
        self.assertEqual(found, [[brown, brown], [self.BLANK, blue]])

    def test_only_characters_are_asked_of_text_and_only_shapes_of_shapes_and_clips(self):
        unasked = lambda sample: (cells.labels(sample) == cells.UNASKED).all(axis=0).tolist()
        make = lambda slot, bucket: samples.make_sample(5, slot, "train", bucket)
        self.assertEqual(unasked(make("regular", (160, 480))), [False] * 4 + [True] * 6)
        self.assertEqual(unasked(make("shapes", (256, 384))), [True] * 4 + [False] * 6)
        self.assertEqual(unasked(make("clips", (128, 160))), [True] * 4 + [False] * 6)

    def test_each_pair_of_frames_of_a_clip_is_asked_for_its_own_colour(self):
        found = 0
        for seed in range(60):
            s = samples.make_sample(seed, "clips", "train", (128, 128))
            if s.meta["kind"] != "recolor":
                continue
            pair = [clips.time_stamp(i, s.fps) for i in range(len(s.frames) // 2)].index(s.answer)
            of_pair = [set(t[:, 5]) - {cells.BLANK} for t in cells.labels(s).reshape(-1, 16, cells.LABELS)]
            new = next(1 + i for i, c in enumerate(shapes.COLORS) if s.question.endswith(f" {c}?"))
            self.assertEqual([colors == {new} for colors in of_pair], [i >= pair for i in range(len(of_pair))])
            found += 1
        self.assertGreater(found, 10)


class Formulas(unittest.TestCase):
    def test_one_tree_gives_both_spellings(self):
        half = formulas.two("frac", formulas.g("-2"), formulas.g("3"))
        tree = formulas.row(formulas.two("sub", formulas.g("x"), formulas.g("1")), formulas.g("="), half)
        self.assertEqual(formulas.compact(tree.tokens()), r"x_{1}=\frac{-2}{3}")
        self.assertEqual(formulas.spaced(tree.tokens()), r"x _ { 1 } = \frac { - 2 } { 3 }")
        self.assertEqual(formulas.compact(formulas.without_short_braces(tree.tokens())), r"x_1=\frac{-2}{3}")

    def test_a_blank_stands_only_between_a_command_and_a_letter(self):
        self.assertEqual(formulas.compact([r"\angle", "A", "B"]), r"\angle AB")
        self.assertEqual(formulas.compact(["2", r"\times", "3"]), r"2\times3")

    def test_the_compact_form_hits_the_spaced_label(self):
        for s in syn_ocrbench.formula_records(5, 100)[:40]:
            record = {"dataset_name": "HME100k", "answers": s.answers}
            self.assertTrue(s.answers[0].endswith("\n"))
            self.assertTrue(score.is_hit(record, s.answer), s.answers)


class Fonts(unittest.TestCase):
    def test_a_character_that_a_font_lacks_is_known(self):
        self.assertNotIn("$", fonts.characters("OSP-DIN.ttf"))
        self.assertTrue(fonts.characters("LiberationSans-Regular.ttf").issuperset("Aéπ 09"))
        self.assertFalse(fonts.can_draw(next(f for f in fonts.all_fonts() if f.file == "TomsonTalks.ttf"), "small"))

    def test_the_hash_split_stays_what_it_was(self):
        tested = [w for w in ("apple", "bread", "cloud", "dance", "eagle", "flame", "grape", "house", "image", "juice", "knife",
                              "lemon", "money", "night", "ocean", "piano", "queen", "river", "stone", "table")
                  if lexicon.hash_split(w) == "test"]
        self.assertEqual(tested, ["money"])


class Benchmark(unittest.TestCase):
    def test_the_layout_is_that_of_the_real_set(self):
        self.assertEqual(sum(sum(sets.values()) for _, _, sets in syn_ocrbench.LAYOUT), 1000)
        self.assertEqual({n: sum(p) for n, p in syn_ocrbench.SHARING.items()},
                         {"docVQA": 50, "infographicVQA": 50, "SROIE": 67, "FUNSD": 66})
        self.assertEqual(sum(sum(p) - len(p) for p in syn_ocrbench.SHARING.values()), 70)
        self.assertEqual(sum(n > 1 for p in syn_ocrbench.SHARING.values() for n in p), 39)

    def test_the_tsv_reads_back(self):
        records = [{"image_path": "a.png", "question": 'say "x"', "answers": ["y _ { 2 }\n", "\\frac"], "type": "T"},
                   {"image_path": "a.png", "question": "plain", "answers": "it's", "type": "T"}]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            (out / "OCRBench_Images").mkdir()
            (out / "OCRBench_Images" / "a.png").write_bytes(b"\x89PNG" * 30)
            syn_ocrbench.write_tsv(records, out)
            with open(out / "OCRBench.tsv", newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
        self.assertEqual([r["question"] for r in rows], ['say "x"', "plain"])
        self.assertEqual([ast.literal_eval(r["answer"]) for r in rows], [["y _ { 2 }\n", "\\frac"], ["it's"]])
        self.assertEqual(rows[1]["image"], "0")
        self.assertGreater(len(rows[0]["image"]), 64)


if __name__ == "__main__":
    unittest.main()

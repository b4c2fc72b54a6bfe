"""Needs the standard library only."""
import json
import unittest
from pathlib import Path

from . import score

SUBSET = Path(__file__).resolve().parents[2] / "tests" / "synocrbench"


def hit(dataset_name, answers, prediction):
    return score.is_hit({"dataset_name": dataset_name, "answers": answers}, prediction)


class OfficialRule(unittest.TestCase):
    def test_the_general_rule_ignores_case_and_takes_substrings(self):
        self.assertTrue(hit("IIIT5K", "CENTRE", 'The text in the image reads "Centre".'))
        self.assertFalse(hit("IIIT5K", "CENTRE", "CENTER"))
        self.assertTrue(hit("ORAND", "1056", "210567"))
        self.assertFalse(hit("ORAND", "5743", "The number is 5 7 4 3"))
        self.assertTrue(hit("ESTVQA", "Droits réservés Olivier CABARET", "DROITS RÉSERVÉS OLIVIER CABARET"))

    def test_only_a_line_feed_becomes_a_blank(self):
        self.assertTrue(hit("docVQA", "$506 million", "$506\nmillion"))
        self.assertFalse(hit("docVQA", "$506 million", "$506\n\nmillion"))
        self.assertFalse(hit("docVQA", "$506 million", "$506\r\nmillion"))

    def test_punctuation_and_units_must_match_literally(self):
        self.assertFalse(hit("ctw", ["ANTONIOS", "ANTONIO'S"], "ANTONIO\u2019S"))
        self.assertFalse(hit("FUNSD", "(410) 955-9253", "\uff08410\uff09 955\uff0d9253"))
        self.assertFalse(hit("SROIE", "RM 27.20", "27.20"))
        self.assertTrue(hit("SROIE", "27.20", "RM27.20"))
        self.assertTrue(hit("POIE", ["6.7g", "6.7 g"], "16.7 g"))
        self.assertFalse(hit("POIE", ["1100", "262"], "1,100 kJ"))

    def test_formulas_keep_case_and_lose_every_blank(self):
        label = ["y _ { 2 } = - 1\n", "y_2 = - 1\n"]
        self.assertTrue(hit("HME100k", label, "$$y_2 = -1$$"))
        self.assertTrue(hit("HME100k", label, "\\[ y_{2}=-1 \\]"))
        self.assertFalse(hit("HME100k", label, "Y_2 = -1"))
        self.assertTrue(hit("HME100k", "O D \\bot A B\n", "OD\\bot AB"))
        self.assertFalse(hit("HME100k", "O D \\bot A B\n", "OD \\perp AB"))
        self.assertFalse(hit("HME100k", "x _ { 1 } = \\frac { - 2 } { 2 }\n", "x_1=\\dfrac{-2}{2}"))
        self.assertFalse(hit("HME100k", "a + b = - c\n", "a\\,+b=-c"))

    def test_an_empty_or_missing_prediction_is_no_hit_and_an_empty_answer_is_an_error(self):
        self.assertFalse(hit("svt", "under", ""))
        self.assertFalse(hit("svt", "under", None))
        with self.assertRaises(ValueError):
            hit("svt", " ", "anything")

    def test_a_box_is_hit_at_half_overlap(self):
        record = {"dataset_name": "SynShapes", "answers": "[100, 100, 200, 200]", "box": [100, 100, 200, 200]}
        self.assertTrue(score.is_hit(record, "[100, 100, 200, 200]"))
        self.assertTrue(score.is_hit(record, "at [100, 100, 150, 200]"))          # 0.5
        self.assertFalse(score.is_hit(record, "[100, 100, 149, 200]"))            # 0.49
        self.assertFalse(score.is_hit(record, "[200, 100, 300, 200]"))
        self.assertFalse(score.is_hit(record, "100, 100, 200"))


class Report(unittest.TestCase):
    def test_the_wilson_interval_of_774_of_1000_is_74_7_to_79_9(self):
        low, high = score.wilson(774, 1000)
        self.assertEqual((round(100 * low, 1), round(100 * high, 1)), (74.7, 79.9))

    def test_groups_types_and_data_sets_are_counted(self):
        records = [{"id": 1, "dataset_name": "svt", "type": "Regular Text Recognition", "answers": "a"},
                   {"id": 2, "dataset_name": "IAM", "type": "Handwriting Recognition", "answers": ["b", "c"]},
                   {"id": 3, "dataset_name": "SROIE", "type": "Key Information Extraction", "answers": "d"}]
        result = score.score(records, ["A", "x", None])
        self.assertEqual(result["total"], [1, 3])
        self.assertEqual(result["groups"], {"Text Recognition": [1, 2], "Key Information Extraction": [0, 1]})
        self.assertEqual(result["data sets"]["IAM"], [0, 1])
        self.assertEqual(result["fonts"], {})
        with self.assertRaises(ValueError):
            score.score(records, ["A"])

    def test_hits_are_split_by_font_where_that_is_known(self):
        records = [{"id": i, "dataset_name": "svt", "type": "Regular Text Recognition", "answers": "a"} for i in range(3)]
        result = score.score(records, ["a", "b", "a"], {0: False, 1: True, 2: True})
        self.assertEqual(result["fonts"], {"Text Recognition, font of training": [1, 1],
                                           "Text Recognition, font not in training": [1, 2]})

    def test_predictions_are_matched_by_id_and_may_be_missing(self):
        records = [{"id": 5}, {"id": 6}]
        self.assertEqual(score.load_predictions('{"id": 6, "text": "b"}\n', records), [None, "b"])
        self.assertEqual(score.load_predictions('[{"predict": "a"}, {}]', records), ["a", None])
        with self.assertRaises(ValueError):
            score.load_predictions('{"id": 7, "text": "b"}\n', records)


class Subset(unittest.TestCase):
    def test_the_subset_is_stratified_and_scores_its_oracle_in_full(self):
        records = json.loads((SUBSET / "OCRBench.json").read_text(encoding="utf-8"))
        result = score.score(records, [score.answers_of(r)[0] for r in records])
        self.assertEqual(result["total"], [100, 100])
        self.assertEqual({k: v[1] for k, v in result["groups"].items()}, {
            "Text Recognition": 30, "Scene Text-centric VQA": 20, "Doc-oriented VQA": 20, "Key Information Extraction": 20,
            "Handwritten Mathematical Expression Recognition": 10})
        self.assertLessEqual(score.self_check(records)["echo"], 1)
        for r in records:
            self.assertEqual(list(r), ["dataset_name", "id", "image_path", "question", "answers", "type"])
            self.assertTrue((SUBSET / "OCRBench_Images" / r["image_path"]).is_file(), r["image_path"])

    def test_shapes_and_clips_score_their_oracle_in_full_and_have_their_files(self):
        for name in ("shapes", "clips"):
            records = json.loads((SUBSET / f"{name}.json").read_text(encoding="utf-8"))
            self.assertEqual(score.self_check(records), {"oracle": 10, "echo": 0, "empty": 0, "missing": 0})
            for r in records:
                path = SUBSET / "images" / r["image_path"]
                self.assertTrue(path.is_file() or len(list(path.glob("*.*"))) >= 4, path)


if __name__ == "__main__":
    unittest.main()

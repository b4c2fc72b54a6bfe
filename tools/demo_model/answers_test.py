"""Needs numpy and Pillow, no fonts."""
import unittest

from . import answers, samples, shape_trials

LEFT, RIGHT = ("star", "red", [0, 0, 200, 200]), ("cross", "blue", [600, 500, 800, 700])


def asked_for(box, *drawn):
    return {"dataset_name": "SynShapes", "answers": str(box), "box": box, "drawn": list(drawn)}


class Boxes(unittest.TestCase):
    def test_a_box_belongs_to_the_shape_that_it_overlaps_most(self):
        left = asked_for(LEFT[2], LEFT, RIGHT)
        self.assertEqual(answers.place_of_answer((left, "[0, 0, 100, 100]")), "the asked shape")
        self.assertEqual(answers.place_of_answer((left, "[550, 500, 700, 700]")), "another shape")
        self.assertEqual(answers.place_of_answer((left, "[300, 300, 400, 400]")), "none of them")
        self.assertEqual(answers.place_of_answer((left, "left")), "none of them")


class Trials(unittest.TestCase):
    def test_the_other_wording_asks_for_the_same_shape(self):
        asked = [{"question": "Where is the red star?", "box": []}, {"question": "How many?"},
                 {"question": "Give the box of the pink cross.", "box": []}]
        self.assertEqual([r["question"] for r in shape_trials.reworded(asked)],
                         ["Give the box of the red star.", "Where is the pink cross?"])

    def test_what_was_drawn_holds_the_asked_shape(self):
        found = 0
        for seed in range(40):
            s = samples.make_sample(seed, "shapes", "test", None)
            if s.meta["kind"] == "where":
                (words,) = [f"{color} {shape}" for shape, color, box in s.meta["drawn"] if box == s.meta["box"]]
                self.assertIn(words, s.question)
                found += 1
        self.assertGreater(found, 5)


class Tables(unittest.TestCase):
    def test_a_bar_in_an_answer_stays_in_its_cell(self):
        self.assertEqual(answers.code("a | b\n"), "`a \\| b`")
        self.assertEqual(answers.code(" "), "nothing")
        self.assertEqual(answers.table(["x", "y"], [[1, "z"]]), "| x | y |\n| --- | --- |\n| 1 | z |")


if __name__ == "__main__":
    unittest.main()

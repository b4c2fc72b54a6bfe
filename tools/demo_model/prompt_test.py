"""Needs numpy: python3 -m unittest demo_model.prompt_test, in tools/."""
import unittest

import numpy as np

from . import prompt


class Videos(unittest.TestCase):
    def test_frames_are_sampled_as_the_video_processor_does(self):
        for total, fps, indices in ((60, 30, [0, 20, 39, 59]), (45, 15, [0, 9, 18, 26, 35, 44]), (3, 30, [0, 1, 2, 2])):
            self.assertEqual(prompt.sampled_frames(total, fps)[0], indices)

    def test_a_time_stamp_is_the_mean_of_a_pair_rounded_half_to_even(self):
        indices, seconds = prompt.sampled_frames(8, 2.0)
        self.assertEqual(indices, list(range(8)))
        self.assertEqual([f"{s:.1f}" for s in seconds], ["0.2", "1.2", "2.2", "3.2"])

    def test_time_stamps_replace_the_outer_vision_markers(self):
        self.assertEqual(prompt.rendered("Q", 2, [0.25, 12.5]),
                         "<|im_start|>user\n<0.2 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
                         "<12.5 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>Q<|im_end|>\n"
                         "<|im_start|>assistant\n")


class Positions(unittest.TestCase):
    def test_text_goes_on_after_the_longer_side_of_a_picture(self):
        positions = prompt.mrope_positions([False] * 3 + [True] * 6 + [False] * 2, 2, 3)
        self.assertTrue(np.array_equal(positions, [[0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7],
                                                   [0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7],
                                                   [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7]]))

    def test_each_slice_of_a_video_is_a_picture_of_its_own(self):
        text, slice_ = [False] * 2, [True] * 2
        positions = prompt.mrope_positions(text + slice_ + [False] * 3 + slice_ + text, 1, 2)
        self.assertEqual(positions[0].tolist(), [0, 1, 2, 2, 4, 5, 6, 7, 7, 9, 10])
        self.assertEqual(positions[2].tolist(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])


if __name__ == "__main__":
    unittest.main()

"""Needs regex: python3 -m unittest demo_model.bpe_test, in tools/."""
import pathlib
import unittest

from . import bpe

ROOT = pathlib.Path(__file__).resolve().parents[2] / "models"


class Training(unittest.TestCase):
    def test_the_most_frequent_pair_is_merged_first_and_ties_go_to_the_first_in_order(self):
        vocab, merges = bpe.train(["abab abab cd cd cd"], r"\S+", 256 + 3)
        self.assertEqual(merges, [("a", "b"), ("c", "d"), ("ab", "ab")])
        self.assertEqual(vocab["abab"], 258)

    def test_a_corpus_too_small_for_the_vocabulary_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "257 tokens of 300"):
            bpe.train(["ab ab"], r"\S+", 300)


class Encoding(unittest.TestCase):
    def test_ids_of_the_published_vocabulary_are_those_of_the_published_tokenizer(self):
        tokenizer = bpe.Tokenizer(ROOT / "qwen3-vl-tokenizer/tokenizer.json")
        self.assertEqual(tokenizer.encode("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
                         [151644, 872, 198, 13048, 151645, 198, 151644, 77091, 198])
        self.assertEqual(tokenizer.encode("<12.5 seconds>"), [27, 16, 17, 13, 20, 6486, 29])

    def test_text_comes_back_from_merged_and_from_spelled_ids(self):
        tokenizer = bpe.Tokenizer(ROOT / "demo/tokenizer.json")
        text = "Café — 12.50 {\\frac} 中文 read this"
        merged, spelled = tokenizer.encode(text), tokenizer.spell(text)
        self.assertEqual((tokenizer.decode(merged), tokenizer.decode(spelled)), (text, text))
        self.assertEqual(len(spelled), len(text.encode()))
        self.assertLess(len(merged), len(spelled))

    def test_special_tokens_are_left_out_of_decoded_text(self):
        tokenizer = bpe.Tokenizer(ROOT / "demo/tokenizer.json")
        self.assertEqual(tokenizer.decode(tokenizer.encode("<|im_start|>a<tool_call><|im_end|>")), "a<tool_call>")


if __name__ == "__main__":
    unittest.main()

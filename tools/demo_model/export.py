"""Makes a complete checkpoint folder, in the spelling of published checkpoints, from trained weights.

    python3 -m demo_model.export --weights ema.safetensors --tokenizer FILE --template chat_template.jinja --out models/demo
"""
import argparse
import json
import pathlib
import shutil

import torch

from demo_model import model, weights

PIXELS = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def config(preset, added):
    """config.json as transformers 4.57 spells it."""
    sizes = model.PRESETS[preset]
    text = {"attention_bias": False, "attention_dropout": 0.0, "bos_token_id": added["<|endoftext|>"], "dtype": "bfloat16",
            "eos_token_id": added["<|im_end|>"], "head_dim": model.HEAD_DIM, "hidden_act": "silu", "initializer_range": 0.02,
            "max_position_embeddings": 32768, "model_type": "qwen3_vl_text", "rms_norm_eps": model.EPS,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": model.MROPE_SECTION, "rope_type": "default"},
            "rope_theta": model.ROPE_THETA, "tie_word_embeddings": True, "use_cache": True, "vocab_size": model.VOCAB_SIZE,
            **sizes["text"]}
    vision = {"hidden_act": "gelu_pytorch_tanh", "in_channels": 3, "initializer_range": 0.02, "model_type": "qwen3_vl",
              "out_hidden_size": sizes["text"]["hidden_size"], "patch_size": model.PATCH, "spatial_merge_size": model.MERGE,
              "temporal_patch_size": 2, **sizes["vision"]}
    return {"architectures": ["Qwen3VLForConditionalGeneration"], "image_token_id": added["<|image_pad|>"],
            "model_type": "qwen3_vl", "text_config": dict(sorted(text.items())), "tie_word_embeddings": True,
            "transformers_version": "4.57.0", "video_token_id": added["<|video_pad|>"],
            "vision_config": dict(sorted(vision.items())), "vision_end_token_id": added["<|vision_end|>"],
            "vision_start_token_id": added["<|vision_start|>"]}


def side_files(preset, spec):
    """Name and content of every JSON file but the tokenizer."""
    added = {t["content"]: t["id"] for t in spec["added_tokens"]}
    ends = [added["<|im_end|>"], added["<|endoftext|>"]]
    details = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {
        "config.json": config(preset, added),
        "generation_config.json": {"bos_token_id": added["<|endoftext|>"], "do_sample": False, "eos_token_id": ends,
                                   "pad_token_id": added["<|endoftext|>"], "transformers_version": "4.57.0"},
        "preprocessor_config.json": {"size": {"longest_edge": 16777216, "shortest_edge": 65536}, **PIXELS,
                                     "processor_class": "Qwen3VLProcessor", "image_processor_type": "Qwen2VLImageProcessorFast"},
        "video_preprocessor_config.json": {"size": {"longest_edge": 25165824, "shortest_edge": 4096}, **PIXELS,
                                           "processor_class": "Qwen3VLProcessor",
                                           "video_processor_type": "Qwen3VLVideoProcessor"},
        "tokenizer_config.json": {"add_bos_token": False, "add_prefix_space": False,
                                  "added_tokens_decoder": {str(t["id"]): {k: t[k] for k in details} for t in spec["added_tokens"]},
                                  "additional_special_tokens": [t["content"] for t in spec["added_tokens"][1:] if t["special"]],
                                  "bos_token": None, "clean_up_tokenization_spaces": False, "eos_token": "<|im_end|>",
                                  "errors": "replace", "model_max_length": 32768, "pad_token": "<|endoftext|>",
                                  "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer", "unk_token": None},
    }


def export(tensors, preset, tokenizer, template, out):
    """Writes the folder; tensors are converted to BF16."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in side_files(preset, json.loads(tokenizer.read_text())).items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    for source, name in ((tokenizer, "tokenizer.json"), (template, "chat_template.jinja")):
        if source.resolve() != (out / name).resolve():
            shutil.copyfile(source, out / name)
    weights.save(out / "model.safetensors", {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--template", type=pathlib.Path, required=True)
    parser.add_argument("--preset", default="demo-13M", choices=model.PRESETS)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    export(weights.load(args.weights), args.preset, args.tokenizer, args.template, args.out)


if __name__ == "__main__":
    main()

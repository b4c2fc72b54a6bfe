"""Greedy answers of transformers for a list of questions, for scores and for comparison with qvl.

    python3 -m demo_model.evaluate CHECKPOINT RECORDS.json MEDIA OUT.jsonl [--dtype float32] [--shard 0/4]

RECORDS.json has objects with id, question and image_path, a picture under MEDIA, or a folder of frames and then fps. Each output
line has id, ids (the generated tokens) and text. Pictures go through the checkpoint's own processor; its token ids must equal
ours. Videos get the prompt that qvl makes by default, which transformers 5.10 and later no longer make themselves.
"""
import argparse
import json
import pathlib

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import AutoModelForImageTextToText, AutoProcessor

from demo_model import bpe, prompt

MAX_NEW_TOKENS = 128


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("records", type=pathlib.Path)
    parser.add_argument("media", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--shard", default="0/1", help="i/n: only every n-th record, from the i-th on")
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


def picture(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def picture_inputs(processor, tokenizer, record, path):
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": record["question"]}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor(text=[text], images=[picture(path)], return_tensors="pt")
    ours = tokenizer.encode(prompt.rendered(record["question"], int(inputs["image_grid_thw"].prod()) // 4, None))
    if inputs["input_ids"][0].tolist() != ours:
        raise ValueError(f"{record['id']}: the processor's token ids differ from ours")
    return inputs


def video_inputs(processor, tokenizer, record, folder):
    frames = np.stack([np.asarray(picture(file)) for file in sorted(folder.iterdir())])
    indices, seconds = prompt.sampled_frames(len(frames), record["fps"])
    video = torch.from_numpy(frames[indices]).permute(0, 3, 1, 2)
    inputs = processor.video_processor(videos=[video], do_sample_frames=False, return_tensors="pt")
    grid = inputs["video_grid_thw"][0].tolist()
    ids = torch.tensor([tokenizer.encode(prompt.rendered(record["question"], grid[1] * grid[2] // 4, seconds))])
    pad = tokenizer.added[prompt.VIDEO]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": (ids == pad).int() * 2,
            "pixel_values_videos": inputs["pixel_values_videos"], "video_grid_thw": inputs["video_grid_thw"]}


@torch.no_grad()
def main():
    args = arguments()
    shard, shards = map(int, args.shard.split("/"))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    tokenizer = bpe.Tokenizer(args.checkpoint / "tokenizer.json")
    processor = AutoProcessor.from_pretrained(args.checkpoint)
    dtype = getattr(torch, args.dtype)
    net = AutoModelForImageTextToText.from_pretrained(args.checkpoint, dtype=dtype, attn_implementation="sdpa")
    net = net.to(args.device).eval()
    with args.out.open("w") as out:
        for record in json.loads(args.records.read_text())[shard::shards]:
            path = args.media / record["image_path"]
            make = video_inputs if path.is_dir() else picture_inputs
            inputs = {k: v.to(args.device) for k, v in make(processor, tokenizer, record, path).items()}
            inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
            ids = net.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)[0, inputs["input_ids"].shape[1]:].tolist()
            text = processor.tokenizer.decode(ids, skip_special_tokens=True)
            out.write(json.dumps({"id": record["id"], "ids": ids, "text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

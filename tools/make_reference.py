#!/usr/bin/env python3
"""Makes reference cases from your own checkpoint, so that `qvl parity` proves your build on your weights.

    make_reference.py CHECKPOINT OUT [--image FILE]... [--frames FOLDER --fps N]
                      [--prompt TEXT]... [--new-tokens N] [--device cpu|cuda]

CHECKPOINT is a Hugging Face folder of a Qwen3-VL model. OUT becomes a model folder that `qvl parity OUT` takes: links to the
checkpoint's files, media/ with copies of the inputs, and cases/NAME/{case.json, ref.safetensors}. Without --prompt a few
prompts of our own are used. Every prompt is asked once as text, and once with each picture and with the frames.

Needs torch, torchvision, transformers, accelerate, safetensors and Pillow. The reference is float32: 4 bytes of the device's
memory per parameter.
"""
import argparse
import hashlib
import json
import pathlib
import shutil

import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

PROMPTS = ["Describe this in detail, please.", "What is written here? 请回答。"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--image", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--frames", type=pathlib.Path)
    parser.add_argument("--fps", type=float, default=24.0)
    parser.add_argument("--prompt", action="append", default=[])
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def link_checkpoint(checkpoint, out):
    """OUT shows the checkpoint's own files beside the cases."""
    for file in checkpoint.iterdir():
        if file.is_file() and not (out / file.name).exists():
            (out / file.name).symlink_to(file.resolve())


def copy_media(args):
    media = args.out / "media"
    media.mkdir(exist_ok=True)
    names = []
    for image in args.image:
        shutil.copy(image, media / image.name)
        names.append(image.name)
    if args.frames:
        shutil.copytree(args.frames, media / args.frames.name, dirs_exist_ok=True)
    return names, args.frames.name if args.frames else None


def load_frames(folder):
    """[frames, 3, height, width] uint8, in the order of the names."""
    pictures = [ImageOps.exif_transpose(Image.open(f)).convert("RGB") for f in sorted(folder.iterdir())]
    return torch.stack([torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8).view(p.height, p.width, 3).permute(2, 0, 1)
                        for p in pictures])


def conversations(args, images, frames):
    """(name, messages) of every case."""
    for i, text in enumerate(args.prompt or PROMPTS):
        yield f"text-{i}", [{"role": "user", "content": text}]
        for image in images:
            content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
            yield f"image-{pathlib.Path(image).stem}-{i}", [{"role": "user", "content": content}]
        if frames:
            content = [{"type": "video", "video": frames}, {"type": "text", "text": text}]
            yield f"video-{i}", [{"role": "user", "content": content}]


def model_inputs(processor, prompt, messages, args):
    """The processor's tensors, and the same with uint8 pixels where there are any."""
    images, videos, metadata = [], [], []
    for part in (p for m in messages if isinstance(m["content"], list) for p in m["content"]):
        if part["type"] == "image":
            images.append(ImageOps.exif_transpose(Image.open(args.out / "media" / part["image"])).convert("RGB"))
        if part["type"] == "video":
            frames = load_frames(args.out / "media" / part["video"])
            videos.append(frames)
            metadata.append({"fps": args.fps, "total_num_frames": len(frames), "duration": len(frames) / args.fps,
                             "frames_indices": list(range(len(frames))), "height": frames.shape[2], "width": frames.shape[3]})
    kwargs = {}
    if images:
        kwargs["images"] = images
    if videos:
        kwargs.update(videos=videos, video_metadata=metadata, do_sample_frames=True)
    tensors = processor(text=[prompt], return_tensors="pt", **kwargs)
    raw = processor(text=[prompt], return_tensors="pt", do_rescale=False, do_normalize=False, **kwargs) if kwargs else {}
    return tensors, raw


def relative_error(ours, reference):
    return ((ours.float() - reference).norm() / reference.norm()).item()


def to_bfloat16(model):
    """In place, but for rotary frequencies: they are float32 too in a model that was loaded so."""
    frequencies = {name: buffer.clone() for name, buffer in model.named_buffers() if "inv_freq" in name}
    model.to(torch.bfloat16)
    for name, buffer in frequencies.items():
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, buffer)


def last_logits(model, tensors):
    model.model.rope_deltas = None
    return model(**tensors, use_cache=False).logits[0].float().cpu()


def reference_tensors(model, tensors, raw, new_tokens):
    """What qvl parity compares, and the numbers of case.json."""
    ids = tensors["input_ids"]
    length = ids.shape[1]
    out = {"input_ids": ids[0].to(torch.int32)}
    for name in ("image_grid_thw", "video_grid_thw"):
        if name in tensors:
            out[name] = tensors[name].to(torch.int32)
    for name, key in (("pixel_values", "image_patches_blake2b"), ("pixel_values_videos", "video_patches_blake2b")):
        if name in raw:
            patches = raw[name].round().clamp(0, 255).to(torch.uint8).contiguous().cpu().numpy().tobytes()
            out[key] = torch.tensor(list(hashlib.blake2b(patches, digest_size=16).digest()), dtype=torch.uint8)

    if "image_grid_thw" in tensors or "video_grid_thw" in tensors:
        positions, delta = model.model.get_rope_index(ids, tensors["mm_token_type_ids"], tensors.get("image_grid_thw"),
                                                      tensors.get("video_grid_thw"), tensors["attention_mask"])
    else:
        positions, delta = torch.arange(length).view(1, 1, -1).expand(3, 1, -1), torch.zeros(1, 1)
    out["position_ids"] = positions[:, 0].to(torch.int32)
    out["rope_delta"] = delta.reshape(1).to(torch.int32)

    if "image_grid_thw" in tensors:
        vision = model.model.visual(tensors["pixel_values"], grid_thw=tensors["image_grid_thw"], output_hidden_states=True)
        rows = torch.arange(0, vision.pooler_output.shape[0], max(1, vision.pooler_output.shape[0] // 64))
        out["vision_rows"] = rows.to(torch.int32)
        out["image_embeds"] = vision.pooler_output[rows]
        for i, feature in enumerate(vision.deepstack_features):
            out[f"image_deepstack_{i}"] = feature[rows]
        out["vision_last_hidden"] = vision.last_hidden_state[:256]

    model.model.rope_deltas = None
    result = model(**tensors, output_hidden_states=True, use_cache=False)
    logits = result.logits[0]
    out["logits_last"] = logits[-1]
    out["argmax_all"] = logits.argmax(-1).to(torch.int32)
    out["logits_rows"] = logits[::max(1, length // 16)]
    for i, hidden in enumerate(result.hidden_states):
        out[f"hidden_{i}_last"] = hidden[0, -1]

    model.model.rope_deltas = None
    generated = model.generate(**tensors, max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False,
                               return_dict_in_generate=True, output_logits=True, eos_token_id=None, pad_token_id=0)
    out["greedy_ids"] = generated.sequences[0, length:].to(torch.int32)
    out["greedy_logits"] = torch.stack(generated.logits)[:, 0]

    numbers = {"prompt_tokens": length, "logit_std": logits.std().item()}
    return {k: v.cpu().clone().contiguous() for k, v in out.items()}, numbers, logits.cpu()


@torch.no_grad()
def main():
    args = arguments()
    # float32 must mean float32: the patch embedding is a convolution, and cuDNN's default for those is TF32.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    args.out.mkdir(parents=True, exist_ok=True)
    link_checkpoint(args.checkpoint, args.out)
    images, frames = copy_media(args)
    config = AutoConfig.from_pretrained(args.checkpoint)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = AutoModelForImageTextToText.from_pretrained(args.checkpoint, config=config, dtype=torch.float32,
                                                        device_map=args.device).eval()
    processor = AutoProcessor.from_pretrained(args.checkpoint)
    template = args.checkpoint / "chat_template.jinja"
    if template.exists():
        processor.chat_template = template.read_text()

    runs = []
    for name, messages in conversations(args, images, frames):
        prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        tensors, raw = model_inputs(processor, prompt, messages, args)
        tensors = {k: v.to(args.device) for k, v in tensors.items()}
        reference, numbers, logits = reference_tensors(model, tensors, raw, args.new_tokens)
        text = processor.tokenizer.decode(reference["greedy_ids"].tolist())
        case = {"messages": messages, "tools": None, "prompt": prompt, "greedy_text": text, **numbers}
        if frames:
            case["video"] = {"fps": args.fps}
        runs.append((name, case, reference, tensors, logits))

    # After all of float32: two models at once need half as much memory again.
    to_bfloat16(model)
    for name, case, reference, tensors, logits in runs:
        tensors = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in tensors.items()}
        case["hf_bf16_relative_error"] = relative_error(last_logits(model, tensors), logits)
        folder = args.out / "cases" / name
        folder.mkdir(parents=True, exist_ok=True)
        save_file(reference, folder / "ref.safetensors")
        (folder / "case.json").write_text(json.dumps(case, ensure_ascii=False, indent=1))
        print(f"{name}: {case['prompt_tokens']} tokens, bfloat16 error {case['hf_bf16_relative_error']:.4f}", flush=True)


if __name__ == "__main__":
    main()

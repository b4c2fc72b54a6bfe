"""Reads and writes safetensors files of torch tensors."""
import json
import pathlib
import struct

import torch

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save(path, tensors):
    """Writes a dict of BF16 or F32 tensors; the file appears whole or not at all."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in sorted(tensors.items()):
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = pathlib.Path(f"{path}.partial")
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in sorted(tensors.items()):
            file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    partial.replace(path)


def load(path):
    """The tensors of a file written by save."""
    raw = bytearray(pathlib.Path(path).read_bytes())
    length, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + length])
    header.pop("__metadata__", None)
    data = torch.frombuffer(raw, dtype=torch.uint8, offset=8 + length)
    return {name: data[slice(*t["data_offsets"])].view(DTYPES[t["dtype"]]).view(t["shape"]) for name, t in header.items()}

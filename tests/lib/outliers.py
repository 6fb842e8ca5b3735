#!/usr/bin/env python3
"""A model that computes the same as the one it is made of, with a few channels of activations 32 times as large: the weights of norms are
multiplied, the columns of what reads them divided. Powers of two, so that bfloat16 loses nothing.

    outliers.py MODEL FOLDER

MODEL is a folder of Llama's names with BF16 weights in one file.
"""
from __future__ import annotations

import array
import pathlib
import shutil
import sys

from upcycled import read, write

SHIFT, CHANNELS = 5, (3, 57, 101, 190, 222)
NORMS = ("input_layernorm", "post_attention_layernorm")
READERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")


def shifted(bits: int, by: int) -> int:
    """bfloat16 times 2^by."""
    exponent = bits >> 7 & 255
    if exponent == 0:
        return bits & 0x8000
    assert 0 < exponent + by < 255, "a number leaves bfloat16's range"
    return bits + by * 128


def changed(data: bytes, width: int, by: int) -> bytes:
    values = array.array("H", data)
    for channel in CHANNELS:
        for i in range(channel, len(values), width):
            values[i] = shifted(values[i], by)
    return values.tobytes()


def main(model: str, folder: str) -> None:
    shutil.copytree(model, folder)
    tensors = read(pathlib.Path(model) / "model.safetensors")
    for name, (dtype, shape, data) in tensors.items():
        kind = name.split(".")[-2]
        if kind in NORMS + READERS:
            tensors[name] = (dtype, shape, changed(data, shape[-1], SHIFT if kind in NORMS else -SHIFT))
    write(pathlib.Path(folder) / "model.safetensors", tensors)


if __name__ == "__main__":
    main(*sys.argv[1:])

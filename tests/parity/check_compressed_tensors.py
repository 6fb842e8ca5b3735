#!/usr/bin/env python3
"""The integer formats of compressed-tensors by its own code: what we pack is what its packer makes of the same codes and
zero points, what its compressor makes of the same scales, and what it decompresses is the library's weights, bit by bit.

Environment: HT_BUILD. Exit status: 0 passed, 1 failed, 77 skipped.
"""
import itertools
import os
import pathlib
import sys

try:
    import numpy as np
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
except ImportError as missing:
    print(f"SKIPPED check_compressed_tensors: the Python package {missing.name} is not here")
    sys.exit(77)

import int_layouts
from matrices import Halftone

ROOT = pathlib.Path(__file__).resolve().parents[2]
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
ht = Halftone(os.path.join(os.environ.get("HT_BUILD", str(ROOT / "build")), "libhalftone.so"))
failed = compared = 0


def check(what, good):
    global failed, compared
    compared += 1
    if not good:
        failed += 1
        print(f"FAILED {what}")


def tensors(parts, dtype):
    """As a module's tensors are named when its compressor gets them."""
    made = {}
    for suffix, array in parts.items():
        t = torch.from_numpy(array.copy())
        made[suffix[1:]] = t.view(torch.bfloat16) if ht.dtypes[suffix] == "bf16" else t
    return made


def scheme_of(bits, group, sym, tokens=False):
    weights = QuantizationArgs(num_bits=bits, type="int", symmetric=sym, strategy="group" if group > 0 else "channel",
                               group_size=group if group > 0 else None)
    inputs = QuantizationArgs(num_bits=8, type="int", strategy="token", dynamic=True) if tokens else None
    return QuantizationScheme(targets=["Linear"], weights=weights, input_activations=inputs)


def same(theirs, ours):
    return np.array_equal(theirs.float().numpy(), ours)


packer = BaseCompressor.get_value_from_registry("pack-quantized")
plain = BaseCompressor.get_value_from_registry("int-quantized")
for dtype, (name, bits), group, sym, search in itertools.product(
        DTYPES, (("w4a16", 4), ("w8a16", 8)), (32, 64, 128, -1), ("on", "off"), ("absmax", "mse")):
    for shape in ((64, 256), (101, 384)):
        x = int_layouts.matrix(*shape, 7)
        if dtype == "f16":
            x = x.astype(np.float16).astype(np.float32)
        text = f"{name}:group={group},sym={sym},range={search}"
        what = f"{text}, {dtype}, {shape}"
        parts = ht.quantize(text, x, dtype)
        ours = ht.dequantize(text, parts, shape, dtype)
        state, scheme = tensors(parts, dtype), scheme_of(bits, group, sym == "on")
        check(f"{what}: names", set(state) == set(packer.compression_param_names(scheme)))
        check(f"{what}: dtype of scales", state["weight_scale"].dtype == DTYPES[dtype])
        check(f"{what}: weights", same(packer.decompress(state, scheme)["weight"], ours))
        codes = unpack_from_int32(state["weight_packed"], bits, torch.Size(shape))
        check(f"{what}: words", torch.equal(pack_to_int32(codes, bits), state["weight_packed"]))
        zeros = None
        if sym == "off":
            zeros = unpack_from_int32(state["weight_zero_point"], bits,
                                      torch.Size((shape[0], state["weight_scale"].shape[1])), packed_dim=0)
            check(f"{what}: zero points",
                  torch.equal(pack_to_int32(zeros, bits, packed_dim=0), state["weight_zero_point"]))
        if bits == 4 or dtype == "f32":  # otherwise its arithmetic in 16 bits does not find every code again
            again = {"weight": torch.from_numpy(ours).to(DTYPES[dtype]), "weight_scale": state["weight_scale"]}
            if zeros is not None:
                again["weight_zero_point"] = zeros
            again = packer.compress(again, scheme)
            for key in state:
                check(f"{what}: its compressor's {key}", torch.equal(again[key], state[key]))

for dtype, search in itertools.product(DTYPES, ("absmax", "mse")):
    x = int_layouts.matrix(96, 320, 9)
    if dtype == "f16":
        x = x.astype(np.float16).astype(np.float32)
    text = f"w8a8:range={search}"
    parts = ht.quantize(text, x, dtype)
    ours = ht.dequantize(text, parts, x.shape, dtype)
    state, scheme = tensors(parts, dtype), scheme_of(8, -1, True, tokens=True)
    check(f"{text}, {dtype}: names", set(state) == set(plain.compression_param_names(scheme)))
    check(f"{text}, {dtype}: weights", same(plain.decompress(state, scheme)["weight"], ours))

# What others write and we only read.
for bits, sym, group in itertools.product((2, 3, 5, 6, 7), (True, False), (32, -1)):
    x = torch.from_numpy(int_layouts.matrix(96, 160, bits))
    groups = x.reshape(96, -1, group if group > 0 else 160)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale = ((high - low) if not sym else 2 * torch.maximum(-low, high)).div(2 ** bits - 1).bfloat16()
    state = {"weight": x.bfloat16(), "weight_scale": scale}
    if not sym:
        state["weight_zero_point"] = (-low / scale.float() - 2 ** (bits - 1)).round().clamp(
            -2 ** (bits - 1), 2 ** (bits - 1) - 1).to(torch.int8)
    scheme = scheme_of(bits, group, sym)
    packed = packer.compress(state, scheme)
    parts = {f".{k}": v.view(torch.int16).numpy().view(np.uint16) if v.dtype == torch.bfloat16 else v.numpy()
             for k, v in packed.items()}
    text = f"w4a16:bits={bits},sym={'on' if sym else 'off'},group={group}"
    check(f"{text}: read", same(packer.decompress(packed, scheme)["weight"], ht.dequantize(text, parts, (96, 160))))

print(f"check_compressed_tensors: {compared} compared, {failed} differ")
sys.exit(1 if failed else 0)

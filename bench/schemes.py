#!/usr/bin/env python3
"""Weights a second that schemes pack, ours and the programs of the formats in turn in one process, on one thread: the
matrices of a layer of a 1.1 B-parameter Llama, bfloat16. Theirs: bitsandbytes' quantize_4bit, and for compressed-tensors
what its data-free path does: the range of each block, calculate_qparams, the compressor.

    HT_BUILD=build bench/schemes.py [--rounds N] [scheme…]
"""
import argparse
import os
import sys
import time

import machine

import torch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "parity"))
from matrices import Halftone

SHAPES = [(2048, 2048), (256, 2048), (256, 2048), (2048, 2048), (5632, 2048), (5632, 2048), (2048, 5632)]


def bitsandbytes(kind):
    import bitsandbytes.functional as functional

    def run(w):
        functional.quantize_4bit(w, quant_type=kind, blocksize=64)
    return run


def compressed_tensors(form, **args):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    args = QuantizationArgs(symmetric=True, **args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = BaseCompressor.get_value_from_registry(form)

    def run(w):
        blocks = w.reshape(w.shape[0], -1, args.group_size or w.shape[1])
        state = {"weight": w}
        if args.strategy == "tensor_group":
            state["weight_global_scale"] = generate_gparam(w.min(), w.max())
        scale, _ = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args,
                                     global_scale=state.get("weight_global_scale"))
        compressor.compress({**state, "weight_scale": scale}, scheme)
    return run


FLOAT = {"type": "float"}
THEIRS = {
    "nf4": lambda: bitsandbytes("nf4"),
    "fp4": lambda: bitsandbytes("fp4"),
    "fp8": lambda: compressed_tensors("float-quantized", **FLOAT, num_bits=8, strategy="channel"),
    "nvfp4": lambda: compressed_tensors("nvfp4-pack-quantized", **FLOAT, num_bits=4, strategy="tensor_group",
                                        group_size=16, scale_dtype=torch.float8_e4m3fn),
    "mxfp4": lambda: compressed_tensors("mxfp4-pack-quantized", **FLOAT, num_bits=4, strategy="group", group_size=32,
                                        scale_dtype=torch.uint8),
    "w4a16": lambda: compressed_tensors("pack-quantized", type="int", num_bits=4, strategy="group", group_size=128),
    "fp8-block": None, "mxfp8": None, "int8": None, "gptq": None, "awq": None, "w8a16": None, "w8a8": None,
}


def timed(run, matrices):
    begin = time.process_time()
    for w in matrices:
        run(w)
    return time.process_time() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("schemes", nargs="*")
    given = parser.parse_args()
    machine.begin("schemes")
    torch.set_num_threads(1)
    ht = Halftone(os.path.join(os.environ.get("HT_BUILD", os.path.join(ROOT, "build")), "libhalftone.so"))
    known = {s["name"] for s in ht.schemes() if s["can_write"]}
    random = torch.Generator().manual_seed(1)
    matrices = [(torch.randn(*shape, generator=random) * 0.02).to(torch.bfloat16) for shape in SHAPES]
    floats = [w.float().numpy() for w in matrices]
    n = sum(w.numel() for w in matrices)
    print(f"{'million weights a second':28}{'halftone':>10}{'theirs':>10}{'times':>8}")
    for scheme in given.schemes or [s for s in THEIRS if s in known]:
        theirs = THEIRS[scheme]() if THEIRS.get(scheme) else None
        best = [float("inf"), float("inf")]
        for _ in range(given.rounds):
            best[0] = min(best[0], timed(lambda x: ht.quantize(scheme, x, "bf16"), floats))
            if theirs:
                best[1] = min(best[1], timed(theirs, matrices))
        times = f"{best[1] / best[0]:8.1f}" if theirs else ""
        print(f"{scheme:28}{n / best[0] / 1e6:10.0f}{n / best[1] / 1e6 if theirs else 0:10.0f}{times}", flush=True)
        machine.row(scheme=scheme, mws=n / best[0] / 1e6, their_mws=n / best[1] / 1e6 if theirs else None)


main()

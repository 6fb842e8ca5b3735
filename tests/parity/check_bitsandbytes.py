#!/usr/bin/env python3
"""nf4, fp4 and int8: libhalftone's parts and bitsandbytes' own, byte by byte, and the dequantized weights bit by bit.

Every block size, double quantization off and on, every storage dtype, every dtype of weights, shapes that do not divide
into blocks, and weights that are zero, tiny, huge or constant. bitsandbytes runs on one thread here: the mean of block
scales, which double quantization keeps, depends in its last bit on PyTorch's number of threads and on the width of its
vectors, so for matrices of more than 32768 blocks that bit may differ on other machines.
Environment: HT_BUILD (folder of libhalftone.so). Exit status: 0 passed, 1 failed, 77 skipped.
"""
import os
import sys

os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")  # vectors of eight on every machine
try:
    import numpy as np
    import torch
    import bitsandbytes.functional as bnb
    import bnb_plain  # noqa: F401
except ImportError as e:
    print(f"SKIPPED check_bitsandbytes: {e}")
    sys.exit(77)
from matrices import Halftone

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
BLOCKS = [32, 64, 128, 256, 512, 1024, 2048, 4096]
STORAGES = {"uint8": torch.uint8, "bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
SHAPES = [(1, 8), (2, 12), (8, 100), (64, 96), (128, 128), (96, 2050), (300, 1024), (512, 1376)]
ht = Halftone(os.path.join(os.environ.get("HT_BUILD", "build"), "libhalftone.so"))
torch.set_num_threads(1)
failed = []
n_checks = 0


def weights(kind, shape, dtype, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=g)
    if kind == "heavy tails":
        x = x / (torch.rand(shape, generator=g) + 0.01)
    elif kind == "zeros":
        x[: (shape[0] + 1) // 2] = 0
    elif kind == "tiny":
        x = x * 1e-7
    elif kind == "large":
        x = x * 3000
    elif kind == "constant":
        x = torch.full(shape, 0.37)
    elif kind == "levels":
        x = torch.randint(-8, 9, shape, generator=g) / 8
    elif kind == "rows":
        x = x * 0.02 * (1 + torch.arange(shape[0])[:, None] % 7)
    return x.to(dtype)


KINDS = ["normal", "heavy tails", "zeros", "tiny", "large", "constant", "levels", "rows"]


def raw(t):
    """The bytes of a tensor."""
    return t.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if t.dim() else t.view(1).view(torch.uint8).numpy().tobytes()


def same(what, theirs, ours, shape=True):
    """theirs: tensors by suffix; ours: arrays by suffix."""
    global n_checks
    n_checks += 1
    if set(theirs) != set(ours):
        failed.append(f"{what}: parts {sorted(set(theirs) ^ set(ours))} are not on both sides")
        return
    for name, tensor in theirs.items():
        if tuple(tensor.shape) != ours[name].shape:
            failed.append(f"{what}: {name} has shape {ours[name].shape}, expected {tuple(tensor.shape)}")
        elif raw(tensor) != ours[name].tobytes():
            a, b = np.frombuffer(raw(tensor), np.uint8), np.frombuffer(ours[name].tobytes(), np.uint8)
            failed.append(f"{what}: {name} differs in {(a != b).sum()} of {len(a)} bytes")


def bits_equal(what, theirs, ours):
    theirs = theirs.float().numpy()
    apart = (theirs.view(np.uint32) != ours.view(np.uint32)) & (theirs != 0)  # FP4's -0 is 0 with AVX-512
    apart |= (theirs == 0) & (ours != 0)
    wrong = apart.sum()
    if wrong:
        i = np.flatnonzero(apart.ravel())[0]
        failed.append(f"{what}: {wrong} of {theirs.size} dequantized weights differ, the first: "
                      f"{theirs.ravel()[i]!r} and {ours.ravel()[i]!r}")


def check_4bit(quant, dtype, shape, kind, block, nested, storage, seed):
    what = f"{quant} {dtype} {shape} {kind} block={block} nested={nested} storage={storage}"
    x = weights(kind, shape, DTYPES[dtype], seed)
    if (x.numel() + 1) // 2 % torch.empty(0, dtype=STORAGES[storage]).element_size():
        return
    q, state = bnb.quantize_4bit(x, blocksize=block, compress_statistics=nested, quant_type=quant,
                                 quant_storage=STORAGES[storage])
    theirs = {".weight": q} | {".weight." + k: v for k, v in state.as_dict(packed=True).items()}
    scheme = f"{quant}:block={block},nested={'on' if nested else 'off'},storage={storage}"
    ours = ht.quantize(scheme, x.float().numpy(), dtype, threads=1 + seed % 3)
    same(what, theirs, ours)
    parts = {k: np.frombuffer(raw(v), np.uint8).view(ours[k].dtype).reshape(tuple(v.shape)) for k, v in theirs.items()}
    bits_equal(what, bnb.dequantize_4bit(q, state), ht.dequantize(scheme, parts, shape, dtype))


def check_int8(dtype, shape, kind, seed):
    what = f"int8 {dtype} {shape} {kind}"
    x = weights(kind, shape, DTYPES[dtype], seed)
    q, scale, _ = bnb.int8_vectorwise_quant(x.to(torch.float16))
    theirs = {".weight": q, ".SCB": scale, ".weight_format": torch.tensor(0, dtype=torch.uint8)}
    ours = ht.quantize("int8", x.float().numpy(), dtype)
    same(what, theirs, ours)
    bits_equal(what, bnb.int8_vectorwise_dequant(q, scale),
               ht.dequantize("int8", {k: v.numpy() for k, v in theirs.items()}, shape, dtype))


def main():
    seed = 0
    for quant in ("nf4", "fp4"):
        for dtype in DTYPES:
            for nested in (False, True):
                for shape in SHAPES:
                    for kind in KINDS:
                        seed += 1
                        check_4bit(quant, dtype, shape, kind, BLOCKS[seed % 8], nested,
                                   list(STORAGES)[seed // 8 % 4], seed)
                for block in BLOCKS:
                    for storage in STORAGES:
                        seed += 1
                        check_4bit(quant, dtype, (128, 1024), "rows", block, nested, storage, seed)
    # more than 32768 block scales, where PyTorch would use several threads; and numbers of them around its steps
    check_4bit("nf4", "bf16", (1040, 2048), "normal", 32, True, "uint8", 1)
    for n in (1, 2, 3, 5, 7, 8, 9, 31, 33, 63, 255, 257, 511, 513, 1023, 4097, 5003):
        check_4bit("nf4", "f32", (n, 32), "rows", 32, True, "uint8", n)
    for dtype in DTYPES:
        for shape in SHAPES:
            for kind in KINDS:
                seed += 1
                check_int8(dtype, shape, kind, seed)
    for line in failed[:20]:
        print("FAILED " + line)
    print(f"check_bitsandbytes: {n_checks - len(failed)} of {n_checks} matrices, as bitsandbytes has them")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

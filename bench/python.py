#!/usr/bin/env python3
"""The Python package beside the library's own call, and beside bitsandbytes: seconds of processor time, in turn, best of several.

    bench/python.py [--rows N]        needs the package (or PYTHONPATH=python HALFTONE_LIBRARY=build/libhalftone.so) and NumPy

With PyTorch: layers from a cold disk by LayerCache, in wall-clock time. With bitsandbytes too: a Linear to NF4 and FP4 by
LayerQuantizer and by bitsandbytes, one thread each.
"""
import argparse
import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time

import machine


def best(calls, times=5):
    """The least processor time of each, taken in turn."""
    least = [float("inf")] * len(calls)
    for _ in range(times):
        for i, call in enumerate(calls):
            start = time.process_time()
            call()
            least[i] = min(least[i], time.process_time() - start)
    return least


def rows(n):
    import numpy as np

    import halftone
    from halftone import _library

    x = np.random.default_rng(1).standard_normal((n, 4096), dtype=np.float32)
    floats, out = np.empty_like(x), np.empty((n, halftone.row_size("q4_k", 4096)), np.uint8)
    request = _library.Rows(type=b"q4_k", n_rows=n, row_len=4096, n_threads=1)

    def pointer(a):
        return ctypes.c_void_p(a.ctypes.data)

    lib = _library.lib
    a = best([lambda: lib.ht_rows_encode(request, pointer(x), pointer(out), None), lambda: halftone.encode("q4_k", x, threads=1, out=out)])
    b = best([lambda: lib.ht_rows_decode(request, pointer(out), pointer(floats), None), lambda: halftone.decode("q4_k", out, threads=1, out=floats)])
    for name, (call, package) in (("encode q4_k", a), ("decode q4_k", b)):
        print(f"{name}, {x.size / 1e6:.0f} M weights: call {call:.4f} s, package {package:.4f} s ({100 * (package / call - 1):+.1f} %)")
        machine.row(what=name, call_s=call, package_s=package)


def layers(size):
    import torch
    import bitsandbytes as bnb

    from halftone import quantize_matrix
    from halftone.sli.quantization import LayerQuantizer, QuantizationConfig, QuantizationMode

    torch.set_num_threads(1)
    layer = torch.nn.Linear(size, size, bias=False, dtype=torch.bfloat16)

    def theirs(kind):
        def four():
            bnb.nn.Params4bit(layer.weight.data, requires_grad=False, compress_statistics=True, quant_type=kind).to("cpu")

        return four

    weight = layer.weight.detach().float()
    for mode in (QuantizationMode.NF4, QuantizationMode.FP4):
        quantizer = LayerQuantizer(QuantizationConfig(mode=mode))
        a, b, c = best([lambda: quantizer.quantize_layer(layer), theirs(mode.value), lambda: quantize_matrix(mode.value, weight, threads=1)], 3)
        print(f"{mode.value}, {size} x {size}: LayerQuantizer {a:.3f} s (of which the matrix {c:.3f} s on one thread), bitsandbytes {b:.3f} s: {b / a:.1f} times")
        machine.row(what=mode.value, size=size, seconds=a, matrix_s=c, their_seconds=b)


def loading(size, folder):
    """LayerCache from a cold disk: layers in float16 and in NF4, each read once, in turn; the quickest of each."""
    import torch

    from halftone.sli.layer_cache import LayerCache
    from halftone.sli.quantization import quantize_layer

    n, paths = 8, []
    layer = torch.nn.Linear(size, size, bias=False, dtype=torch.float16)
    cache = LayerCache(tempfile.mkdtemp(dir=folder), max_memory_cache_size_gb=0)
    for i in range(n):
        paths += [cache.cache_layer("float16", i, layer), cache.cache_layer("nf4", i, quantize_layer(layer, "nf4"))]
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    times = {"float16": float("inf"), "nf4": float("inf")}
    for i in range(n):
        for model in times:
            start = time.perf_counter()
            assert cache.get_layer(model, i) is not None
            times[model] = min(times[model], time.perf_counter() - start)
    sizes = [paths[k].stat().st_size for k in (0, 1)]
    shutil.rmtree(cache.cache_dir)
    a, b = times.values()
    print(f"get_layer, {size} x {size}, cold disk: float16 {sizes[0] / 1e6:.1f} MB {a * 1e3:.1f} ms, nf4 {sizes[1] / 1e6:.1f} MB {b * 1e3:.1f} ms: "
          f"{a / b:.1f} times as fast, {sizes[0] / sizes[1]:.2f} times as small")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--folder", default=".", help="where the layers are kept that are loaded: on a disk, not in memory")
    arguments = parser.parse_args()
    machine.begin("python")
    code = "import time; t = time.process_time(); import halftone; print(time.process_time() - t)"
    least = min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(5))
    print(f"import halftone: {least * 1000:.1f} ms of processor time")
    rows(arguments.rows)
    if importlib.util.find_spec("torch"):
        loading(arguments.size, arguments.folder)
        if importlib.util.find_spec("bitsandbytes"):
            layers(arguments.size)


if __name__ == "__main__":
    main()

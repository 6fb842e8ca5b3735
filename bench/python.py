#!/usr/bin/env python3
"""The Python package beside the library's own call, and beside bitsandbytes: seconds of processor time, in turn, best of several.

    bench/python.py [--rows N]        needs the package (or PYTHONPATH=python HALFTONE_LIBRARY=build/libhalftone.so) and NumPy

With PyTorch and bitsandbytes: a Linear to NF4 and INT8 by LayerQuantizer and by bitsandbytes, one thread each.
"""
import argparse
import ctypes
import importlib.util
import subprocess
import sys
import time


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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--size", type=int, default=4096)
    arguments = parser.parse_args()
    code = "import time; t = time.process_time(); import halftone; print(time.process_time() - t)"
    least = min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(5))
    print(f"import halftone: {least * 1000:.1f} ms of processor time")
    rows(arguments.rows)
    if importlib.util.find_spec("torch") and importlib.util.find_spec("bitsandbytes"):
        layers(arguments.size)


if __name__ == "__main__":
    main()

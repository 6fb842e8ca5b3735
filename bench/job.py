#!/usr/bin/env python3
"""A whole job, side by side with libggml-base in one run: a folder of random BF16 weights in the shape of a
1.1 B-parameter Llama to Q4_K_M, ours from the folder, llama.cpp's from a ready F16 GGUF; then three types in one
pass and one by one.

    HT_CLI=build/halftone HT_LLAMA_LIB=FOLDER bench/job.py WORK_FOLDER [--threads N] [--rounds N]

WORK_FOLDER takes about 10 GB and is kept, so that a second run does not make the model again.
"""
import argparse
import ctypes
import glob
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLI = os.environ.get("HT_CLI", os.path.join(ROOT, "build", "halftone"))
TYPES, FTYPES = ["Q4_K_M", "Q5_K_M", "Q8_0"], {"Q4_K_M": 15, "Q5_K_M": 17, "Q8_0": 7}


class Blob(ctypes.Structure):
    _fields_ = [("raw", ctypes.c_byte * 1024)]


class Reference:
    def __init__(self, folder):
        def load(pattern):
            return ctypes.CDLL(sorted(glob.glob(os.path.join(folder, pattern)))[0], mode=ctypes.RTLD_GLOBAL)

        load("libggml-base*.so")
        ggml = load("libggml.*so")
        self.lib = load("libllama.*so")
        self.quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        self.lib.llama_log_set(self.quiet, None)
        ggml.ggml_backend_load_all_from_path(folder.encode())
        self.lib.llama_backend_init()
        self.lib.llama_model_quantize_default_params.restype = Blob

    def quantize(self, source, target, name, threads):
        params = self.lib.llama_model_quantize_default_params()
        ints = ctypes.cast(params.raw, ctypes.POINTER(ctypes.c_int32))
        ints[0], ints[1] = threads, FTYPES[name]
        start = time.perf_counter()
        if self.lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
            raise RuntimeError("llama.cpp failed")
        return time.perf_counter() - start


def ours(source, types, out, threads):
    start = time.perf_counter()
    subprocess.run([CLI, "quantize", source, "-t", ",".join(types), "-o", out, "--threads", str(threads), "--overwrite",
                    "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    folder, f16, out = (os.path.join(args.work, name) for name in ("1b", "f16.gguf", "out"))
    if not os.path.exists(os.path.join(folder, "model.safetensors")):
        subprocess.run([sys.executable, os.path.join(ROOT, "bench", "make_model.py"), folder], check=True)
    if not os.path.exists(f16):
        subprocess.run([CLI, "convert", folder, "-t", "F16", "-o", f16, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    reference = Reference(os.environ["HT_LLAMA_LIB"])
    best = {}
    for _ in range(args.rounds):
        for name in TYPES:
            best.setdefault(name, []).append(ours(folder, [name], out, args.threads))
            theirs = os.path.join(args.work, "theirs.gguf")
            best.setdefault("reference " + name, []).append(reference.quantize(f16, theirs, name, args.threads))
        best.setdefault("all", []).append(ours(folder, TYPES, out, args.threads))
    low = {name: min(times) for name, times in best.items()}
    for name in TYPES:
        there = low["reference " + name]
        print(f"{name:8} {low[name]:7.2f} s, reference {there:7.2f} s: {there / low[name]:5.1f}x")
    print(f"together {low['all']:7.2f} s, one by one {sum(low[n] for n in TYPES):.2f} s, reference "
          f"{sum(low['reference ' + n] for n in TYPES):.2f} s")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A whole folder of a 1.1 B-parameter Llama (bench/make_model.py) to each scheme that needs no calibration, beside copying
it and beside the programs of the formats, in turn: seconds, times the copy, peak memory.

    HT_CLI=build/halftone bench/folders.py WORK_FOLDER [--rounds N] [--threads N] [--schemes nf4,fp8,…]

The source is in the page cache, the destination is made anew each time, and every side puts its files on the disk (fsync)
before its clock stops. Theirs: bitsandbytes' quantize_4bit on the CPU, and for fp8 what llm-compressor's data-free path
calls: calculate_qparams of the range of each row, and compressed-tensors' compressor; each read by safetensors a tensor at
a time and saved by it. Imports are not counted. They run where Python has these packages (tests/parity/setup.sh).

WORK_FOLDER takes 7 GB and keeps the model of 2.2 GB; on a disk that is slower than memory all sides wait for the disk, so
a folder in memory (/dev/shm) is the harder test.
"""
import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time

import machine

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLI = os.environ.get("HT_CLI", os.path.join(ROOT, "build", "halftone"))
SCHEMES = "nf4,fp4,int8,fp8,w4a16,gptq,awq"


def on_disk(folder):
    for at, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(at, name), "rb") as file:
                os.fsync(file.fileno())


def four_bits(kind):
    from bitsandbytes import functional

    def run(name, w):
        packed, state = functional.quantize_4bit(w, quant_type=kind, blocksize=64)
        parts = state.as_dict(packed=True)
        return {name: packed, **{f"{name}.{key}": value for key, value in parts.items()}}
    return run


def row_floats():
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams
    args = QuantizationArgs(symmetric=True, type="float", num_bits=8, strategy="channel")
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = BaseCompressor.get_value_from_registry("float-quantized")

    def run(name, w):
        scale, _ = calculate_qparams(w.amin(-1, keepdim=True), w.amax(-1, keepdim=True), args)
        state = compressor.compress({"weight": w, "weight_scale": scale}, scheme)
        return {name.removesuffix("weight") + key: value for key, value in state.items()}
    return run


THEIRS = {"nf4": ("bitsandbytes", lambda: four_bits("nf4")), "fp4": ("bitsandbytes", lambda: four_bits("fp4")),
          "fp8": ("compressed_tensors", row_floats)}


def theirs(source, out, scheme, threads):
    """In a process of its own: the seconds on its last line."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file
    torch.set_num_threads(threads)
    run = THEIRS[scheme][1]()
    start, tensors = time.perf_counter(), {}
    with safe_open(os.path.join(source, "model.safetensors"), "pt") as file:
        for name in file.keys():
            w = file.get_tensor(name)
            linear = w.dim() == 2 and "embed" not in name and "lm_head" not in name
            tensors.update(run(name, w) if linear else {name: w})
    os.makedirs(out)
    save_file(tensors, os.path.join(out, "model.safetensors"))
    on_disk(out)
    print(time.perf_counter() - start)


def finished(command, **args):
    """What it printed, its seconds, those of processors, and its peak memory in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **args)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return text, time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def copied(source, out):
    start = time.perf_counter()
    _, _, work, _ = finished(["cp", "-r", source, out])
    on_disk(out)
    return time.perf_counter() - start, work, 0


def ours(source, out, scheme, threads):
    return finished([CLI, "quantize", source, "-t", scheme, "-o", out, "--threads", str(threads), "--quiet"])[1:]


def rival(source, out, scheme, threads):
    text, _, work, peak = finished([sys.executable, __file__, source, "--theirs", scheme, "--out", out, "--threads", str(threads)],
                             stderr=subprocess.DEVNULL)
    return float(text.split()[-1]), work, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--schemes", default=SCHEMES)
    parser.add_argument("--theirs", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.theirs:
        return theirs(args.work, args.out, args.theirs, args.threads)
    source, out = os.path.join(args.work, "1b"), os.path.join(args.work, "folders-out")
    if not os.path.exists(os.path.join(source, "model.safetensors")):
        subprocess.run([sys.executable, os.path.join(ROOT, "bench", "make_model.py"), source], check=True)
    sides = {"copy": lambda: copied(source, out)}
    for scheme in args.schemes.split(","):
        sides[scheme] = lambda scheme=scheme: ours(source, out, scheme, args.threads)
        if scheme in THEIRS and importlib.util.find_spec(THEIRS[scheme][0]):
            sides[f"{scheme}, {THEIRS[scheme][0]}"] = lambda scheme=scheme: rival(source, out, scheme, args.threads)
    machine.begin("folders")
    runs = {}
    for _ in range(args.rounds):
        for name, side in sides.items():
            shutil.rmtree(out, ignore_errors=True)
            runs.setdefault(name, []).append(side())
            shutil.rmtree(out)
    print(f"best of {args.rounds}, in turn{'':10}{'seconds':>9}{'times the copy':>16}{'of processors':>15}{'peak memory':>13}")
    for name, measured in runs.items():
        seconds, work, peak = min(r[0] for r in measured), min(r[1] for r in measured), max(r[2] for r in measured)
        memory = f"{peak / 1e6:10.0f} MB" if peak else ""
        print(f"{name:28}{seconds:9.2f}{seconds / min(r[0] for r in runs['copy']):16.2f}{work:15.2f}{memory:>13}")
        machine.row(what=name, seconds=seconds, processor_seconds=work, peak_bytes=peak)


if __name__ == "__main__":
    main()

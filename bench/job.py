#!/usr/bin/env python3
"""A whole job, side by side with libggml-base in one run: a folder of random BF16 weights in the shape of a
1.1 B-parameter Llama to Q4_K_M, ours from the folder, llama.cpp's from a ready F16 GGUF; then three types in one
pass and one by one.

    HT_CLI=build/halftone HT_LLAMA_LIB=FOLDER bench/job.py WORK_FOLDER [--threads N] [--rounds N] [--old PROGRAM]

--old takes a program of another commit, in its build folder, instead of llama.cpp (whose folder the encoders need all the
same): whole jobs of both in turn, their seconds
and peak memory, and where both build folders have bench/bench_encode, the encoders of both in turn.

WORK_FOLDER takes about 10 GB (with --old, 4 GB) and is kept, so that a second run does not make the model again.
"""
import argparse
import ctypes
import glob
import os
import subprocess
import sys
import time

import machine

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLI = os.environ.get("HT_CLI", os.path.join(ROOT, "build", "halftone"))
TYPES, FTYPES = ["Q4_K_M", "Q5_K_M", "Q8_0"], {"Q4_K_M": 15, "Q5_K_M": 17, "Q8_0": 7}
OLD_TYPES, OLD_ENCODERS = ["Q4_K_M", "Q8_0", "Q6_K", "IQ4_XS"], ["q4_k", "q5_k", "q6_k", "q8_0", "iq4_xs", "iq3_s", "bf16"]


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
    """Seconds, and those of processors."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([CLI, "quantize", source, "-t", ",".join(types), "-o", out, "--threads", str(threads), "--overwrite",
                    "--quiet"], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    work = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, work


def peak_of(command):
    """Seconds and peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1000


def compare_jobs(folder, out, args):
    print(f"{'whole job':12}{'seconds':>9}{'old':>9}{'times':>8}{'peak MB':>9}{'old':>7}")
    for name in OLD_TYPES:
        runs = {}
        for _ in range(args.rounds):
            for program in (CLI, args.old):
                runs.setdefault(program, []).append(peak_of(
                    [program, "quantize", folder, "-t", name, "-o", out, "--threads", str(args.threads), "--overwrite",
                     "--quiet"]))
        (new, new_peak), (old, old_peak) = ((min(t for t, _ in runs[p]), max(m for _, m in runs[p])) for p in (CLI, args.old))
        print(f"{name:12}{new:9.2f}{old:9.2f}{old / new:8.2f}{new_peak:9.0f}{old_peak:7.0f}", flush=True)
        machine.row(job=name, seconds=new, old_seconds=old, peak_mb=new_peak, old_peak_mb=old_peak)


def encoder_rates(program, library):
    """Million weights a second by (type, importance), on the best level."""
    text = subprocess.run([program, library] + OLD_ENCODERS, check=True, capture_output=True, text=True).stdout
    lines = text.splitlines()
    table = lines[1 + [line.startswith("type ") for line in lines].index(True):]
    return {tuple(line.split()[:2]): float(line.split()[3]) for line in table}


def compare_encoders(args):
    programs = [os.path.join(os.path.dirname(p), "bench", "bench_encode") for p in (CLI, args.old)]
    if not all(os.path.exists(p) for p in programs):
        return
    best = [{}, {}]
    for _ in range(args.rounds):
        for side, program in zip(best, programs):
            for kind, rate in encoder_rates(program, os.environ["HT_LLAMA_LIB"]).items():
                side[kind] = max(side.get(kind, 0), rate)
    print(f"{'encoder':20}{'Mw/s':>9}{'old':>9}{'times':>8}")
    for kind, rate in best[0].items():
        print(f"{' '.join(kind):20}{rate:9.1f}{best[1][kind]:9.1f}{rate / best[1][kind]:8.2f}")
        machine.row(encoder=" ".join(kind), mws=rate, old_mws=best[1][kind])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--old")
    args = parser.parse_args()
    folder, f16, out = (os.path.join(args.work, name) for name in ("1b", "f16.gguf", "out"))
    if not os.path.exists(os.path.join(folder, "model.safetensors")):
        subprocess.run([sys.executable, os.path.join(ROOT, "bench", "make_model.py"), folder], check=True)
    machine.begin("job")
    if args.old:
        compare_jobs(folder, os.path.join(args.work, "out.gguf"), args)
        return compare_encoders(args)
    if not os.path.exists(f16):
        subprocess.run([CLI, "convert", folder, "-t", "F16", "-o", f16, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    reference = Reference(os.environ["HT_LLAMA_LIB"])
    best, work = {}, {}

    def our_turn(name, types):
        seconds, used = ours(folder, types, out, args.threads)
        best.setdefault(name, []).append(seconds)
        work[name] = min(work.get(name, used), used)

    for _ in range(args.rounds):
        for name in TYPES:
            our_turn(name, [name])
            theirs = os.path.join(args.work, "theirs.gguf")
            best.setdefault("reference " + name, []).append(reference.quantize(f16, theirs, name, args.threads))
        our_turn("all", TYPES)
    low = {name: min(times) for name, times in best.items()}
    for name in TYPES:
        there = low["reference " + name]
        print(f"{name:8} {low[name]:7.2f} s, reference {there:7.2f} s: {there / low[name]:5.1f}x")
        machine.row(type=name, seconds=low[name], their_seconds=there)
    print(f"together {low['all']:7.2f} s, one by one {sum(low[n] for n in TYPES):.2f} s, reference "
          f"{sum(low['reference ' + n] for n in TYPES):.2f} s; of processors {work['all']:.2f} s, one by one "
          f"{sum(work[n] for n in TYPES):.2f} s")
    machine.row(type="together", seconds=low["all"], one_by_one_seconds=sum(low[n] for n in TYPES),
                processor_seconds=work["all"], one_by_one_processor_seconds=sum(work[n] for n in TYPES))


if __name__ == "__main__":
    main()

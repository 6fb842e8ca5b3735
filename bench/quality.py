#!/usr/bin/env python3
"""What `--effort best` gains: the mean divergence of a model's quantized forms, beside the same forms made with `--effort fast`,
which are llama.cpp's bytes for types of GGUF files, with importance of the same text. In the same run, on text that is not calibrated on.

    bench/quality.py MODEL --calibration FILE --text FILE [--text FILE …] [--types Q4_K_M,gptq,…] [--ctx 256] [--chunks 200]

A line a form: bytes, both divergences on each text with their standard errors, and the share that is left; then the time and
memory of both runs. Shares are printed beside those that we want to stay under (on text like the calibration's), and the exit status is
1 where one is above it.
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
WANTED = {"Q2_K_S": .37, "Q2_K": .36, "Q3_K_M": .33, "Q4_K_M": .34, "Q5_K_M": .36, "Q6_K": .40, "Q4_0": .38, "IQ4_XS": .40,
          "IQ3_M": .45, "IQ2_M": .50, "Q8_0": .60, "mxfp4": .40, "nvfp4": .40}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calibration", default="default")
    p.add_argument("--text", action="append", required=True)
    p.add_argument("--types", default=",".join(t for t in WANTED if t[0] in "QI") + ",gptq,gptq:bits=3,awq,nf4")
    p.add_argument("--ctx", default="256")
    p.add_argument("--chunks", default="200")
    p.add_argument("--halftone", default=os.environ.get("HT_CLI", str(ROOT / "build/halftone")))
    return p.parse_args()


def make(a, effort, folder):
    """The outputs by type, and what making them took: seconds of all cores, and on the clock; peak memory in MB."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run = subprocess.run([a.halftone, "quantize", a.model, "-t", a.types, "-o", str(folder), "--effort", effort, "--calibration",
                          a.calibration, "--ctx", a.ctx, "--chunks", "100000", "--json", "--quiet"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    outputs = json.loads(run.stdout.splitlines()[-1])["outputs"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {o["type"]: o["path"] for o in outputs}, cpu, took, after.ru_maxrss / 1e3


def measure(a, text, paths):
    run = subprocess.run([a.halftone, "compare", *paths, "--against", a.model, "--text", text, "--ctx", a.ctx, "--chunks",
                          a.chunks, "--json", "--quiet"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return [m["kld"] for m in json.loads(run.stdout.splitlines()[-1])["models"]]


def size_of(path):
    path = pathlib.Path(path)
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size


def main():
    a = arguments()
    machine.begin("quality")
    above = 0
    with tempfile.TemporaryDirectory(prefix="halftone-quality-") as work:
        made = {effort: make(a, effort, pathlib.Path(work) / effort) for effort in ("fast", "best")}
        types = list(made["fast"][0])
        for text in a.text:
            kld = {e: dict(zip(types, measure(a, text, [made[e][0][t] for t in types]))) for e in made}
            print(f"{os.path.basename(text)}:")
            for t in types:
                fast, best = kld["fast"][t], kld["best"][t]
                share, wanted = best["mean"] / fast["mean"], WANTED.get(t)
                late = wanted is not None and text == a.text[0] and share > wanted
                above += late
                print(f"  {t:24s} {size_of(made['best'][0][t]):11d} bytes  fast {fast['mean']:.6f} ± {fast['mean_error']:.6f}  best "
                      f"{best['mean']:.6f} ± {best['mean_error']:.6f}  share {share:.3f}"
                      + (f"  wanted {wanted:.2f}{'  ABOVE' if late else ''}" if wanted else ""), flush=True)
                machine.row(text=os.path.basename(text), type=t, bytes=size_of(made["best"][0][t]), fast=fast["mean"], best=best["mean"],
                            share=share)
        for effort in made:
            print(f"{effort}: {made[effort][1]:.1f} s of processor time, {made[effort][2]:.1f} s, {made[effort][3]:.0f} MB")
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()

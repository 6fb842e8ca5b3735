#!/usr/bin/env python3
"""Whether what `--effort best` gains is chance: several models, each calibrated on several drawings of windows from a text, beside
`--effort fast` (llama.cpp's bytes) with importance of the same windows, with the paired error of the difference.

    bench/seeds.py MODEL [MODEL …] --calibration FILE --text FILE [--types Q4_K_M,Q3_K_M] [--seeds 1,2,3] [--ctx 256] [--windows 150]
        [--pieces 10] [--chunks 10]

Each seed draws --windows windows of --ctx tokens. The text that is measured on is cut into --pieces, of each of which --chunks windows
are scored by one `halftone compare` of all files. A line a type: both divergences as means over seeds and pieces, the difference with
its standard error (of the pieces' differences: both files saw the same words), and the share that is left, with the least and the most of
a seed. The exit status is 1 where a difference is not at least two of its errors.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+")
    p.add_argument("--calibration", required=True)
    p.add_argument("--text", required=True)
    p.add_argument("--types", default="Q4_K_M,Q3_K_M")
    p.add_argument("--seeds", default="1,2,3")
    p.add_argument("--ctx", type=int, default=256)
    p.add_argument("--windows", type=int, default=150)
    p.add_argument("--pieces", type=int, default=10)
    p.add_argument("--chunks", type=int, default=10)
    p.add_argument("--halftone", default=os.environ.get("HT_CLI", str(ROOT / "build/halftone")))
    a = p.parse_args()
    if a.pieces < 2:
        p.error("--pieces must be at least 2: the error comes from how they differ")
    for file in (*a.models, a.calibration, a.text):
        if not os.path.exists(file):
            p.error(f"{file} does not exist")
    return a


def halftone(a, *arguments):
    run = subprocess.run([a.halftone, *arguments, "--json", "--quiet"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def cut(text, pieces, folder):
    """Files of about equal length, cut where a word ends."""
    words, files = text.split(" "), []
    for i in range(pieces):
        file = folder / f"piece-{i}.txt"
        file.write_text(" ".join(words[len(words) * i // pieces:len(words) * (i + 1) // pieces]), encoding="utf-8")
        files.append(file)
    return files


def made(a, model, work):
    """Paths by (seed, effort, type)."""
    out = {}
    for seed in a.seeds.split(","):
        for effort in ("fast", "best"):
            done = halftone(a, "quantize", model, "-t", a.types, "-o", str(work / f"{effort}-{seed}"), "--effort", effort, "--calibration",
                            a.calibration, "--calibration-seed", seed, "--ctx", str(a.ctx), "--chunks", str(a.windows))
            out |= {(seed, effort, o["type"]): o["path"] for o in done["outputs"]}
    return out


def measured(a, model, paths, pieces):
    """A list for each key of `paths`: the mean divergence on every piece."""
    losses = {key: [] for key in paths}
    for piece in pieces:
        models = halftone(a, "compare", *paths.values(), "--against", model, "--text", str(piece), "--ctx", str(a.ctx), "--chunks",
                          str(a.chunks))["models"]
        by = {m["model"]: m["kld"]["mean"] for m in models}
        for key, path in paths.items():
            losses[key].append(by[path])
    return losses


def compared(seeds, losses, kind):
    """What the lists of one type say: means, the difference and its paired error, shares."""
    fast, best = [[losses[seed, effort, kind] for seed in seeds] for effort in ("fast", "best")]
    gains = [statistics.mean(f - b for f, b in zip(fs, bs)) for fs, bs in zip(zip(*fast), zip(*best))]  # a piece each
    shares = [statistics.mean(b) / statistics.mean(f) for f, b in zip(fast, best)]
    mean = [statistics.mean(statistics.mean(x) for x in lists) for lists in (fast, best)]
    return {"fast": mean[0], "best": mean[1], "gain": mean[0] - mean[1], "gain_error": statistics.stdev(gains) / len(gains) ** .5,
            "share": mean[1] / mean[0], "least_share": min(shares), "most_share": max(shares)}


def main():
    a = arguments()
    machine.begin("seeds")
    unsure, seeds = 0, a.seeds.split(",")
    for model in a.models:
        with tempfile.TemporaryDirectory(prefix="halftone-seeds-") as work:
            work = pathlib.Path(work)
            pieces = cut(pathlib.Path(a.text).read_text(encoding="utf-8"), a.pieces, work)
            losses = measured(a, model, made(a, model, work), pieces)
        name = os.path.basename(os.path.abspath(model))
        for kind in a.types.split(","):
            r = compared(seeds, losses, kind)
            unsure += r["gain"] < 2 * r["gain_error"]
            print(f"{name:16s} {kind:8s} fast {r['fast']:.6f}  best {r['best']:.6f}  less by {r['gain']:.6f} ± {r['gain_error']:.6f}  share "
                  f"{r['share']:.3f} ({r['least_share']:.3f} to {r['most_share']:.3f} of {len(seeds)} seeds)", flush=True)
            machine.row(model=name, type=kind, **r)
    sys.exit(1 if unsure else 0)


if __name__ == "__main__":
    main()

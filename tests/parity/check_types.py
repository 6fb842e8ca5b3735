#!/usr/bin/env python3
"""Every mix of the example model loads in llama.cpp and runs; PyPI's gguf reads the files back.

The logits must follow those of the F32 file, the closer the more bits. Importance for the mixes that need it is all
ones. Environment: HT_CLI, HT_LLAMA_LIB. Exit status: 0 passed, 1 failed, 77 skipped.
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import converter  # noqa: F401 (its gguf is the newest)
    import gguf
    import numpy as np
except ImportError as missing:
    print(f"SKIPPED check_types: the Python package {missing.name} is not here")
    sys.exit(77)
if "HT_LLAMA_LIB" not in os.environ:
    print("SKIPPED check_types: HT_LLAMA_LIB is not set")
    sys.exit(77)

from importance import write_importance
from llama_logits import Llama

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLI = os.environ.get("HT_CLI", os.path.join(ROOT, "build", "halftone"))
MODEL = os.path.join(ROOT, "examples", "model")
UNREAD = {"Q2_0"}  # a type that llama.cpp runs and the package does not know
IDS, VOCAB = [0, 400, 511, 262, 900, 300, 1200, 290, 77, 350], 4096


def quantize(mix, folder, *more):
    run = subprocess.run([CLI, "quantize", MODEL, "-t", mix, "-o", folder, "--overwrite", "--quiet", *more],
                         capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.strip())
    return os.path.join(folder, f"model-{mix}.gguf")


def correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def main():
    llama = Llama(os.environ["HT_LLAMA_LIB"])
    mixes = json.loads(subprocess.run([CLI, "types", "--json"], check=True, capture_output=True, text=True).stdout)["mixes"]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="halftone-types-") as work:
        f32 = quantize("F32", work)
        importance = os.path.join(work, "importance.gguf")
        write_importance(importance, f32)
        want = np.array(llama.logits(f32, IDS, VOCAB))
        names = [t.name for t in gguf.GGUFReader(f32).tensors]
        for mix in mixes:
            name = mix["name"]
            try:
                path = quantize(name, work, "--imatrix", importance)
                if name not in UNREAD and [t.name for t in gguf.GGUFReader(path).tensors] != names:
                    raise RuntimeError("PyPI's gguf reads other tensors")
                got = np.array(llama.logits(path, IDS, VOCAB))
                r = correlation(want, got)
                # formats for models that were trained in them keep little of others
                least = 0.5 if name[:2] == "TQ" or name in ("Q1_0", "Q2_0") else 0.9
                good = np.isfinite(got).all() and r > least
                print(f"{'ok' if good else 'FAILED':7}{name}: correlation with F32 {r:.4f}", flush=True)
                failed += not good
            except Exception as fault:
                print(f"FAILED {name}: {fault}", flush=True)
                failed += 1
    print(f"check_types: {len(mixes) - failed} of {len(mixes)} mixes run")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

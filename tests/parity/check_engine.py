#!/usr/bin/env python3
"""The engine: every tiny model of check_arch, run by us from its folder and from its F32 GGUF, gives transformers'
logits within 1e-3 relative; token by token and under a memory cap it gives the same bits.

Environment: HT_CLI, HT_LIB, HT_LLAMA_LIB. Arguments: names of models (default all).
Exit status: 0 passed, 1 failed, 77 skipped.
"""
import os
import shutil
import subprocess
import sys
import tempfile

import check_arch
from check_arch import CLI, IDS, MODELS, ROOT
from halftone_logits import Halftone

import numpy
import torch

LIB = os.environ.get("HT_LIB", os.path.join(ROOT, "build", "libhalftone.so"))


def without_sliding_base(path):
    """The file as older converters wrote it: the base of Gemma 3's sliding layers goes without saying."""
    data, key = open(path, "rb").read(), b"gemma3.rope.freq_base_swa"
    if data.count(key) != 1:
        raise RuntimeError("there is no key to hide")
    older = path + ".older.gguf"
    with open(older, "wb") as file:
        file.write(data.replace(key, key[:-3] + b"old"))
    return older


def compare(name, engine, work):
    folder = os.path.join(work, "m" + str(list(MODELS).index(name)))
    options = MODELS[name][2] if len(MODELS[name]) > 2 else {}
    ids = options.get("ids", IDS)
    # Phi-3's window is in the metadata: the engine obeys it, as transformers does
    if name == "phi3-window":
        options.pop("reference", None)
    want = check_arch.wanted_logits(name, folder, ids)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(ROOT, "examples", "model", file), folder)
    out = folder + ".gguf"
    run = subprocess.run([CLI, "convert", folder, "-t", "F32", "-o", out, "--quiet"], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.strip())
    n_ctx = 0 if name.endswith("-long") else 64  # long factors beyond the original context
    from_gguf = engine.logits(out, ids, n_ctx)
    error = numpy.abs(want - from_gguf).max() / numpy.abs(want).max()
    from_folder = engine.logits(folder, ids, n_ctx, threads=2)
    folder_error = numpy.abs(want - from_folder).max() / numpy.abs(want).max()
    stepped = engine.logits(out, ids, n_ctx, steps=[5, 1, 1, len(ids) - 7])
    capped = engine.logits(out, ids, n_ctx, memory=os.path.getsize(out) - 1000)
    same = numpy.array_equal(from_gguf, stepped) and numpy.array_equal(from_gguf, capped)
    if name.startswith("gemma3") and "vision" not in name:
        same = same and numpy.array_equal(from_gguf, engine.logits(without_sliding_base(out), ids, n_ctx))
    limit = 1e-5 if name.startswith("gpt-oss") else 1e-3  # its ramp of angles, rounded, would be off by 5e-5
    good = error < limit and folder_error < limit and same
    print(f"{'ok' if good else 'FAILED':7}{name}: largest difference {error:.1e} of the largest logit, from the folder "
          f"{folder_error:.1e}, in steps and capped {'the same bits' if same else 'OTHER BITS'}", flush=True)
    return good


def main():
    torch.set_num_threads(1)
    engine = Halftone(LIB)
    chosen = sys.argv[1:] or list(MODELS)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="halftone-engine-") as work:
        for name in chosen:
            try:
                failed += not compare(name, engine, work)
            except Exception as fault:  # every model is tried
                print(f"FAILED {name}: {fault}", flush=True)
                failed += 1
    print(f"check_engine: {len(chosen) - failed} of {len(chosen)} models agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""SmoothQuant's scales where they are for: transformers with compressed-tensors, which rounds activations to 8 bits as they come, loads
w8a8 folders made with and without them, of a model with a few large channels. The scales must mend what those channels cost.

Environment: HT_BUILD. Exit status: 0 passed, 1 failed, 77 skipped.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    import compressed_tensors  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as missing:
    print(f"SKIPPED check_smooth: the Python package {missing.name} is not here")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
HALFTONE = os.path.join(os.environ.get("HT_BUILD", str(ROOT / "build")), "halftone")
CHUNKS, LENGTH = 12, 64


def logits(folder, tokens):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(tokens).logits.log_softmax(-1)


def quantize(model, scheme, out):
    subprocess.run([HALFTONE, "quantize", model, "-t", scheme, "-o", out, "--calibration", "default", "--ctx", "64", "--chunks", "60",
                    "--quiet"], check=True)
    return next(pathlib.Path(out).iterdir())


with tempfile.TemporaryDirectory(prefix="halftone-smooth-") as work:
    model = os.path.join(work, "outliers")
    subprocess.run([sys.executable, str(ROOT / "tests/lib/outliers.py"), str(ROOT / "examples/model"), model], check=True)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tokens = torch.tensor(AutoTokenizer.from_pretrained(model)(text)["input_ids"][:CHUNKS * LENGTH]).reshape(CHUNKS, LENGTH)
    source = logits(model, tokens)
    loss = {}
    for scheme in ("w8a16", "w8a8", "w8a8@awq", "w8a8@smooth"):
        found = logits(quantize(model, scheme, os.path.join(work, scheme)), tokens)
        loss[scheme] = float((source.exp() * (source - found)).sum(-1).mean())
print("check_smooth: mean divergence " + ", ".join(f"{scheme} {kld:.6f}" for scheme, kld in loss.items()))
wrong = []
if not loss["w8a8"] > 3 * loss["w8a16"]:
    wrong.append("activations cost nothing: the model has no large channels, or they are not rounded")
if not loss["w8a8@smooth"] < loss["w8a8"] / 2:
    wrong.append("scales leave more than half of the loss")
print("\n".join(f"FAILED {w}" for w in wrong) or "check_smooth: as wanted")
sys.exit(1 if wrong else 0)

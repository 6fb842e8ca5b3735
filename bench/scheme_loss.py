#!/usr/bin/env python3
"""What schemes lose on the example model: mean KL divergence from it, in nats a token, and how often the likeliest token
stays the same, over 6,144 tokens of text that no calibration used. Weights alone: activations are not rounded.

    eval "$(tests/parity/setup.sh)"; HT_CLI=build/halftone HT_BUILD=build HT_SOURCE_ROOT=. \
        "$HT_PARITY_PYTHON" bench/scheme_loss.py
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import machine

warnings.filterwarnings("ignore")
ROOT = pathlib.Path(os.environ["HT_SOURCE_ROOT"])
sys.path.insert(0, str(ROOT / "tests/parity"))
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from check_folders import MODEL, module_weights
from matrices import Halftone

SCHEMES = ["nf4", "nf4:nested=on", "fp4", "int8", "gptq", "gptq:bits=3", "awq", "w4a16", "w4a16:group=32", "w8a16", "w8a8", "fp8",
           "fp8-block", "nvfp4", "mxfp4", "mxfp8"]
CTX = 256


def log_probabilities(model, ids):
    with torch.no_grad():
        return torch.cat([torch.log_softmax(model(ids[i:i + 8]).logits.float(), -1) for i in range(0, len(ids), 8)])


def bits(output):
    packed = [t for t in output["tensors"] if "scheme" in t]
    return sum(t["bytes"] for t in packed) * 8 / sum(t["shape"][0] * t["shape"][1] for t in packed)


def main():
    machine.begin("scheme_loss")
    ht = Halftone(os.path.join(os.environ["HT_BUILD"], "libhalftone.so"))
    text = (ROOT / "src/calibrate/text/held_out.txt").read_text()
    ids = AutoTokenizer.from_pretrained(MODEL)(text, return_tensors="pt").input_ids[0][:24 * CTX].view(-1, CTX)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    want = log_probabilities(model, ids)
    with tempfile.TemporaryDirectory() as work:
        run = subprocess.run([os.environ["HT_CLI"], "quantize", MODEL, "-t", ",".join(SCHEMES), "-o", work, "--json",
                              "--quiet"], capture_output=True, text=True, check=True)
        for output in json.loads(run.stdout.splitlines()[-1])["outputs"]:
            model.load_state_dict(kept)
            schemes = {t["name"][:-len(".weight")]: t["scheme"] for t in output["tensors"] if "scheme" in t}
            with torch.no_grad():
                for name, weight in module_weights(ht, pathlib.Path(output["path"]), schemes).items():
                    model.get_submodule(name).weight.copy_(torch.from_numpy(weight))
            got = log_probabilities(model, ids)
            loss = (want.exp() * (want - got)).sum(-1).mean().item()
            same = (want.argmax(-1) == got.argmax(-1)).float().mean().item()
            print(f"{output['type']:14s} {bits(output):6.3f} bits  KL divergence {loss:.5f}  same token {same:.4f}",
                  flush=True)
            machine.row(type=output["type"], bits=bits(output), kl_divergence=loss, same_token=same)


if __name__ == "__main__":
    main()

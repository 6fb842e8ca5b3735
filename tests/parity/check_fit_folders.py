#!/usr/bin/env python3
"""What `recommend --for transformers` says of memory, against the tensors that transformers holds once it has run the folder on
the CPU: weights (packed, or unpacked to floats, as it says), and the cache of keys and values for that many tokens.

Environment: HT_CLI, HT_SOURCE_ROOT. Exit: 0 passed, 1 failed.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

MODEL = pathlib.Path(os.environ["HT_SOURCE_ROOT"]) / "examples/model"
CTX = 96
# Not here: gptq and awq, which take GPTQModel, and fp8-block and mxfp8, which transformers keeps packed on cards alone.
SCHEMES = ["nf4", "nf4:nested=on", "fp4", "int8", "w4a16", "w4a16:group=32", "w8a16", "w8a8", "fp8", "nvfp4", "mxfp4"]
SLACK = 0.04  # tables of codes, what is padded, and scales that a program keeps in another dtype
logging.set_verbosity_error()


def tensors_of(thing, depth=0):
    """Every tensor that an object holds by its attributes: parameters, and the state that bitsandbytes hangs on them."""
    if isinstance(thing, torch.Tensor):
        yield thing
    if depth < 3 and hasattr(thing, "__dict__"):
        for value in vars(thing).values():
            yield from tensors_of(value, depth + 1)


def bytes_of(tensors):
    storages = {}
    for t in tensors:
        storage = t.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def held(model):
    # each module's own, without its children, which come by themselves
    own = [t for m in model.modules() for group in (m._parameters, m._buffers) for p in group.values() if p is not None for t in tensors_of(p)]
    own += [t for m in model.modules() for name, value in vars(m).items() if not name.startswith("_") and not isinstance(value, torch.nn.Module)
            for t in tensors_of(value, 1)]
    return bytes_of(own)


def run(*arguments):
    done = subprocess.run([os.environ["HT_CLI"], *map(str, arguments), "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    failed = 0
    answer = run("recommend", MODEL, "--for", "transformers", "--memory", "64G", "--ctx", CTX)
    wanted = {t["type"]: t for t in answer["types"]}
    with tempfile.TemporaryDirectory() as work:
        made = run("quantize", MODEL, "-t", ",".join(SCHEMES), "-o", work, "--quiet")["outputs"]
        for output in made:
            want = wanted[output["type"]]
            model = AutoModelForCausalLM.from_pretrained(output["path"], dtype=torch.bfloat16)
            with torch.no_grad():
                past = model(torch.arange(CTX)[None], use_cache=True).past_key_values
            cache = bytes_of(t for layer in past.layers for t in (layer.keys, layer.values))
            weights, said = held(model), want["run_memory"]
            bad = abs(weights / said["weights_bytes"] - 1) > SLACK or cache != said["kv_cache_bytes"]
            failed += bad
            print(f"{'FAILED' if bad else 'ok'} {output['type']}: weights {weights}, said {said['weights_bytes']}"
                  f"{' (unpacked)' if want['unpacked'] else ''}; cache {cache}, said {said['kv_cache_bytes']}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

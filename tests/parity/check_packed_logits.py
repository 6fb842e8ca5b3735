#!/usr/bin/env python3
"""Checkpoints that other programs packed, read by Halftone: a tiny Llama saved by the program of each family, converted to
F32, gives in llama.cpp the logits that the program gives with its own dequantized weights; so does `eval`'s engine on the
packed folder itself. A family is one row in SOURCES, here or, where its program is in the Python of GPTQModel, in rivals.py.

Environment: HT_CLI, HT_BUILD, HT_LLAMA_LIB, HT_GPTQMODEL_PYTHON. Arguments: rows (default all).
Exit status: 0 passed, 1 failed, 77 skipped.
"""
import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

python = os.environ.get("HT_GPTQMODEL_PYTHON")  # which sees the other one's packages
if python and os.path.abspath(sys.executable) != os.path.abspath(python):
    os.execv(python, [python, *sys.argv])

try:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM
except ImportError as e:
    print(f"SKIPPED check_packed_logits: {e}")
    sys.exit(77)
if "HT_LLAMA_LIB" not in os.environ:
    print("SKIPPED check_packed_logits: HT_LLAMA_LIB is not set")
    sys.exit(77)
from halftone_logits import Halftone
from llama_logits import Llama

CLI, BUILD = os.environ["HT_CLI"], os.environ["HT_BUILD"]
IDS = [1, 7, 42, 99, 3, 250, 17, 300, 5, 63]
BOUND = 1e-3  # of the largest logit
VOCAB = 2048  # of the example model's tokenizer


def plain(folder):
    torch.manual_seed(3)
    config = LlamaConfig(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, vocab_size=VOCAB, max_position_embeddings=256, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.copy_(torch.randn_like(p) * 0.06)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pathlib.Path(__file__).resolve().parents[2] / "examples/model" / file, folder)


def logits_of(model):
    with torch.no_grad():
        return model.float()(torch.tensor([IDS])).logits[0].numpy()


def bitsandbytes(**options):
    """Saves the folder; the logits with the weights as bitsandbytes dequantizes them, in float32."""
    def make(source, folder):
        import bitsandbytes  # noqa: F401
        load = dict(dtype=torch.bfloat16, device_map="cpu")
        model = AutoModelForCausalLM.from_pretrained(source, quantization_config=BitsAndBytesConfig(**options), **load)
        model.save_pretrained(folder)
        return logits_of(AutoModelForCausalLM.from_pretrained(folder, **load).dequantize(dtype=torch.float32))
    return make


def with_weights(source, weights):
    """The logits of the model with other weights, all of them, in float32."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    parameters = dict(model.named_parameters())
    if set(parameters) - set(weights):
        raise RuntimeError(f"the program has no {', '.join(set(parameters) - set(weights))}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return logits_of(model)


FOUR = dict(load_in_4bit=True)
SOURCES = {
    "bitsandbytes nf4": bitsandbytes(bnb_4bit_quant_type="nf4", **FOUR),
    "bitsandbytes nf4 nested": bitsandbytes(bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, **FOUR),
    "bitsandbytes fp4 in bfloat16": bitsandbytes(bnb_4bit_quant_type="fp4", bnb_4bit_quant_storage=torch.bfloat16, **FOUR),
    "bitsandbytes fp4 nested in float32": bitsandbytes(bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=True,
                                                       bnb_4bit_quant_storage=torch.float32, **FOUR),
    "bitsandbytes int8": bitsandbytes(load_in_8bit=True),
}


def distance(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def run(*args):
    return subprocess.run([CLI, *args], capture_output=True, text=True)


def check(name, make, work, source, llama, halftone):
    folder, out = os.path.join(work, "packed"), os.path.join(work, "out")
    for path in (folder, out):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()):  # their banners and progress
        theirs = make(source, folder)
    if isinstance(theirs, dict):
        theirs = with_weights(source, theirs)
    done = run("convert", folder, "-t", "F32", "-o", out)
    if done.returncode:
        return done.stderr.strip()
    faults = []
    gguf = os.path.join(out, "packed-F32.gguf")
    for what, ours in (("llama.cpp", np.asarray(llama.logits(gguf, IDS, VOCAB))), ("engine", halftone.logits(folder, IDS))):
        d = distance(ours, theirs)
        if not d < BOUND:
            faults.append(f"{what}: logits differ by {d:.2e} of the largest")
    for again in ("Q8_0", "nf4"):
        if run("quantize", folder, "-t", again, "-o", out).returncode != 3:
            faults.append(f"making {again} of it was not refused")
    again = run("quantize", folder, "-t", "Q8_0", "-o", out, "--allow-requantize", "--json")
    report = json.loads(again.stdout.splitlines()[-1]) if again.returncode == 0 else {"outputs": [{}]}
    if not name.startswith(report["outputs"][0].get("requantized_from", "?")):
        faults.append(f"the report says {report['outputs'][0].get('requantized_from')!r}")
    return "; ".join(faults)


def all_sources():
    if not python:
        print("SKIPPED check_packed_logits: all but bitsandbytes; HT_GPTQMODEL_PYTHON names a Python that has the other programs")
        return SOURCES
    with contextlib.redirect_stdout(io.StringIO()):
        import rivals
    return {**SOURCES, **rivals.SOURCES}


def main():
    failed = 0
    sources = all_sources()
    chosen = sys.argv[1:] or list(sources)
    llama, halftone = Llama(os.environ["HT_LLAMA_LIB"]), Halftone(os.path.join(BUILD, "libhalftone.so"))
    with tempfile.TemporaryDirectory() as work:
        source = os.path.join(work, "plain")
        plain(source)
        os.chdir(work)  # GPTQModel and AutoRound leave logs where they are
        for name in chosen:
            try:
                fault = check(name, sources[name], work, source, llama, halftone)
            except Exception as error:  # one program's fault must not hide the others'
                fault = f"{type(error).__name__}: {str(error)[:300]}"
            print(f"{'FAILED' if fault else 'ok':7}{name}{': ' + fault if fault else ''}", flush=True)
            failed += bool(fault)
    print(f"check_packed_logits: {len(chosen) - failed} of {len(chosen)} give their program's logits")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
